#include "autograd/tape/op.h"

#include <algorithm>

#include "autograd/kernels/elementwise.h"
#include "autograd/kernels/gather.h"
#include "autograd/runtime/error.h"

namespace attune {

int Op::axis(std::int64_t axis, const Tensor& x) const {
  check_defined(x);
  return axis_of_rank(axis, x.rank(), x.shape());
}

int Op::axis_of_rank(std::int64_t axis, int rank, const Shape& shape) const {
  const std::int64_t a = axis < 0 ? axis + rank : axis;
  if (a < 0 || a >= rank)
    fail_index("axis " + std::to_string(axis) + " is out of range for " + shape.str() +
               (rank > std::max(shape.rank(), 1) ? " and a new axis" : ""));
  return static_cast<int>(a);
}

void Op::check_defined(const Tensor& x) const {
  if (!x.defined()) fail_value("an input is undefined");
}

void Op::check_floating(const Tensor& x) const {
  check_defined(x);
  if (!is_floating(x.dtype()))
    fail_dtype(std::string("needs float32 or float64, got ") + name_of(x.dtype()) + " " + x.shape().str());
}

void Op::check_dtype(const Tensor& x, DType t) const {
  check_defined(x);
  if (x.dtype() != t)
    fail_dtype(std::string("needs ") + name_of(t) + ", got " + name_of(x.dtype()) + " " + x.shape().str());
}

void Op::check_same_dtype(const Tensor& a, const Tensor& b) const {
  check_defined(a);
  check_defined(b);
  if (a.dtype() != b.dtype())
    fail_dtype(std::string("dtypes differ: ") + name_of(a.dtype()) + " " + a.shape().str() + " and " +
               name_of(b.dtype()) + " " + b.shape().str());
}

/// Undefined if an element, `bad`, is outside of [0, n).
Tensor Op::index_below(std::int64_t n, const Tensor& index, std::int64_t& bad) const {
  check_defined(index);
  if (!is_integer(index.dtype()))
    fail_dtype(std::string("needs an integer index, got ") + name_of(index.dtype()) + " " + index.shape().str());
  Tensor dense = index.detach();
  if (index.dtype() != DType::int64 || !index.is_contiguous()) {
    dense = attune::empty(index.shape(), DType::int64);
    kernels::cast(index.shape(), index.dtype(), index.raw(), index.strides(), DType::int64, dense.unsafe_data());
  }
  const auto* p = static_cast<const std::int64_t*>(dense.raw());
  const std::int64_t at = kernels::first_out_of_range(p, dense.numel(), n);
  if (at < 0) return dense;
  bad = p[at];
  return Tensor();
}

Tensor Op::checked_index(const Tensor& index, const Shape& shape, int axis) const {
  std::int64_t bad = 0;
  Tensor at = index_below(shape.rank() == 0 ? 1 : shape[axis], index, bad);
  if (!at.defined())
    fail_index("index " + std::to_string(bad) + " is out of range for axis " + std::to_string(axis) + " of " +
               shape.str());
  return at;
}

Tensor Op::checked_index(const Tensor& index, std::int64_t n, const char* what) const {
  std::int64_t bad = 0;
  Tensor at = index_below(n, index, bad);
  if (!at.defined())
    fail_index("index " + std::to_string(bad) + " is out of range for " + std::to_string(n) + " " + what);
  return at;
}

void Op::fail_shape(const std::string& m) const { throw ShapeError(full_name() + ": " + m, site()); }
void Op::fail_dtype(const std::string& m) const { throw DTypeError(full_name() + ": " + m, site()); }
void Op::fail_index(const std::string& m) const { throw IndexError(full_name() + ": " + m, site()); }
void Op::fail_value(const std::string& m) const { throw ValueError(full_name() + ": " + m, site()); }
void Op::fail_grad(const std::string& m) const { throw GradError(full_name() + ": " + m, site()); }

}  // namespace attune
