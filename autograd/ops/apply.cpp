#include "autograd/ops/internal/apply.h"

#include <algorithm>

#include "autograd/ops/create.h"

namespace attune {

Operand::Operand(const Saved& t, Here here) : tensor_(&t.get()), here_(here) {}

namespace detail {

void check_bool(const Op& op, const Tensor& x, const char* argument) {
  if (!x.defined()) op.fail_value(std::string(argument) + " is undefined");
  if (x.dtype() != DType::boolean)
    op.fail_dtype(std::string(argument) + " needs bool, got " + name_of(x.dtype()) + " " + x.shape().str());
}

void check_fits(const Op& op, const Scalar& s, const Tensor& x) {
  if (!s.fits(x.dtype()))
    op.fail_dtype("the scalar " + text(s) + " does not fit the dtype " + name_of(x.dtype()) + " of " + x.shape().str());
}

namespace {

Tensor scalar_like(const Op& op, const Scalar& s, const Tensor& like) {
  check_fits(op, s, like);
  Tensor t = empty({}, like.dtype());
  with_any(like.dtype(), [&]<class T>(T) { *elements<T>(t) = s.to<T>(); });
  return t;
}

}  // namespace

Promoted::Promoted(const Op& op, const Operand& a, const Operand& b) : a_(a.tensor()), b_(b.tensor()) {
  if (a_ && b_) {
    op.check_same_dtype(*a_, *b_);
  } else if (a_) {
    op.check_defined(*a_);
    made_b_ = scalar_like(op, b.scalar(), *a_);
  } else if (b_) {
    op.check_defined(*b_);
    made_a_ = scalar_like(op, a.scalar(), *b_);
  } else {
    made_a_ = scalar(a.scalar());
    made_b_ = scalar(b.scalar());
  }
  if (!a_) a_ = &made_a_;
  if (!b_) b_ = &made_b_;
}

int row_axis(const Op& op, const Tensor& x, std::int64_t axis) {
  op.check_defined(x);
  return op.axis_of_rank(axis, std::max(x.rank(), 1), x.shape());
}

Shape joint_shape(const Op& op, const Tensor& a, const Tensor& b) {
  if (a.shape() == b.shape()) return a.shape();
  Shape shape;
  if (!broadcast(a.shape(), b.shape(), shape))
    op.fail_shape("shapes do not broadcast: " + a.shape().str() + " and " + b.shape().str());
  return shape;
}

void copy_into(const Tensor& y, const Tensor& x) {
  if (x.numel() != 0) kernels::copy(x.dtype(), x.shape(), x.raw(), x.strides(), y.unsafe_data(), y.strides());
}

Tensor unary(const Op& op, kernels::Unary f, const Tensor& x) {
  op.check_floating(x);
  Tensor y = op.empty_like(x);
  with_floating(x.dtype(), [&]<class T>(T) { kernels::unary<T>(f, x.shape(), strided<T>(x), elements<T>(y)); });
  return y;
}

Tensor binary(const Op& op, kernels::Binary f, const Tensor& a, const Tensor& b, bool integers) {
  const Shape shape = joint_shape(op, a, b);
  if (a.dtype() == DType::boolean || (!integers && !is_floating(a.dtype())))
    op.fail_dtype(std::string(integers ? "needs numbers" : "needs float32 or float64") + ", got " + name_of(a.dtype()) +
                  " " + a.shape().str());
  Tensor y = op.empty(shape, a.dtype());
  const auto run = [&]<class T>(T) {
    kernels::binary<T>(f, shape, strided<T>(a, shape), strided<T>(b, shape), elements<T>(y));
  };
  switch (a.dtype()) {
    case DType::float32: run(float{}); break;
    case DType::float64: run(double{}); break;
    case DType::int64: run(std::int64_t{}); break;
    default: run(std::int32_t{}); break;
  }
  return y;
}

}  // namespace detail
}  // namespace attune
