// Reductions made of others.

#include <algorithm>
#include <cmath>

#include "autograd/ops/create.h"
#include "autograd/ops/elementwise.h"
#include "autograd/ops/internal/powers_of_two.h"
#include "autograd/ops/internal/zero_product.h"
#include "autograd/ops/movement.h"
#include "autograd/ops/reduce.h"
#include "autograd/tape/op.h"

namespace attune {

namespace {

/// The number of elements that the axes reduce to one; checks the axes under the operation's name.
double reduced_count(const Op& op, const Tensor& x, const Dims& axes) {
  if (axes.empty()) return static_cast<double>(x.numel());
  double n = 1;
  for (std::int64_t axis : axes) {
    const int a = op.axis_of_rank(axis, std::max(x.rank(), 1), x.shape());
    if (x.rank() > 0) n *= static_cast<double>(x.shape()[a]);
  }
  return n;
}

/// x less its first element along the axes, a constant: all 0 if x is one number repeated, whose mean
/// may be rounded.
Tensor shifted(const Tensor& x, const Dims& axes) {
  if (x.numel() == 0) return x;
  Tensor first = x.detach();
  for (int i = 0; i < x.rank(); ++i) {
    const auto is_i = [&](std::int64_t axis) { return axis == i || axis + x.rank() == i; };
    if (axes.empty() || std::any_of(axes.begin(), axes.end(), is_i)) first = slice(first, i, 0, 1);
  }
  return x - first;
}

/// sqrt(v) whose gradient at 0 is 0 instead of infinite.
Tensor sqrt_flat_at_zero(const Tensor& v) {
  const Tensor zero = eq(v, 0);
  return where(zero, 0, sqrt(where(zero, 1, v)));
}

/// The element that decides a p-norm, a constant: relative to it no power overflows or vanishes. 1 where it is
/// 0 or infinite.
Tensor dominant(const Tensor& size, double p, const Dims& axes) {
  const NoGrad off;
  const Tensor u = p > 0 ? amax(size, axes, true) : amin(where(eq(size, 0), INFINITY, size), axes, true);
  return where(logical_and(gt(u, 0), lt(u, INFINITY)), u, 1);
}

}  // namespace

Tensor nansum(const Tensor& x, const Dims& axes, bool keep_axes, Here here) {
  const Op op{"nansum", here};
  op.check_floating(x);
  return sum(where(ne(x, x), 0, x), axes, keep_axes);
}

VarMeanResult var_mean(const Tensor& x, const Dims& axes, double correction, bool keep_axes, Here here) {
  const Op op{"var_mean", here};
  op.check_floating(x);
  const double n = reduced_count(op, x, axes);
  const Tensor centre = mean(x, axes, true);
  const Tensor squares = square(x - centre);
  Tensor v = sum(squares, axes, keep_axes) / std::max(n - correction, 0.0);
  if (n > correction && n > 0 && detail::has_non_finite(v))  // the sum may have overflowed where this does not
    v = mean(squares, axes, keep_axes) * (n / (n - correction));
  return {v, keep_axes ? centre : reshape(centre, v.shape())};
}

Tensor var(const Tensor& x, const Dims& axes, double correction, bool keep_axes, Here here) {
  const Op op{"var", here};
  op.check_floating(x);
  reduced_count(op, x, axes);
  return var_mean(x, axes, correction, keep_axes).var;
}

Tensor std_dev(const Tensor& x, const Dims& axes, double correction, bool keep_axes, Here here) {
  const Op op{"std_dev", here};
  op.check_floating(x);
  const double n = reduced_count(op, x, axes);
  const Tensor v = var(shifted(x, axes), axes, correction, keep_axes);
  if (n <= correction || !detail::leaves_range(v) || detail::has_non_finite(x)) return sqrt_flat_at_zero(v);
  const Tensor unit = detail::unit_if_extreme(x, axes);
  if (!unit.defined()) return sqrt_flat_at_zero(v);
  return sqrt_flat_at_zero(var(shifted(x / unit, axes), axes, correction, keep_axes)) * reshape(unit, v.shape());
}

Tensor vector_norm(const Tensor& x, double p, const Dims& axes, bool keep_axes, Here here) {
  const Op op{"vector_norm", here};
  op.check_floating(x);
  const double n = reduced_count(op, x, axes);
  if (std::isnan(p)) op.fail_value("p is not a number");
  if (n == 0 && (std::isinf(p) || p < 0)) op.fail_shape("nothing to choose from in " + x.shape().str());
  if (n == 1 && p != 0) return sum(abs(x), axes, keep_axes);  // every norm of one number, without powers that cancel
  if (std::isinf(p)) return p > 0 ? amax(abs(x), axes, keep_axes) : amin(abs(x), axes, keep_axes);
  if (p == 0) return sum(where(eq(x, 0), 0, ones_like(x)), axes, keep_axes);
  if (p == 1) return sum(abs(x), axes, keep_axes);
  if (p == 2) return norm(x, axes, keep_axes);
  if (x.numel() == 0) return sum(abs(x), axes, keep_axes);
  const Tensor zero = eq(x, 0), size = abs(x), unit = dominant(size, p, axes);
  // Where x is 0 its power is a constant, 0 or infinite, so that no derivative of it is infinite.
  const Tensor powers = where(zero, p > 0 ? 0 : INFINITY, pow(where(zero, 1, size / unit), p));
  const Tensor total = sum(powers, axes, keep_axes), none = eq(total, 0);
  return where(none, 0, pow(where(none, 1, total), 1 / p)) * reshape(unit, total.shape());
}

Tensor cumprod(const Tensor& x, std::int64_t axis, Here here) {
  const Op op{"cumprod", here};
  op.check_floating(x);
  if (x.rank() == 0) {
    op.axis_of_rank(axis, 1, x.shape());
    return clone(x);
  }
  const int a = op.axis(axis, x);
  // Doubling, log2(n) steps: no division, so that its derivatives are exact with zeros.
  const auto running = [&](Tensor y) {
    for (std::int64_t reach = 1; reach < x.shape()[a]; reach *= 2) y = y * pad(y, a, reach, -reach, 1);
    return y;
  };
  Tensor y = running(clone(x));
  if (!detail::leaves_range(y) || detail::has_non_finite(x)) return y;
  const Tensor e = detail::exponents_of(x);
  return detail::times_power_of_two(running(detail::times_power_of_two(x, 0 - e)), cumsum(e, a));
}

}  // namespace attune
