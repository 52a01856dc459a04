#include "autograd/ops/inplace.h"

#include "autograd/kernels/random.h"
#include "autograd/ops/create.h"
#include "autograd/ops/elementwise.h"
#include "autograd/ops/internal/apply.h"

namespace attune {

using detail::elements;

namespace {

void check_writable(const Op& op, const Tensor& x) {
  op.check_defined(x);
  if (x.requires_grad() && !x.is_leaf())
    op.fail_grad(std::string("a recorded tensor (from ") + x.node()->name() + " at " + x.node()->site().str() +
                 ") is never changed in place");
  if (x.requires_grad() && grad_enabled())
    op.fail_grad("a leaf that requires a gradient is changed in place only under NoGrad");
  for (int i = 0; i < x.rank(); ++i)
    if (x.strides()[i] == 0 && x.shape()[i] > 1)
      op.fail_shape("the memory of " + x.shape().str() + " overlaps itself (it was expanded); change a clone");
}

void check_fits(const Op& op, const Tensor& x, const Tensor& y) {
  Shape shape;
  if (!broadcast(x.shape(), y.shape(), shape) || shape != x.shape())
    op.fail_shape(y.shape().str() + " does not broadcast to " + x.shape().str());
}

/// Writes dense `values` of x's shape and dtype into x.
void assign(const Tensor& x, const Tensor& values, Here site) {
  kernels::copy(x.dtype(), x.shape(), values.raw(), broadcast_strides(values.shape(), values.strides(), x.shape()),
                x.unsafe_data(), x.strides());
  x.bump_version(site);
}

Tensor& assign_result(Tensor& x, const Op& op, const Operand& y,
                      Tensor (*compute)(const Tensor&, const Tensor&, const Scalar&), const Scalar& alpha) {
  check_writable(op, x);
  const NoGrad off;
  const auto [a, b] = detail::promote(op, x, y);
  check_fits(op, x, b);
  assign(x, compute(a, b, alpha), op.site());
  return x;
}

}  // namespace

Tensor& copy_(Tensor& x, const Tensor& from, Here here) {
  const Op op{"copy_", here};
  check_writable(op, x);
  op.check_defined(from);
  check_fits(op, x, from);
  const NoGrad off;
  // Through a copy if the two may overlap.
  Tensor values = to(from, x.dtype());
  if (values.same_storage(x)) {
    Tensor dense = op.empty_like(values);
    detail::copy_into(dense, values);
    values = dense;
  }
  assign(x, values, op.site());
  return x;
}

Tensor& fill_(Tensor& x, const Scalar& value, Here here) {
  const Op op{"fill_", here};
  check_writable(op, x);
  const auto [into, filling] = detail::promote(op, x, value);
  assign(x, filling, op.site());
  return x;
}

Tensor& add_(Tensor& x, const Operand& y, const Scalar& alpha, Here here) {
  const Op op{"add_", here};
  return assign_result(
      x, op, y, [](const Tensor& a, const Tensor& b, const Scalar& s) { return s.real() == 1 ? a + b : a + s * b; },
      alpha);
}

Tensor& mul_(Tensor& x, const Operand& y, Here here) {
  const Op op{"mul_", here};
  return assign_result(
      x, op, y, [](const Tensor& a, const Tensor& b, const Scalar&) { return a * b; }, 1);
}

namespace {

template <class Draw>
Tensor& draw(Tensor& x, const Op& op, Draw&& kernel) {
  check_writable(op, x);
  op.check_floating(x);
  Tensor values = op.empty_like(x);
  detail::with_floating(x.dtype(), [&]<class T>(T) { kernel(elements<T>(values)); });
  assign(x, values, op.site());
  return x;
}

}  // namespace

Tensor& uniform_(Tensor& x, double low, double high, Generator& g, Here here) {
  const Op op{"uniform_", here};
  const RandomKey key = g.next();
  return draw(
      x, op, [&]<class T>(T* y) { kernels::uniform<T>(key, static_cast<T>(low), static_cast<T>(high), y, x.numel()); });
}

Tensor& normal_(Tensor& x, double mean, double std, Generator& g, Here here) {
  const Op op{"normal_", here};
  const RandomKey key = g.next();
  return draw(x, op,
              [&]<class T>(T* y) { kernels::normal<T>(key, static_cast<T>(mean), static_cast<T>(std), y, x.numel()); });
}

}  // namespace attune
