// Movement that splits, joins or reorders axes: diagonals, windows.

#include <algorithm>

#include "autograd/ops/create.h"
#include "autograd/ops/elementwise.h"
#include "autograd/ops/gather.h"
#include "autograd/ops/internal/apply.h"
#include "autograd/ops/movement.h"

namespace attune {

namespace {

/// A diagonal of the axes a and b of a shape.
struct Diagonal {
  int a, b;
  std::int64_t row, column;  // where it begins
  std::int64_t length;
};

Diagonal diagonal_of(const Op& op, const Shape& shape, std::int64_t offset, std::int64_t axis_a, std::int64_t axis_b) {
  Diagonal d{op.axis_of_rank(axis_a, shape.rank(), shape), op.axis_of_rank(axis_b, shape.rank(), shape), 0, 0, 0};
  if (d.a == d.b)
    op.fail_shape("axes " + std::to_string(axis_a) + " and " + std::to_string(axis_b) + " of " + shape.str() +
                  " are the same");
  const std::int64_t rows = shape[d.a], columns = shape[d.b];
  offset = std::clamp(offset, -rows, columns);  // beyond them it is empty
  d.row = std::max<std::int64_t>(-offset, 0);
  d.column = std::max<std::int64_t>(offset, 0);
  d.length = std::max<std::int64_t>(std::min(rows - d.row, columns - d.column), 0);
  return d;
}

Tensor diagonal_view(const Tensor& x, const Diagonal& d) {
  Shape shape = x.shape();
  Strides strides = x.strides();
  const std::int64_t step = strides[d.a] + strides[d.b];
  const std::int64_t start = d.length == 0 ? 0 : d.row * strides[d.a] + d.column * strides[d.b];
  shape.erase(std::max(d.a, d.b));
  shape.erase(std::min(d.a, d.b));
  strides.erase(std::max(d.a, d.b));
  strides.erase(std::min(d.a, d.b));
  shape.push_back(d.length);
  strides.push_back(step);
  return view_of(x, shape, strides, start);
}

struct OnDiagonal {
  Shape shape;
  std::int64_t offset, a, b;
  Tensor operator()(const Tensor& dy) const { return diagonal_scatter(dy, shape, offset, a, b); }
  std::string text() const {
    return "dx = dy on diagonal " + std::to_string(offset) + " of axes " + std::to_string(a) + " and " +
           std::to_string(b) + ", zeros elsewhere";
  }
};

}  // namespace

Tensor diagonal(const Tensor& x, std::int64_t offset, std::int64_t a, std::int64_t b, Here here) {
  const Op op{"diagonal", here};
  op.check_defined(x);
  return op.record(diagonal_view(x, diagonal_of(op, x.shape(), offset, a, b)), of<diagonal>(x, offset, a, b),
                   "dx = dy on the diagonal, zeros elsewhere", OnDiagonal{x.shape(), offset, a, b});
}

Tensor diagonal_scatter(const Tensor& x, const Shape& shape, std::int64_t offset, std::int64_t a, std::int64_t b,
                        Here here) {
  const Op op{"diagonal_scatter", here};
  op.check_defined(x);
  const Diagonal d = diagonal_of(op, shape, offset, a, b);
  Tensor y = zeros(shape, x.dtype());
  const Tensor places = diagonal_view(y, d);
  if (places.shape() != x.shape())
    op.fail_shape(x.shape().str() + " does not fit the diagonal " + places.shape().str() + " of " + shape.str());
  detail::copy_into(places, x);
  return op.record(std::move(y), of<diagonal_scatter>(x, shape, offset, a, b), "dx = dy's diagonal",
                   [offset, a, b](const Tensor& dy) { return diagonal(dy, offset, a, b); });
}

Tensor diag_embed(const Tensor& x, std::int64_t offset, std::int64_t axis_a, std::int64_t axis_b, Here here) {
  const Op op{"diag_embed", here};
  op.check_defined(x);
  if (x.rank() == 0) op.fail_shape("needs at least one axis, got []");
  const int a = op.axis_of_rank(axis_a, x.rank() + 1, x.shape()), b = op.axis_of_rank(axis_b, x.rank() + 1, x.shape());
  if (a == b) op.fail_shape("axes " + std::to_string(axis_a) + " and " + std::to_string(axis_b) + " are the same");
  std::int64_t size = 0;
  if (offset == std::numeric_limits<std::int64_t>::min() ||
      __builtin_add_overflow(x.shape().back(), std::abs(offset), &size))
    op.fail_value("offset = " + std::to_string(offset) + " is out of range");
  Shape shape = x.shape();
  shape.erase(x.rank() - 1);
  shape.insert(std::min(a, b), size);
  shape.insert(std::max(a, b), size);
  return diagonal_scatter(x, shape, offset, a, b);
}

Tensor movedim(const Tensor& x, const Dims& from, const Dims& to, Here here) {
  const Op op{"movedim", here};
  op.check_defined(x);
  if (from.rank() != to.rank()) op.fail_shape("axes " + from.str() + " and " + to.str() + " differ in number");
  Dims axes;
  axes.resize(x.rank(), -1);
  bool moved[max_rank] = {};
  for (int i = 0; i < from.rank(); ++i) {
    const int source = op.axis(from[i], x), target = op.axis(to[i], x);
    if (moved[source] || axes[target] >= 0)
      op.fail_shape("axes " + from.str() + " to " + to.str() + " repeat an axis of " + x.shape().str());
    moved[source] = true;
    axes[target] = source;
  }
  int next = 0;
  for (int i = 0; i < x.rank(); ++i) {
    if (axes[i] >= 0) continue;
    while (moved[next]) ++next;
    axes[i] = next++;
  }
  return permute(x, axes);
}

Tensor unfold(const Tensor& x, std::int64_t axis, std::int64_t size, std::int64_t step, std::int64_t dilation,
              Here here) {
  const Op op{"unfold", here};
  op.check_defined(x);
  const Tensor whole = x.rank() == 0 ? reshape(x, {1}) : x;
  const int a = op.axis(axis, whole);
  const std::int64_t n = whole.shape()[a];
  std::int64_t reach = 0;  // from a window's first element to its last one
  if (size < 0 || step < 1 || dilation < 1 ||
      __builtin_mul_overflow(std::max<std::int64_t>(size - 1, 0), dilation, &reach) ||
      reach >= std::max<std::int64_t>(n, 1) || size > n)
    op.fail_value("windows of size " + std::to_string(size) + ", step " + std::to_string(step) + " and dilation " +
                  std::to_string(dilation) + " do not fit axis " + std::to_string(axis) + " of " + x.shape().str());
  const std::int64_t count = (n - (size == 0 ? 0 : reach + 1)) / step + 1;
  if (x.rank() == 0) return select(unfold(whole, axis, size, step, dilation), 0, 0);
  Shape shape = x.shape();
  Strides strides = x.strides();
  shape[a] = count;
  shape.push_back(size);
  strides.push_back(size > 1 ? strides[a] * dilation : 1);
  if (count > 1) strides[a] *= step;
  return op.record(view_of(x, shape, strides, 0), of<unfold>(x, axis, size, step, dilation),
                   "dx = dy summed over the windows that hold x",
                   [a, size, step, dilation, count, shape = x.shape()](const Tensor& dy) {
                     const Tensor at = reshape(unsqueeze(step * arange(count), 1) + dilation * arange(size), {-1});
                     Shape flat = shape;
                     flat[a] = count * size;
                     return index_add(expand(zeros({}, dy.dtype()), shape), a, at,
                                      reshape(movedim(dy, {-1}, {a + 1}), flat));
                   });
}

Tensor narrow(const Tensor& x, std::int64_t axis, std::int64_t start, std::int64_t length, Here here) {
  const Op op{"narrow", here};
  const int a = op.axis(axis, x);
  const std::int64_t n = x.shape()[a], first = start < 0 ? start + n : start;
  if (start < -n || first > n || length < 0 || length > n - first)
    op.fail_index("start = " + std::to_string(start) + " and length = " + std::to_string(length) +
                  " are out of range for axis " + std::to_string(axis) + " of " + x.shape().str());
  return slice(x, a, first, first + length);
}

}  // namespace attune
