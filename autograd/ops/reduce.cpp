#include "autograd/ops/reduce.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "autograd/kernels/reduce.h"
#include "autograd/kernels/rows.h"
#include "autograd/ops/create.h"
#include "autograd/ops/elementwise.h"
#include "autograd/ops/gather.h"
#include "autograd/ops/internal/apply.h"
#include "autograd/ops/internal/powers_of_two.h"
#include "autograd/ops/internal/views.h"
#include "autograd/ops/internal/zero_product.h"

namespace attune {

using detail::AxisSplit;
using detail::dense;
using detail::elements;
using detail::row_axis;
using detail::split_at;
using detail::with_floating;

namespace {

/// Which axes go.
struct Axes {
  Dims gone;           // sorted, non-negative
  Shape kept;          // the result with them as size 1
  Shape dropped;       // and without them
  std::int64_t n = 1;  // the number of elements that become one
};

Axes axes_of(const Op& op, const Tensor& x, const Dims& asked) {
  op.check_defined(x);
  bool goes[max_rank] = {};
  for (std::int64_t axis : asked) {
    bool& again = goes[row_axis(op, x, axis)];
    if (again) op.fail_shape("axes " + asked.str() + " repeat an axis");
    again = true;
  }
  Axes r;
  r.kept = x.shape();
  for (int i = 0; i < x.rank(); ++i) {
    if (asked.empty() || goes[i]) {
      r.gone.push_back(i);
      r.kept[i] = 1;
      r.n *= x.shape()[i];
    } else {
      r.dropped.push_back(x.shape()[i]);
    }
  }
  return r;
}

/// x with the axes that go last, in order; and the order.
Tensor gone_last(const Tensor& x, const Axes& r, Dims* order = nullptr) {
  Dims axes;
  for (int i = 0; i < x.rank(); ++i)
    if (std::find(r.gone.begin(), r.gone.end(), i) == r.gone.end()) axes.push_back(i);
  for (std::int64_t a : r.gone) axes.push_back(a);
  if (order) *order = axes;
  return permute(x, axes);
}

/// A dense tensor under the result's shape.
Tensor shaped(const Tensor& y, const Axes& r, bool keep_axes) {
  const Shape& shape = keep_axes ? r.kept : r.dropped;
  return view_of(y, shape, contiguous_strides(shape), 0);
}

/// dy or y as [.., 1, ..] again, so that it broadcasts to x.
Tensor with_axes(const Tensor& y, const Shape& kept) { return reshape(y, kept); }

/// " over axes [1] of [2, 3]"
std::string over_axes(const Shape& kept, const Shape& shape) {
  Dims axes;
  for (int i = 0; i < shape.rank(); ++i)
    if (kept[i] != shape[i]) axes.push_back(i);
  return numel(kept) == 1 ? " over " + shape.str() : " over axes " + axes.str() + " of " + shape.str();
}

/// The rule of a sum.
struct Spread {
  Shape kept, shape;
  Tensor operator()(const Tensor& dy) const { return expand(with_axes(dy, kept), shape); }
  std::string text() const { return kept == shape ? "dx = dy" : "dx = dy, spread" + over_axes(kept, shape); }
};

/// The rule of a mean.
struct MeanSpread {
  Shape kept, shape;
  double n;
  Tensor operator()(const Tensor& dy) const { return expand(with_axes(dy / n, kept), shape); }
  std::string text() const {
    return "dx = dy / " + std::to_string(static_cast<std::int64_t>(n)) + ", spread" + over_axes(kept, shape);
  }
};

struct SummedFromEnd {
  int axis;
  Tensor operator()(const Tensor& dy) const {
    return dy.rank() == 0 ? dy : flip(cumsum(flip(dy, {axis}), axis), {axis});
  }
  std::string text() const { return "dx = the running sum of dy from the end of axis " + std::to_string(axis); }
};

template <class F>
void with_numbers(const Op& op, const Tensor& x, F&& f) {
  switch (x.dtype()) {
    case DType::float32: return f(float{});
    case DType::float64: return f(double{});
    case DType::int64: return f(std::int64_t{});
    case DType::int32: return f(std::int32_t{});
    case DType::boolean: op.fail_dtype("needs numbers, got bool " + x.shape().str());
  }
}

/// One run of neighbouring axes after another, the last ones first: a dense x is never rearranged.
Tensor reduce_axes(const Op& op, kernels::Reduce f, const Tensor& x, const Axes& r, bool keep_axes) {
  Shape shape = x.shape();
  const auto goes = [&](int i) { return shape[i] == 1 || r.kept[i] != shape[i]; };
  Tensor y = dense(x);
  for (int last = x.rank() - 1; last >= 0; --last) {
    if (!goes(last)) continue;
    int first = last;
    AxisSplit at{1, shape[last], 1};
    while (first > 0 && goes(first - 1)) at.n *= shape[--first];
    for (int i = 0; i < x.rank(); ++i) {
      if (i < first) at.outer *= shape[i];
      if (i > last) at.inner *= shape[i];
      if (i >= first && i <= last) shape[i] = 1;
    }
    last = first;
    if (at.n == 1) continue;
    const Tensor from = std::exchange(y, op.empty(shape, x.dtype()));
    with_numbers(op, x, [&]<class T>(T) {
      kernels::reduce<T>(f, elements<const T>(from), at.outer, at.n, at.inner, elements<T>(y));
    });
  }
  if (y.same_storage(x)) y = clone(y);
  return shaped(y, r, keep_axes);
}

/// The same for the extremes, which need something to choose from.
Tensor extreme(const Op& op, kernels::Reduce f, const Tensor& x, const Axes& r, bool keep_axes) {
  if (x.dtype() == DType::boolean) op.fail_dtype("needs numbers, got bool " + x.shape().str());
  if (r.n == 0 && numel(r.dropped) != 0)
    op.fail_shape("nothing to choose from along axes " + r.gone.str() + " of " + x.shape().str());
  return reduce_axes(op, f, x, r, keep_axes);
}

}  // namespace

Tensor sum(const Tensor& x, const Dims& axes, bool keep_axes, Here here) {
  const Op op{"sum", here};
  const Axes r = axes_of(op, x, axes);
  const bool widened = x.dtype() == DType::int32 || x.dtype() == DType::boolean;
  return op.record(reduce_axes(op, kernels::Reduce::sum, widened ? to(x, DType::int64) : x, r, keep_axes),
                   of<sum>(x, axes, keep_axes), "dx = dy, spread", Spread{r.kept, x.shape()});
}

Tensor mean(const Tensor& x, const Dims& axes, bool keep_axes, Here here) {
  const Op op{"mean", here};
  op.check_floating(x);
  const Axes r = axes_of(op, x, axes);
  const double n = static_cast<double>(r.n);
  const auto value = [&] {
    const NoGrad off;
    Tensor y = reduce_axes(op, kernels::Reduce::sum, x, r, keep_axes) / n;
    if (r.n == 0 || !detail::has_non_finite(y)) return y;
    // The sum may have overflowed where the mean does not: again with elements that are small enough.
    const Tensor small = reduce_axes(op, kernels::Reduce::sum, 0x1p-64 * x.detach(), r, keep_axes) / n * 0x1p64;
    return where(lt(abs(y), std::numeric_limits<double>::infinity()), y, small);
  };
  // The mean of nothing is NaN; its gradient has no elements, and is not to put a NaN into higher derivatives.
  return op.record(value(), of<mean>(x, axes, keep_axes), "dx = dy / n, spread",
                   MeanSpread{r.kept, x.shape(), std::max(n, 1.0)});
}

namespace {

/// For each element of x [m, n] the product of those before it in its row, by doubling: log2(n) steps.
Tensor product_of_earlier(const Tensor& x) {
  Tensor y = pad(x, 1, 1, -1, 1);
  for (std::int64_t reach = 1; reach < x.size(1); reach *= 2) y = y * pad(y, 1, reach, -reach, 1);
  return y;
}

/// The product of all elements but one in each row of x [m, n]: no division, so it is exact with zeros.
Tensor product_of_others(const Tensor& x) {
  Tensor y = product_of_earlier(x) * flip(product_of_earlier(flip(x, {1})), {1});
  if (!detail::leaves_range(y) || detail::has_non_finite(x)) return y;
  const Tensor e = detail::exponents_of(x), near_one = detail::times_power_of_two(x, 0 - e);
  return detail::times_power_of_two(product_of_earlier(near_one) * flip(product_of_earlier(flip(near_one, {1})), {1}),
                                    sum(e, {1}, true) - e);
}

/// The product along the axes. What left the range of the dtype is computed again from elements near 1: a zero or a
/// small element may bring an overflow back.
Tensor product_along(const Op& op, const Tensor& x, const Axes& r, bool keep_axes) {
  Tensor y = reduce_axes(op, kernels::Reduce::prod, x, r, keep_axes);
  if (!is_floating(x.dtype()) || !detail::leaves_range(y) || detail::has_non_finite(x)) return y;
  const NoGrad off;
  const Tensor e = detail::exponents_of(x), near_one = detail::times_power_of_two(x.detach(), 0 - e);
  return detail::times_power_of_two(reduce_axes(op, kernels::Reduce::prod, near_one, r, keep_axes),
                                    sum(e, r.gone, keep_axes));
}

}  // namespace

Tensor prod(const Tensor& x, const Dims& axes, bool keep_axes, Here here) {
  const Op op{"prod", here};
  const Axes r = axes_of(op, x, axes);
  return op.record(product_along(op, x, r, keep_axes), of<prod>(x, axes, keep_axes),
                   "dx = dy times the product of the others", [x = Saved(x), r](const Tensor& dy) {
                     if (x.get().numel() == 0) return zeros_like(x);
                     Dims order;
                     const Tensor moved = gone_last(x, r, &order);
                     const Tensor others = product_of_others(reshape(moved, {numel(r.dropped), r.n}));
                     Dims back = order;
                     for (int i = 0; i < order.rank(); ++i) back[static_cast<int>(order[i])] = i;
                     return permute(reshape(others, moved.shape()), back) * with_axes(dy, r.kept);
                   });
}

namespace {

/// dy to the elements that equal the extreme, in equal shares.
Tensor shared_among_ties(const Tensor& dy, const Tensor& y, const Tensor& x, const Axes& r) {
  const Tensor ties = eq(x, with_axes(y.detach(), r.kept));
  const Tensor count = sum(to(ties, dy.dtype()), r.gone, true);
  return where(ties, with_axes(dy, r.kept) / count, 0);
}

}  // namespace

Tensor amax(const Tensor& x, const Dims& axes, bool keep_axes, Here here) {
  const Op op{"amax", here};
  const Axes r = axes_of(op, x, axes);
  return op.record(extreme(op, kernels::Reduce::max, x, r, keep_axes), of<amax>(x, axes, keep_axes),
                   "dx = dy where x is largest, shared by ties",
                   [x = Saved(x), r](const Tensor& dy, const Tensor& y) { return shared_among_ties(dy, y, x, r); });
}

Tensor amin(const Tensor& x, const Dims& axes, bool keep_axes, Here here) {
  const Op op{"amin", here};
  const Axes r = axes_of(op, x, axes);
  return op.record(extreme(op, kernels::Reduce::min, x, r, keep_axes), of<amin>(x, axes, keep_axes),
                   "dx = dy where x is smallest, shared by ties",
                   [x = Saved(x), r](const Tensor& dy, const Tensor& y) { return shared_among_ties(dy, y, x, r); });
}

namespace {

Tensor position_of(const Op& op, bool largest, const Tensor& x, std::int64_t axis, bool keep_axis) {
  const int a = row_axis(op, x, axis);
  const AxisSplit at = split_at(x.shape(), a);
  if (at.n == 0 && at.outer * at.inner != 0)
    op.fail_shape("nothing to choose from along axis " + std::to_string(axis) + " of " + x.shape().str());
  Shape shape = x.shape();
  if (x.rank() > 0) shape[a] = 1;
  if (x.rank() > 0 && !keep_axis) shape.erase(a);
  Tensor y = op.empty(shape, DType::int64);
  const Tensor from = dense(x);
  with_numbers(op, x, [&]<class T>(T) {
    kernels::arg_extreme<T>(largest, elements<const T>(from), at.outer, at.n, at.inner, elements<std::int64_t>(y));
  });
  return y;
}

ExtremeResult extreme_along(const Tensor& at, const Tensor& x, std::int64_t axis, bool keep_axis) {
  const Tensor values = gather(x, axis, at);
  if (keep_axis || x.rank() == 0) return {values, at};
  return {squeeze(values, axis), squeeze(at, axis)};
}

}  // namespace

Tensor argmax(const Tensor& x, std::int64_t axis, bool keep_axis, Here here) {
  const Op op{"argmax", here};
  return position_of(op, true, x, axis, keep_axis);
}
Tensor argmin(const Tensor& x, std::int64_t axis, bool keep_axis, Here here) {
  const Op op{"argmin", here};
  return position_of(op, false, x, axis, keep_axis);
}

ExtremeResult max(const Tensor& x, std::int64_t axis, bool keep_axis, Here here) {
  const Op op{"max", here};
  return extreme_along(position_of(op, true, x.detach(), axis, true), x, axis, keep_axis);
}
ExtremeResult min(const Tensor& x, std::int64_t axis, bool keep_axis, Here here) {
  const Op op{"min", here};
  return extreme_along(position_of(op, false, x.detach(), axis, true), x, axis, keep_axis);
}

Tensor logsumexp(const Tensor& x, const Dims& axes, bool keep_axes, Here here) {
  const Op op{"logsumexp", here};
  op.check_floating(x);
  const Axes r = axes_of(op, x, axes);
  const Tensor rows = dense(gone_last(x.detach(), r));
  Tensor y = op.empty(keep_axes ? r.kept : r.dropped, x.dtype());
  with_floating(x.dtype(),
                [&]<class T>(T) { kernels::logsumexp<T>(elements<const T>(rows), elements<T>(y), y.numel(), r.n); });
  return op.record(std::move(y), of<logsumexp>(x, axes, keep_axes), "dx = e^(x - y) dy",
                   [x = Saved(x), kept = r.kept](const Tensor& dy, const Tensor& lse) {
                     constexpr double nothing = -std::numeric_limits<double>::infinity();
                     const Tensor top = with_axes(lse, kept);
                     return exp(x - where(eq(top, nothing), 0, top)) *
                            with_axes(dy, kept);  // e^-inf = 0 if all are -inf
                   });
}

Tensor norm(const Tensor& x, const Dims& axes, bool keep_axes, Here here) {
  const Op op{"norm", here};
  op.check_floating(x);
  const Axes r = axes_of(op, x, axes);
  const Tensor rows = dense(gone_last(x.detach(), r));
  Tensor y = op.empty(keep_axes ? r.kept : r.dropped, x.dtype());
  with_floating(x.dtype(),
                [&]<class T>(T) { kernels::norms<T>(elements<const T>(rows), y.numel(), r.n, elements<T>(y)); });
  return op.record(std::move(y), of<norm>(x, axes, keep_axes), "dx = x / y dy, 0 where y = 0",
                   [x = Saved(x), kept = r.kept](const Tensor& dy, const Tensor& length) {
                     const Tensor slope = dy / length;  // one pass over x if that is possible
                     if (!detail::leaves_range(length) && !detail::leaves_range(slope))
                       return x * with_axes(slope, kept);
                     const Tensor all = with_axes(length, kept), none = eq(all, 0);
                     return where(none, 0, x / where(none, 1, all) * with_axes(dy, kept));
                   });
}

Tensor cumsum(const Tensor& x, std::int64_t axis, Here here) {
  const Op op{"cumsum", here};
  const int a = row_axis(op, x, axis);
  const AxisSplit at = split_at(x.shape(), a);
  const Tensor from = dense(x);
  Tensor y = op.empty_like(x);
  with_numbers(op, x, [&]<class T>(T) {
    kernels::cumsum<T>(elements<const T>(from), at.outer, at.n, at.inner, elements<T>(y));
  });
  return op.record(std::move(y), of<cumsum>(x, axis), "dx = the running sum of dy from the end", SummedFromEnd{a});
}

namespace {

bool any_equal(const Tensor& x, bool value) {
  const Tensor from = dense(x);
  const auto* p = elements<const bool>(from);
  return std::find(p, p + from.numel(), value) != p + from.numel();
}

}  // namespace

bool all(const Tensor& x, Here here) {
  const Op op{"all", here};
  op.check_dtype(x, DType::boolean);
  return !any_equal(x, false);
}

bool any(const Tensor& x, Here here) {
  const Op op{"any", here};
  op.check_dtype(x, DType::boolean);
  return any_equal(x, true);
}

Tensor sum_to(const Tensor& x, const Shape& shape, Here here) {
  const Op op{"sum_to", here};
  op.check_defined(x);
  Shape joint;
  if (!broadcast(shape, x.shape(), joint) || joint != x.shape())
    op.fail_shape(shape.str() + " does not broadcast to " + x.shape().str());
  const int offset = x.rank() - shape.rank();
  Dims axes;
  for (int i = 0; i < x.rank(); ++i)
    if (i < offset || (shape[i - offset] == 1 && x.shape()[i] != 1)) axes.push_back(i);
  return axes.empty() ? x : reshape(sum(x, axes), shape);
}

}  // namespace attune
