#include "autograd/ops/index.h"

#include <algorithm>

#include "autograd/kernels/index.h"
#include "autograd/ops/apply.h"
#include "autograd/ops/create.h"
#include "autograd/ops/elementwise.h"
#include "autograd/ops/layout.h"

namespace attune {

using detail::Around;
using detail::around;
using detail::dense;
using detail::elements;
using detail::with_any;
using detail::with_floating;

namespace {

/// An axis of x; a rank-0 tensor is a row of one.
int row_axis(const Op& op, const Tensor& x, int axis) {
  op.check_defined(x);
  return op.axis_of_rank(axis, std::max(x.rank(), 1));
}

/// Zeros of a shape in one element: index_add and scatter_add copy what they add to anyway.
Tensor nothing(const Shape& shape, DType dtype) { return expand(zeros({}, dtype), shape); }

const std::int64_t* values(const Tensor& index) { return static_cast<const std::int64_t*>(index.raw()); }

void check_vector(const Op& op, const Tensor& index) {
  op.check_defined(index);
  if (index.rank() != 1) op.fail_shape("the index must have rank 1, got " + index.shape().str());
}

/// `x` + what kernel(x + ..) adds to a dense copy of it.
template <class Kernel>
Tensor copy_and_add(const Op& op, const Tensor& x, Kernel&& kernel) {
  op.check_floating(x);
  Tensor y = op.empty_like(x);
  if (x.numel() != 0) kernels::copy(x.dtype(), x.shape(), x.raw(), x.strides(), y.raw_mut(), y.strides());
  with_floating(x.dtype(), [&](auto zero) { kernel(elements<decltype(zero)>(y)); });
  return y;
}

}  // namespace

Tensor index_select(const Tensor& x, int axis, const Tensor& index, Here here) {
  const Op op{"index_select", here};
  const int a = op.axis(axis, x);
  check_vector(op, index);
  const Tensor at = op.checked_index(index, x.shape()[a]), from = dense(x);
  const Around s = around(x.shape(), a);
  Shape shape = x.shape();
  shape[a] = at.numel();
  Tensor y = op.empty(shape, x.dtype());
  kernels::index_select(x.dtype(), from.raw(), s.outer, s.n, s.inner, values(at), at.numel(), y.raw_mut());
  return op.record(
      std::move(y), of<index_select>(x, axis, index), "dx = dy added at the index",
      [at = Saved(at), a, whole = x.shape()](const Tensor& dy) {
        return index_add(nothing(whole, dy.dtype()), a, at, dy);
      },
      [](const Tensor&) { return Tensor(); });
}

Tensor index_add(const Tensor& x, int axis, const Tensor& index, const Tensor& source, Here here) {
  const Op op{"index_add", here};
  const int a = op.axis(axis, x);
  check_vector(op, index);
  op.check_same_dtype(x, source);
  Shape expected = x.shape();
  expected[a] = index.numel();
  if (source.shape() != expected)
    op.fail_shape("source " + source.shape().str() + " must be " + expected.str() + " for x " + x.shape().str() +
                  " and " + std::to_string(index.numel()) + " indices");
  const Tensor at = op.checked_index(index, x.shape()[a]), from = dense(source);
  const Around s = around(x.shape(), a);
  return op.record(
      copy_and_add(op, x,
                   [&]<class T>(T* y) {
                     kernels::index_add<T>(static_cast<const T*>(from.raw()), s.outer, s.n, s.inner, values(at),
                                           at.numel(), y);
                   }),
      of<index_add>(x, axis, index, source), "dx = dy, dsource = dy at the index", [](const Tensor& dy) { return dy; },
      [](const Tensor&) { return Tensor(); },
      [at = Saved(at), a](const Tensor& dy) { return index_select(dy, a, at); });
}

namespace {

void check_like(const Op& op, const Tensor& x, const Tensor& index, int axis) {
  op.check_defined(index);
  bool fits = index.rank() == x.rank();
  for (int i = 0; fits && i < x.rank(); ++i) fits = i == axis || index.shape()[i] == x.shape()[i];
  if (!fits)
    op.fail_shape("index " + index.shape().str() + " must have the sizes of x " + x.shape().str() +
                  " except along axis " + std::to_string(axis));
}

}  // namespace

Tensor gather(const Tensor& x, int axis, const Tensor& index, Here here) {
  const Op op{"gather", here};
  const int a = row_axis(op, x, axis);
  check_like(op, x, index, a);
  const Around s = around(x.shape(), a);
  const Tensor at = op.checked_index(index, s.n), from = dense(x);
  Tensor y = op.empty(index.shape(), x.dtype());
  kernels::gather(x.dtype(), from.raw(), s.outer, s.n, s.inner, values(at), around(index.shape(), a).n, y.raw_mut());
  return op.record(
      std::move(y), of<gather>(x, axis, index), "dx = dy added at the index",
      [at = Saved(at), a, whole = x.shape()](const Tensor& dy) {
        return scatter_add(nothing(whole, dy.dtype()), a, at, dy);
      },
      [](const Tensor&) { return Tensor(); });
}

Tensor scatter_add(const Tensor& x, int axis, const Tensor& index, const Tensor& source, Here here) {
  const Op op{"scatter_add", here};
  const int a = row_axis(op, x, axis);
  op.check_same_dtype(x, source);
  check_like(op, x, index, a);
  if (source.shape() != index.shape())
    op.fail_shape("source " + source.shape().str() + " differs from index " + index.shape().str());
  const Around s = around(x.shape(), a);
  const Tensor at = op.checked_index(index, s.n), from = dense(source);
  return op.record(
      copy_and_add(op, x,
                   [&]<class T>(T* y) {
                     kernels::scatter_add<T>(static_cast<const T*>(from.raw()), s.outer, s.n, s.inner, values(at),
                                             around(index.shape(), a).n, y);
                   }),
      of<scatter_add>(x, axis, index, source), "dx = dy, dsource = dy at the index",
      [](const Tensor& dy) { return dy; }, [](const Tensor&) { return Tensor(); },
      [at = Saved(at), a](const Tensor& dy) { return gather(dy, a, at); });
}

Tensor embedding(const Tensor& table, const Tensor& indices, std::int64_t padding_index, Here here) {
  const Op op{"embedding", here};
  op.check_floating(table);
  if (table.rank() != 2) op.fail_shape("the table must be [rows, d], got " + table.shape().str());
  if (padding_index < -1 || padding_index >= table.size(0))
    op.fail_index("padding_index = " + std::to_string(padding_index) + " is neither -1 nor a row of " +
                  table.shape().str());
  const Tensor at = op.checked_index(indices, table.size(0)), from = dense(table);
  Shape shape = indices.shape();
  shape.push_back(table.size(1));
  Tensor y = op.empty(shape, table.dtype());
  kernels::index_select(table.dtype(), from.raw(), 1, table.size(0), table.size(1), values(at), at.numel(),
                        y.raw_mut());
  return op.record(
      std::move(y), of<embedding>(table, indices, padding_index), "dtable = dy added at the indices",
      [at = Saved(at), padding_index, whole = table.shape()](const Tensor& dy) {
        const Tensor flat = flatten(at);
        Tensor rows = reshape(dy, {flat.numel(), whole[1]});
        if (padding_index >= 0) rows = where(unsqueeze(eq(flat, padding_index), 1), 0, rows);
        return index_add(nothing(whole, dy.dtype()), 0, flat, rows);
      },
      [](const Tensor&) { return Tensor(); });
}

Tensor one_hot(const Tensor& indices, std::int64_t classes, DType dtype, Here here) {
  const Op op{"one_hot", here};
  if (classes < 0) op.fail_value("classes = " + std::to_string(classes) + " is negative");
  const Tensor at = op.checked_index(indices, classes);
  Shape shape = indices.shape();
  shape.push_back(classes);
  Tensor y = zeros(shape, dtype);
  with_any(dtype, [&](auto zero) {
    using T = decltype(zero);
    for (std::int64_t i = 0; i < at.numel(); ++i) elements<T>(y)[i * classes + values(at)[i]] = T{1};
  });
  return y;
}

Sorted sort(const Tensor& x, int axis, bool descending, Here here) {
  const Op op{"sort", here};
  const int a = row_axis(op, x, axis);
  const Around s = around(x.shape(), a);
  const Tensor from = dense(x);
  Tensor y = op.empty_like(x), indices = op.empty(x.shape(), DType::int64);
  with_any(x.dtype(), [&](auto zero) {
    using T = decltype(zero);
    kernels::sort<T>(static_cast<const T*>(from.raw()), s.outer, s.n, s.inner, descending, elements<T>(y),
                     elements<std::int64_t>(indices));
  });
  // Replayed by gather: the order is a constant of the derivative.
  return {op.record(
              std::move(y), of<gather>(x, a, indices), "dx = dy put back in x's order",
              [indices = Saved(indices), a, whole = x.shape()](const Tensor& dy) {
                return scatter_add(nothing(whole, dy.dtype()), a, indices, dy);
              },
              [](const Tensor&) { return Tensor(); }),
          indices};
}

Tensor argsort(const Tensor& x, int axis, bool descending, Here here) {
  const Op op{"argsort", here};
  return sort(x.detach(), row_axis(op, x, axis), descending).indices;
}

Sorted topk(const Tensor& x, std::int64_t k, int axis, Here here) {
  const Op op{"topk", here};
  const int a = op.axis(axis, x);
  if (k < 0 || k > x.shape()[a])
    op.fail_value("k = " + std::to_string(k) + " is not in [0, " + std::to_string(x.shape()[a]) + "] for axis " +
                  std::to_string(axis) + " of " + x.shape().str());
  const Tensor indices = contiguous(slice(argsort(x, a, true), a, 0, k));
  return {gather(x, a, indices), indices};
}

}  // namespace attune
