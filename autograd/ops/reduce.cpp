#include "autograd/ops/reduce.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "autograd/kernels/reduce.h"
#include "autograd/kernels/rows.h"
#include "autograd/ops/apply.h"
#include "autograd/ops/create.h"
#include "autograd/ops/elementwise.h"
#include "autograd/ops/movement.h"
#include "autograd/ops/softmax.h"

namespace attune {

using detail::elements;
using detail::with_any;
using detail::with_floating;

namespace {

/// Which axes go, and x laid out so that they are one: [outer, n, inner], dense.
struct Layout {
  Dims axes;      // sorted, non-negative
  Shape kept;     // the result with the reduced axes as size 1
  Shape dropped;  // and without them
  std::int64_t outer = 1, n = 1, inner = 1;
  Tensor x;  // off the tape
};

Layout layout_of(const Op& op, const Tensor& x, const Dims& asked) {
  op.check_defined(x);
  Layout l;
  unsigned mask = 0;
  for (std::int64_t axis : asked) {
    const unsigned bit = 1u << op.axis(axis, x);
    if (mask & bit) op.fail_index("axes " + asked.str() + " repeat an axis");
    mask |= bit;
  }
  if (asked.empty()) mask = (1u << x.rank()) - 1;
  Dims order;
  l.kept = x.shape();
  int first = -1, last = -1;
  for (int i = 0; i < x.rank(); ++i) {
    if (mask & (1u << i)) {
      l.axes.push_back(i);
      l.kept[i] = 1;
      if (first < 0) first = i;
      last = i;
      l.n *= x.shape()[i];
    } else {
      l.dropped.push_back(x.shape()[i]);
      order.push_back(i);
    }
  }
  const NoGrad off;
  const bool adjacent = l.axes.empty() || last - first + 1 == l.axes.size();
  if (adjacent) {
    for (int i = 0; i < x.rank(); ++i) {
      if (first < 0 || i < first) l.outer *= x.shape()[i];
      if (first >= 0 && i > last) l.inner *= x.shape()[i];
    }
    l.x = contiguous(x.detach());
  } else {
    for (std::int64_t s : l.dropped) l.outer *= s;
    for (std::int64_t a : l.axes) order.push_back(a);
    l.x = contiguous(permute(x.detach(), order));
  }
  return l;
}

const Shape& result_shape(const Layout& l, bool keep_axes) { return keep_axes ? l.kept : l.dropped; }

/// dy or y as [.., 1, ..] again, so that it broadcasts to x.
Tensor with_axes(const Tensor& y, const Shape& kept) { return reshape(y, kept); }

Tensor reduced(const Op& op, kernels::Reduce f, const Layout& l, bool keep_axes) {
  Tensor y = op.empty(result_shape(l, keep_axes), l.x.dtype());
  const auto run = [&](auto zero) {
    using T = decltype(zero);
    kernels::reduce<T>(f, static_cast<const T*>(l.x.raw()), l.outer, l.n, l.inner, elements<T>(y));
  };
  switch (l.x.dtype()) {
    case DType::float32: run(float{}); break;
    case DType::float64: run(double{}); break;
    case DType::int64: run(std::int64_t{}); break;
    case DType::int32: run(std::int32_t{}); break;
    default: op.fail_dtype("needs numbers, got bool " + l.x.shape().str());
  }
  return y;
}

void check_some(const Op& op, const Layout& l, const Tensor& x) {
  if (l.n == 0 && l.outer * l.inner != 0)
    op.fail_shape("nothing to choose from along axes " + l.axes.str() + " of " + x.shape().str());
}

}  // namespace

Tensor sum(const Tensor& x, const Dims& axes, bool keep_axes, Here here) {
  const Op op{"sum", here};
  op.check_defined(x);
  const bool widened = x.dtype() == DType::int32 || x.dtype() == DType::boolean;
  const Layout l = layout_of(op, widened ? to(x, DType::int64) : x, axes);
  return op.record(reduced(op, kernels::Reduce::sum, l, keep_axes), of<sum>(x, axes, keep_axes), "dx = dy, spread",
                   [kept = l.kept, shape = x.shape()](const Tensor& dy) { return expand(with_axes(dy, kept), shape); });
}

Tensor mean(const Tensor& x, const Dims& axes, bool keep_axes, Here here) {
  const Op op{"mean", here};
  op.check_floating(x);
  const Layout l = layout_of(op, x, axes);
  const double n = static_cast<double>(l.n);
  const auto averaged = [&] {
    const NoGrad off;
    return reduced(op, kernels::Reduce::sum, l, keep_axes) / n;
  };
  return op.record(
      averaged(), of<mean>(x, axes, keep_axes), "dx = dy / n, spread",
      [kept = l.kept, shape = x.shape(), n](const Tensor& dy) { return expand(with_axes(dy / n, kept), shape); });
}

namespace {

/// The product of all elements but one along the last axis, by exclusive running products from both sides: exact with
/// zeros.
Tensor product_of_others(const Tensor& x) {
  const std::int64_t n = x.size(-1);
  Shape edge = x.shape();
  edge.back() = 1;
  const Tensor one = ones(edge, x.dtype());
  Tensors before{one}, after{one};
  for (std::int64_t i = 0; i + 1 < n; ++i) {
    before.push_back(before.back() * slice(x, -1, i, i + 1));
    after.push_back(after.back() * slice(x, -1, n - 1 - i, n - i));
  }
  std::reverse(after.begin(), after.end());
  return cat(before, -1) * cat(after, -1);
}

}  // namespace

Tensor prod(const Tensor& x, const Dims& axes, bool keep_axes, Here here) {
  const Op op{"prod", here};
  const Layout l = layout_of(op, x, axes);
  return op.record(
      reduced(op, kernels::Reduce::prod, l, keep_axes), of<prod>(x, axes, keep_axes),
      "dx = dy times the product of the others", [x = Saved(x), gone = l.axes, kept = l.kept](const Tensor& dy) {
        const Tensor& v = x.get();
        if (v.numel() == 0) return zeros_like(v);
        Dims order;
        for (int i = 0; i < v.rank(); ++i)
          if (std::find(gone.begin(), gone.end(), i) == gone.end()) order.push_back(i);
        const int fixed = order.size();
        for (std::int64_t a : gone) order.push_back(a);
        Dims back = order;
        for (int i = 0; i < order.size(); ++i) back[static_cast<int>(order[i])] = i;
        const Tensor moved = permute(v, order);
        const Tensor others = product_of_others(fixed == v.rank() ? unsqueeze(moved, -1) : flatten(moved, fixed));
        return permute(reshape(others, moved.shape()), back) * with_axes(dy, kept);
      });
}

namespace {

Tensor extreme(const Op& op, kernels::Reduce f, const Tensor& x, const Layout& l, bool keep_axes) {
  check_some(op, l, x);
  return reduced(op, f, l, keep_axes);
}

/// dy to the elements that equal the extreme, in equal shares.
Tensor shared_among_ties(const Tensor& dy, const Tensor& y, const Tensor& x, const Shape& kept, const Dims& axes) {
  const Tensor ties = to(eq(x, with_axes(y.detach(), kept)), dy.dtype());
  if (axes.empty()) return ties * with_axes(dy, kept);
  return ties * with_axes(dy, kept) / maximum(sum(ties, axes, true), 1);
}

}  // namespace

Tensor amax(const Tensor& x, const Dims& axes, bool keep_axes, Here here) {
  const Op op{"amax", here};
  const Layout l = layout_of(op, x, axes);
  return op.record(extreme(op, kernels::Reduce::max, x, l, keep_axes), of<amax>(x, axes, keep_axes),
                   "dx = dy where x is largest, shared by ties",
                   [x = Saved(x), kept = l.kept, gone = l.axes](const Tensor& dy, const Tensor& y) {
                     return shared_among_ties(dy, y, x, kept, gone);
                   });
}

Tensor amin(const Tensor& x, const Dims& axes, bool keep_axes, Here here) {
  const Op op{"amin", here};
  const Layout l = layout_of(op, x, axes);
  return op.record(extreme(op, kernels::Reduce::min, x, l, keep_axes), of<amin>(x, axes, keep_axes),
                   "dx = dy where x is smallest, shared by ties",
                   [x = Saved(x), kept = l.kept, gone = l.axes](const Tensor& dy, const Tensor& y) {
                     return shared_among_ties(dy, y, x, kept, gone);
                   });
}

namespace {

Tensor position_of(const Op& op, bool largest, const Tensor& x, int axis, bool keep_axis) {
  const Layout l = layout_of(op, x, {op.axis(axis, x)});
  check_some(op, l, x);
  Tensor y = op.empty(result_shape(l, keep_axis), DType::int64);
  if (x.dtype() == DType::boolean) op.fail_dtype("needs numbers, got bool " + x.shape().str());
  with_any(x.dtype(), [&](auto zero) {
    using T = decltype(zero);
    if constexpr (!std::is_same_v<T, bool>)
      kernels::arg_extreme<T>(largest, static_cast<const T*>(l.x.raw()), l.outer, l.n, l.inner,
                              elements<std::int64_t>(y));
  });
  return y;
}

}  // namespace

Tensor argmax(const Tensor& x, int axis, bool keep_axis, Here here) {
  const Op op{"argmax", here};
  return position_of(op, true, x, axis, keep_axis);
}
Tensor argmin(const Tensor& x, int axis, bool keep_axis, Here here) {
  const Op op{"argmin", here};
  return position_of(op, false, x, axis, keep_axis);
}

Tensor var(const Tensor& x, const Dims& axes, double correction, bool keep_axes, Here here) {
  const Op op{"var", here};
  op.check_floating(x);
  const double n = static_cast<double>(layout_of(op, x, axes).n);
  return sum(square(x - mean(x, axes, true)), axes, keep_axes) / std::max(n - correction, 0.0);
}

namespace {

/// sqrt(v) whose gradient at 0 is 0 instead of infinite.
Tensor sqrt_flat_at_zero(const Tensor& v) {
  const Tensor zero = eq(v, 0);
  return where(zero, 0, sqrt(where(zero, 1, v)));
}

}  // namespace

Tensor std_dev(const Tensor& x, const Dims& axes, double correction, bool keep_axes, Here here) {
  const Op op{"std_dev", here};
  return sqrt_flat_at_zero(var(x, axes, correction, keep_axes));
}

Tensor norm(const Tensor& x, const Dims& axes, bool keep_axes, Here here) {
  const Op op{"norm", here};
  return sqrt_flat_at_zero(sum(square(x), axes, keep_axes));
}

Tensor logsumexp(const Tensor& x, const Dims& axes, bool keep_axes, Here here) {
  const Op op{"logsumexp", here};
  op.check_floating(x);
  const Layout l = layout_of(op, x, axes);
  // The rows kernel wants the reduced axis last.
  Tensor rows = l.x;
  if (l.inner != 1) {
    const NoGrad off;
    rows = contiguous(transpose(reshape(l.x, {l.outer, l.n, l.inner}), 1, 2));
  }
  Tensor y = op.empty(result_shape(l, keep_axes), x.dtype());
  with_floating(x.dtype(), [&](auto zero) {
    using T = decltype(zero);
    kernels::logsumexp<T>(static_cast<const T*>(rows.raw()), elements<T>(y), l.outer * l.inner, l.n);
  });
  return op.record(
      std::move(y), of<logsumexp>(x, axes, keep_axes), "dx = e^(x - y) dy",
      [x = Saved(x), kept = l.kept](const Tensor& dy, const Tensor& lse) {
        const Tensor top = with_axes(lse, kept);
        const Tensor nothing = eq(top, -std::numeric_limits<double>::infinity());
        return exp(where(nothing, -std::numeric_limits<double>::infinity(), x.get() - where(nothing, 0, top))) *
               with_axes(dy, kept);
      });
}

Tensor cumsum(const Tensor& x, int axis, Here here) {
  const Op op{"cumsum", here};
  const int a = op.axis(axis, x);
  const Layout l = layout_of(op, x, {a});
  if (x.dtype() == DType::boolean) op.fail_dtype("needs numbers, got bool " + x.shape().str());
  Tensor y = op.empty_like(x);
  with_any(x.dtype(), [&](auto zero) {
    using T = decltype(zero);
    if constexpr (!std::is_same_v<T, bool>)
      kernels::cumsum<T>(static_cast<const T*>(l.x.raw()), l.outer, l.n, l.inner, elements<T>(y));
  });
  return op.record(std::move(y), of<cumsum>(x, axis), "dx = the running sum of dy from the end",
                   [a](const Tensor& dy) { return flip(cumsum(flip(dy, {a}), a), {a}); });
}

namespace {

bool any_equal(const Tensor& x, bool value) {
  const NoGrad off;
  const Tensor dense = contiguous(x);
  const auto* p = static_cast<const bool*>(dense.raw());
  return std::find(p, p + dense.numel(), value) != p + dense.numel();
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
