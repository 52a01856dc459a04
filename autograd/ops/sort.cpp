#include "autograd/ops/sort.h"

#include "autograd/kernels/sort.h"
#include "autograd/ops/create.h"
#include "autograd/ops/elementwise.h"
#include "autograd/ops/gather.h"
#include "autograd/ops/internal/apply.h"
#include "autograd/ops/internal/views.h"

namespace attune {

using detail::AxisSplit;
using detail::dense;
using detail::elements;
using detail::row_axis;
using detail::split_at;
using detail::with_any;

SortResult sort(const Tensor& x, std::int64_t axis, bool descending, Here here) {
  const Op op{"sort", here};
  const int a = row_axis(op, x, axis);
  const AxisSplit s = split_at(x.shape(), a);
  const Tensor from = dense(x);
  Tensor y = op.empty_like(x), indices = op.empty(x.shape(), DType::int64);
  with_any(x.dtype(), [&]<class T>(T) {
    kernels::sort<T>(elements<const T>(from), s.outer, s.n, s.inner, descending, elements<T>(y),
                     elements<std::int64_t>(indices));
  });
  // Replayed by gather: the order is a constant of the derivative.
  return {op.record(
              std::move(y), of<gather>(x, a, indices), "dx = dy put back in x's order",
              [indices = Saved(indices), a, whole = x.shape()](const Tensor& dy) {
                return scatter_add(expand(zeros({}, dy.dtype()), whole), a, indices, dy);
              },
              [](const Tensor&) { return Tensor(); }),
          indices};
}

Tensor argsort(const Tensor& x, std::int64_t axis, bool descending, Here here) {
  const Op op{"argsort", here};
  return sort(x.detach(), row_axis(op, x, axis), descending).indices;
}

SortResult topk(const Tensor& x, std::int64_t k, std::int64_t axis, bool largest, Here here) {
  const Op op{"topk", here};
  const int a = row_axis(op, x, axis);
  const std::int64_t n = split_at(x.shape(), a).n;
  if (k < 0 || k > n)
    op.fail_value("k = " + std::to_string(k) + " is not in [0, " + std::to_string(n) + "] for axis " +
                  std::to_string(axis) + " of " + x.shape().str());
  const Tensor order = argsort(x, a, largest);
  const Tensor indices = x.rank() == 0 ? order : contiguous(slice(order, a, 0, k));
  return {gather(x, a, indices), indices};
}

Tensor topk_mask(const Tensor& x, std::int64_t k, std::int64_t axis, Here here) {
  const Op op{"topk_mask", here};
  const Tensor indices = topk(x.detach(), k, axis).indices;
  return gt(scatter(zeros(x.shape()), row_axis(op, x, axis), indices, 1.0), 0);
}

}  // namespace attune
