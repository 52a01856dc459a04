#include "autograd/ops/gather.h"

#include <algorithm>

#include "autograd/kernels/gather.h"
#include "autograd/ops/create.h"
#include "autograd/ops/elementwise.h"
#include "autograd/ops/internal/apply.h"
#include "autograd/ops/internal/positions.h"
#include "autograd/ops/internal/views.h"

namespace attune {

using detail::AxisSplit;
using detail::dense;
using detail::elements;
using detail::row_axis;
using detail::split_at;
using detail::with_floating;

namespace {

/// Zeros of a shape in one element: index_add and scatter_add copy what they add to anyway.
Tensor broadcast_zeros(const Shape& shape, DType dtype) { return expand(zeros({}, dtype), shape); }

const std::int64_t* positions(const Tensor& index) { return elements<const std::int64_t>(index); }

struct IndexAdded {
  Saved at;
  int axis;
  Shape whole;
  Tensor operator()(const Tensor& dy) const { return index_add(broadcast_zeros(whole, dy.dtype()), axis, at, dy); }
  std::string text() const { return "dx = dy added at the index along axis " + std::to_string(axis); }
};

struct ScatterAdded {
  Saved at;
  int axis;
  Shape whole;
  Tensor operator()(const Tensor& dy) const { return scatter_add(broadcast_zeros(whole, dy.dtype()), axis, at, dy); }
  std::string text() const { return "dx = dy added at the index along axis " + std::to_string(axis); }
};

void check_vector(const Op& op, const Tensor& index) {
  op.check_defined(index);
  if (index.rank() > 1) op.fail_shape("the index must have at most one axis, got " + index.shape().str());
}

void check_slices(const Op& op, const Tensor& x, int axis, const Tensor& index, const Tensor& source) {
  check_vector(op, index);
  op.check_same_dtype(x, source);
  Shape expected = x.shape();
  expected[axis] = index.numel();
  if (source.shape() != expected)
    op.fail_shape("source " + source.shape().str() + " must be " + expected.str() + " for x " + x.shape().str() +
                  " and " + std::to_string(index.numel()) + " indices");
}

/// The place of each element of x in row-major order, in x's shape.
Tensor places_of(const Tensor& x) { return reshape(arange(x.numel()), x.shape()); }

/// `x` + what kernel(x + ..) adds to a dense copy of it.
template <class Kernel>
Tensor copy_and_add(const Op& op, const Tensor& x, Kernel&& kernel) {
  op.check_floating(x);
  Tensor y = op.empty_like(x);
  detail::copy_into(y, x);
  with_floating(x.dtype(), [&]<class T>(T) { kernel(elements<T>(y)); });
  return y;
}

}  // namespace

namespace detail {

Tensor put_last(const Tensor& x, const Tensor& at, const Tensor& source) {
  if (at.numel() == 0) return clone(x);
  const Tensor places = dense(at);
  Tensor from = full(x.shape(), -1, DType::int64);  // which element of the source came last
  for (std::int64_t i = 0; i < places.numel(); ++i) elements<std::int64_t>(from)[positions(places)[i]] = i;
  const Tensor taken = index_select(reshape(source, {-1}), 0, reshape(maximum(from, 0), {-1}));
  return where(ge(from, 0), reshape(taken, x.shape()), x);
}

}  // namespace detail

using detail::put_last;

Tensor index_select(const Tensor& x, std::int64_t axis, const Tensor& index, Here here) {
  const Op op{"index_select", here};
  const int a = row_axis(op, x, axis);
  if (x.rank() == 0) return reshape(index_select(reshape(x, {1}), 0, index), {});
  check_vector(op, index);
  const Tensor at = op.checked_index(index, x.shape(), a), from = dense(x);
  const AxisSplit s = split_at(x.shape(), a);
  Shape shape = x.shape();
  shape[a] = at.numel();
  Tensor y = op.empty(shape, x.dtype());
  kernels::index_select(x.dtype(), from.raw(), s.outer, s.n, s.inner, positions(at), at.numel(), y.unsafe_data());
  return op.record(std::move(y), of<index_select>(x, axis, index), "dx = dy added at the index",
                   IndexAdded{Saved(at), a, x.shape()}, [](const Tensor&) { return Tensor(); });
}

Tensor index_add(const Tensor& x, std::int64_t axis, const Tensor& index, const Tensor& source, double alpha,
                 Here here) {
  const Op op{"index_add", here};
  const int a = row_axis(op, x, axis);
  if (x.rank() == 0) return reshape(index_add(reshape(x, {1}), 0, index, reshape(source, {-1}), alpha), {});
  check_slices(op, x, a, index, source);
  const Tensor at = op.checked_index(index, x.shape(), a);
  const Tensor from = dense(alpha == 1 ? source.detach() : alpha * source.detach());
  const AxisSplit s = split_at(x.shape(), a);
  return op.record(
      copy_and_add(op, x,
                   [&]<class T>(T* y) {
                     kernels::index_add<T>(elements<const T>(from), s.outer, s.n, s.inner, positions(at), at.numel(),
                                           y);
                   }),
      of<index_add>(x, axis, index, source, alpha),
      alpha == 1 ? "dx = dy, dsource = dy at the index" : "dx = dy, dsource = alpha dy at the index",
      [](const Tensor& dy) { return dy; }, [](const Tensor&) { return Tensor(); },
      [at = Saved(at), a, alpha](const Tensor& dy) {
        const Tensor taken = index_select(dy, a, at);
        return alpha == 1 ? taken : alpha * taken;
      });
}

Tensor index_copy(const Tensor& x, std::int64_t axis, const Tensor& index, const Tensor& source, Here here) {
  const Op op{"index_copy", here};
  const int a = row_axis(op, x, axis);
  if (x.rank() == 0) return reshape(index_copy(reshape(x, {1}), 0, index, reshape(source, {-1})), {});
  check_slices(op, x, a, index, source);
  return put_last(x, index_select(places_of(x), a, op.checked_index(index, x.shape(), a)), source);
}

namespace {

/// An index of gather's family: x's rank, and no larger than x except along the axis.
void check_like(const Op& op, const Tensor& x, const Tensor& index, int axis) {
  op.check_defined(index);
  bool fits = index.rank() == x.rank() || index.numel() == 0 || x.rank() == 0;
  for (int i = 0; fits && index.rank() == x.rank() && i < x.rank(); ++i)
    fits = i == axis || index.shape()[i] <= x.shape()[i];
  if (x.rank() == 0) fits = index.numel() == 1;
  if (!fits)
    op.fail_shape("index " + index.shape().str() + " must have the rank of x " + x.shape().str() +
                  " and at most its sizes, except along axis " + std::to_string(axis));
}

bool same_except(const Shape& a, const Shape& b, int axis) {
  for (int i = 0; i < a.rank(); ++i)
    if (i != axis && a[i] != b[i]) return false;
  return true;
}

/// The corner of x that has the sizes of `shape`, except along one axis (-1: everywhere).
Tensor corner(const Tensor& x, const Shape& shape, int except = -1) {
  Tensor y = x;
  for (int i = 0; i < x.rank(); ++i)
    if (i != except && shape[i] < x.shape()[i]) y = slice(y, i, 0, shape[i]);
  return y;
}

}  // namespace

Tensor gather(const Tensor& x, std::int64_t axis, const Tensor& index, Here here) {
  const Op op{"gather", here};
  const int a = row_axis(op, x, axis);
  check_like(op, x, index, a);
  if (index.numel() != 0 && index.rank() == x.rank() && !same_except(index.shape(), x.shape(), a)) {
    op.checked_index(index, x.shape(), a);  // names x, not its corner
    return gather(corner(x, index.shape(), a), a, index);
  }
  const AxisSplit s = split_at(x.shape(), a);
  const Tensor at = op.checked_index(index, x.shape(), a), from = dense(x);
  Tensor y = op.empty(index.shape(), x.dtype());
  if (at.numel() != 0)
    kernels::gather(x.dtype(), from.raw(), s.outer, s.n, s.inner, positions(at), at.numel() / (s.outer * s.inner),
                    y.unsafe_data());
  return op.record(std::move(y), of<gather>(x, axis, index), "dx = dy added at the index",
                   ScatterAdded{Saved(at), a, x.shape()}, [](const Tensor&) { return Tensor(); });
}

namespace {

void check_source(const Op& op, const Tensor& index, const Tensor& source) {
  bool fits = source.rank() == index.rank();
  for (int i = 0; fits && i < index.rank(); ++i) fits = index.shape()[i] <= source.shape()[i];
  if (!fits && !(index.numel() == 1 && source.numel() == 1))
    op.fail_shape("source " + source.shape().str() + " is smaller than index " + index.shape().str());
}

}  // namespace

Tensor scatter_add(const Tensor& x, std::int64_t axis, const Tensor& index, const Tensor& source, Here here) {
  const Op op{"scatter_add", here};
  const int a = row_axis(op, x, axis);
  op.check_same_dtype(x, source);
  check_like(op, x, index, a);
  check_source(op, index, source);
  if (source.shape() != index.shape())
    return scatter_add(x, axis, index,
                       source.rank() == index.rank() ? corner(source, index.shape()) : reshape(source, index.shape()));
  if (index.numel() == 0) return clone(x);
  const AxisSplit s = split_at(x.shape(), a);
  if (index.rank() == x.rank() && !same_except(index.shape(), x.shape(), a)) {
    const Tensor at = gather(places_of(x), a, op.checked_index(index, x.shape(), a));
    return reshape(index_add(reshape(x, {-1}), 0, reshape(at, {-1}), reshape(source, {-1})), x.shape());
  }
  const Tensor at = op.checked_index(index, x.shape(), a), from = dense(source);
  return op.record(
      copy_and_add(op, x,
                   [&]<class T>(T* y) {
                     kernels::scatter_add<T>(elements<const T>(from), s.outer, s.n, s.inner, positions(at),
                                             at.numel() / (s.outer * s.inner), y);
                   }),
      of<scatter_add>(x, axis, index, source), "dx = dy, dsource = dy at the index",
      [](const Tensor& dy) { return dy; }, [](const Tensor&) { return Tensor(); },
      [at = Saved(at), a](const Tensor& dy) { return gather(dy, a, at); });
}

Tensor scatter(const Tensor& x, std::int64_t axis, const Tensor& index, const Tensor& source, Here here) {
  const Op op{"scatter", here};
  const int a = row_axis(op, x, axis);
  op.check_same_dtype(x, source);
  check_like(op, x, index, a);
  check_source(op, index, source);
  if (index.numel() == 0) return clone(x);
  const Tensor at = gather(places_of(x), a, op.checked_index(index, x.shape(), a));
  return put_last(x, at, source.rank() == index.rank() ? corner(source, index.shape()) : source);
}

Tensor scatter(const Tensor& x, std::int64_t axis, const Tensor& index, const Scalar& value, Here here) {
  const Op op{"scatter", here};
  op.check_defined(x);
  op.check_defined(index);
  detail::check_fits(op, value, x);
  return scatter(x, axis, index, full(index.shape(), value, x.dtype()));
}

Tensor take_along_dim(const Tensor& x, const Tensor& index, std::int64_t axis, Here here) {
  const Op op{"take_along_dim", here};
  const int a = row_axis(op, x, axis);
  op.check_defined(index);
  if (x.rank() != index.rank())
    op.fail_shape("index " + index.shape().str() + " must have the rank of x " + x.shape().str());
  Shape from = x.shape(), to = index.shape(), joint;
  if (x.rank() == 0) return gather(x, 0, index);
  from[a] = to[a] = 1;
  if (!broadcast(from, to, joint))
    op.fail_shape("x " + x.shape().str() + " and index " + index.shape().str() +
                  " do not broadcast except along axis " + std::to_string(axis));
  from = to = joint;
  from[a] = x.shape()[a];
  to[a] = index.shape()[a];
  op.checked_index(index, x.shape(), a);
  return gather(expand(x, from), a, expand(index, to));
}

Tensor segment_sum(const Tensor& x, const Tensor& segments, std::int64_t count, Here here) {
  const Op op{"segment_sum", here};
  op.check_floating(x);
  if (x.rank() == 0) op.fail_shape("needs at least one axis, got []");
  if (count < 0) op.fail_value("count = " + std::to_string(count) + " is negative");
  Shape shape = x.shape();
  shape[0] = count;
  check_vector(op, segments);
  if (segments.numel() != x.shape()[0])
    op.fail_shape("segments " + segments.shape().str() + " do not fit axis 0 of " + x.shape().str());
  return index_add(broadcast_zeros(shape, x.dtype()), 0, op.checked_index(segments, count, "segments"), x);
}

}  // namespace attune
