// Arithmetic, comparison and selection of two operands.

#include "autograd/ops/create.h"
#include "autograd/ops/elementwise.h"
#include "autograd/ops/internal/apply.h"
#include "autograd/ops/internal/zero_product.h"

namespace attune {

using detail::binary;
using detail::elements;
using detail::joint_shape;
using detail::promote;
using detail::strided;
using detail::with_any;
using kernels::Binary;

namespace {

/// Named functions get `here` from their caller, operators from an operand.
Here site_of(Here here, const Operand& a, const Operand& b) {
  if (here.line != 0) return here;
  return a.here().line != 0 ? a.here() : b.here();
}

/// The gradient of maximum or minimum: none to the loser, half at a tie. Beside NaN nobody loses.
Tensor winner_share(const Tensor& dy, const Tensor& loses, const Tensor& ties) {
  return where(ties, 0.5 * dy, where(loses, 0, dy));
}

}  // namespace

Tensor add(const Operand& x, const Operand& y, Here here) {
  const Op op{"add", site_of(here, x, y)};
  const auto [a, b] = promote(op, x, y);
  return op.record(
      binary(op, Binary::add, a, b, true), of<add>(a, b), "da = dy, db = dy", [](const Tensor& dy) { return dy; },
      [](const Tensor& dy) { return dy; });
}

Tensor sub(const Operand& x, const Operand& y, Here here) {
  const Op op{"sub", site_of(here, x, y)};
  const auto [a, b] = promote(op, x, y);
  return op.record(
      binary(op, Binary::sub, a, b, true), of<sub>(a, b), "da = dy, db = -dy", [](const Tensor& dy) { return dy; },
      [](const Tensor& dy) { return -dy; });
}

Tensor mul(const Operand& x, const Operand& y, Here here) {
  const Op op{"mul", site_of(here, x, y)};
  const auto [a, b] = promote(op, x, y);
  return op.record(
      binary(op, Binary::mul, a, b, true), of<mul>(a, b), "da = b dy, db = a dy",
      [b = op.saved_for(a, b)](const Tensor& dy) { return b * dy; },
      [a = op.saved_for(b, a)](const Tensor& dy) { return a * dy; });
}

Tensor div(const Operand& x, const Operand& y, Here here) {
  const Op op{"div", site_of(here, x, y)};
  const auto [a, b] = promote(op, x, y);
  if (is_integer(b.dtype()))
    for (double v : b.to_vector<double>())
      if (v == 0) op.fail_value("integer division by zero");
  return op.record(
      binary(op, Binary::div, a, b, true), of<div>(a, b), "da = dy / b, db = -dy y / b",
      [b = op.saved_for(a, b)](const Tensor& dy) { return dy / b; },
      [b = op.saved_for(b, b)](const Tensor& dy, const Tensor& q) { return -(dy * q) / b; });
}

Tensor pow(const Operand& x, const Operand& y, Here here) {
  const Op op{"pow", site_of(here, x, y)};
  const auto [a, b] = promote(op, x, y);
  return op.record(
      binary(op, Binary::pow, a, b), of<pow>(a, b), "da = b a^(b-1) dy, db = y log(a) dy",
      [a = Saved(a), b = Saved(b)](const Tensor& dy) {
        const Tensor flat = eq(b, 0);  // whatever dy is, a NaN for a negative base too
        return where(flat, 0, b * pow(where(flat, 1, a), b - 1) * dy);
      },
      [a = Saved(a), b = Saved(b)](const Tensor& dy, const Tensor& p) {
        const Tensor flat = logical_and(eq(a, 0), ge(b, 0));  // 0^b is constant to the right of b = 0
        return where(flat, 0, p * log(where(flat, 1, a))) * dy;
      });
}

Tensor maximum(const Operand& x, const Operand& y, Here here) {
  const Op op{"maximum", site_of(here, x, y)};
  const auto [a, b] = promote(op, x, y);
  return op.record(
      binary(op, Binary::maximum, a, b, true), of<maximum>(a, b),
      "da = dy where a > b, dy / 2 where a == b, db = dy where b > a, dy / 2 where a == b",
      [a = Saved(a), b = Saved(b)](const Tensor& dy) { return winner_share(dy, lt(a, b), eq(a, b)); },
      [a = Saved(a), b = Saved(b)](const Tensor& dy) { return winner_share(dy, lt(b, a), eq(a, b)); });
}

Tensor minimum(const Operand& x, const Operand& y, Here here) {
  const Op op{"minimum", site_of(here, x, y)};
  const auto [a, b] = promote(op, x, y);
  return op.record(
      binary(op, Binary::minimum, a, b, true), of<minimum>(a, b),
      "da = dy where a < b, dy / 2 where a == b, db = dy where b < a, dy / 2 where a == b",
      [a = Saved(a), b = Saved(b)](const Tensor& dy) { return winner_share(dy, gt(a, b), eq(a, b)); },
      [a = Saved(a), b = Saved(b)](const Tensor& dy) { return winner_share(dy, gt(b, a), eq(a, b)); });
}

Tensor clamp_min(const Operand& x, const Operand& low, Here here) {
  const Op op{"clamp_min", site_of(here, x, low)};
  const auto [a, b] = promote(op, x, low);
  return op.record(
      binary(op, Binary::maximum, a, b, true), of<clamp_min>(a, b), "dx = dy where x >= low, dlow = dy where x < low",
      [a = Saved(a), b = Saved(b)](const Tensor& dy) { return where(ge(a, b), dy, 0); },
      [a = Saved(a), b = Saved(b)](const Tensor& dy) { return where(lt(a, b), dy, 0); });
}

Tensor clamp_max(const Operand& x, const Operand& high, Here here) {
  const Op op{"clamp_max", site_of(here, x, high)};
  const auto [a, b] = promote(op, x, high);
  return op.record(
      binary(op, Binary::minimum, a, b, true), of<clamp_max>(a, b),
      "dx = dy where x <= high, dhigh = dy where x > high",
      [a = Saved(a), b = Saved(b)](const Tensor& dy) { return where(le(a, b), dy, 0); },
      [a = Saved(a), b = Saved(b)](const Tensor& dy) { return where(gt(a, b), dy, 0); });
}

Tensor div_trunc(const Operand& x, const Operand& y, Here here) {
  const Op op{"div_trunc", site_of(here, x, y)};
  const auto [a, b] = promote(op, x, y);
  joint_shape(op, a, b);
  const auto quotient = [&, &left = a, &right = b] {
    const NoGrad off;
    const Tensor q = div(left, right);
    return is_floating(q.dtype()) ? trunc(q) : q;
  };
  return op.record(
      quotient(), of<div_trunc>(a, b), "da = 0, db = 0", [](const Tensor& dy) { return zeros_like(dy); },
      [](const Tensor& dy) { return zeros_like(dy); });
}

Tensor fmod(const Operand& x, const Operand& y, Here here) {
  const Op op{"fmod", site_of(here, x, y)};
  const auto [a, b] = promote(op, x, y);
  return op.record(
      binary(op, Binary::fmod, a, b), of<fmod>(a, b), "da = dy, db = -trunc(a / b) dy",
      [](const Tensor& dy) { return dy; },
      [a = Saved(a), b = Saved(b)](const Tensor& dy) { return -trunc(a / b) * dy; });
}

namespace {

/// x / y, 0 where y = 0.
Tensor ratio_or_zero(const Tensor& x, const Tensor& y) {
  const Tensor zero = eq(y, 0);
  return where(zero, 0, x / where(zero, 1, y));
}

}  // namespace

namespace {

/// x dy / r^2 without the square, which might overflow or vanish.
Tensor over_square(const Tensor& dy, const Tensor& x, const Tensor& r) {
  return ratio_or_zero(ratio_or_zero(x, r) * dy, r);
}

}  // namespace

Tensor atan2(const Operand& x, const Operand& y, Here here) {
  const Op op{"atan2", site_of(here, x, y)};
  const auto [a, b] = promote(op, x, y);
  return op.record(
      binary(op, Binary::atan2, a, b), of<atan2>(a, b), "da = b dy / (a^2 + b^2), db = -a dy / (a^2 + b^2)",
      [a = Saved(a), b = Saved(b)](const Tensor& dy) { return over_square(dy, b, hypot(a, b)); },
      [a = Saved(a), b = Saved(b)](const Tensor& dy) { return -over_square(dy, a, hypot(a, b)); });
}

Tensor hypot(const Operand& x, const Operand& y, Here here) {
  const Op op{"hypot", site_of(here, x, y)};
  const auto [a, b] = promote(op, x, y);
  return op.record(
      binary(op, Binary::hypot, a, b), of<hypot>(a, b), "da = a dy / y, db = b dy / y",
      [a = Saved(a)](const Tensor& dy, const Tensor& h) { return ratio_or_zero(a * dy, h); },
      [b = Saved(b)](const Tensor& dy, const Tensor& h) { return ratio_or_zero(b * dy, h); });
}

namespace {

/// a - b, 0 where both are the same infinity.
Tensor finite_difference(const Tensor& a, const Tensor& b) {
  const Tensor same = logical_and(eq(a, b), eq(abs(a), std::numeric_limits<double>::infinity()));
  return where(same, 0, where(same, 0, a) - where(same, 0, b));
}

Tensor softmax_share(const Tensor& a, const Tensor& b, const Tensor& dy, const Tensor& y) {
  return where(eq(y, -std::numeric_limits<double>::infinity()), 0, sigmoid(finite_difference(a, b)) * dy);
}

}  // namespace

Tensor logaddexp(const Operand& x, const Operand& y, Here here) {
  const Op op{"logaddexp", site_of(here, x, y)};
  const auto [a, b] = promote(op, x, y);
  joint_shape(op, a, b);
  const auto value = [&, &left = a, &right = b] {
    const NoGrad off;
    return maximum(left, right) + log1p(exp(-abs(finite_difference(left, right))));
  };
  return op.record(
      value(), of<logaddexp>(a, b), "da = sigmoid(a - b) dy, db = sigmoid(b - a) dy",
      [a = Saved(a), b = Saved(b)](const Tensor& dy, const Tensor& v) { return softmax_share(a, b, dy, v); },
      [a = Saved(a), b = Saved(b)](const Tensor& dy, const Tensor& v) { return softmax_share(b, a, dy, v); });
}

Tensor xlogy(const Operand& x, const Operand& y, Here here) {
  const Op op{"xlogy", site_of(here, x, y)};
  const auto [a, b] = promote(op, x, y);
  joint_shape(op, a, b);
  const auto value = [&, &left = a, &right = b] {
    const NoGrad off;
    const Tensor skipped = logical_and(eq(left, 0), eq(right, right));
    return where(skipped, 0, left * log(where(skipped, 1, right)));
  };
  return op.record(
      value(), of<xlogy>(a, b), "da = log(b) dy, db = a dy / b",
      [a = Saved(a), b = Saved(b)](const Tensor& dy) {
        const Tensor flat = logical_and(eq(a, 0), le(b, 0));
        return where(flat, 0, xlogy(dy, where(flat, 1, b)));
      },
      [a = Saved(a), b = Saved(b)](const Tensor& dy) {
        const Tensor flat = logical_and(eq(a, 0), eq(b, 0));
        return where(flat, 0, a * dy / where(flat, 1, b));
      });
}

Tensor lerp(const Tensor& a, const Tensor& b, const Operand& w, Here here) {
  const Op op{"lerp", here};
  op.check_same_dtype(a, b);
  const Shape ends = joint_shape(op, a, b);
  const auto [start, weight] = promote(op, a, w);
  if (Shape joint; !broadcast(ends, weight.shape(), joint))
    op.fail_shape("the weight " + weight.shape().str() + " does not broadcast to " + a.shape().str() + " and " +
                  b.shape().str());
  // At an end the other one has no influence, not even if it is not finite.
  const Tensor rest = 1 - weight, from = detail::finite_where_weightless(a, rest),
               to = detail::finite_where_weightless(b, weight), way = to - from;
  return where(lt(abs(weight), 0.5), from + weight * way, to - rest * way);
}

Tensor addcmul(const Tensor& x, const Tensor& a, const Tensor& b, const Scalar& value, Here here) {
  const Op op{"addcmul", here};
  op.check_same_dtype(x, a);
  op.check_same_dtype(a, b);
  if (Shape joint = joint_shape(op, a, b); !broadcast(x.shape(), joint, joint))
    op.fail_shape("shapes do not broadcast: " + x.shape().str() + ", " + a.shape().str() + " and " + b.shape().str());
  return value.real() == 1 ? x + a * b : x + value * (a * b);
}

Tensor operator-(const Operand& a) {
  if (!a.tensor()) return scalar(-a.scalar().real());
  return neg(*a.tensor(), a.here());
}

// ---- comparison and logic: never on the tape

namespace {

Tensor compared(const char* name, kernels::Compare f, const Operand& x, const Operand& y, Here here) {
  const Op op{name, site_of(here, x, y)};
  const auto [a, b] = promote(op, x, y);
  const Shape shape = joint_shape(op, a, b);
  Tensor out = op.empty(shape, DType::boolean);
  with_any(a.dtype(), [&, &left = a, &right = b]<class T>(T) {
    kernels::compare<T>(f, shape, strided<T>(left, shape), strided<T>(right, shape), elements<bool>(out));
  });
  return out;
}

Tensor combined(const char* name, kernels::Logical f, const Tensor& a, const Tensor& b, Here here) {
  const Op op{name, here};
  detail::check_bool(op, a, "a");
  detail::check_bool(op, b, "b");
  const Shape shape = joint_shape(op, a, b);
  Tensor out = op.empty(shape, DType::boolean);
  kernels::logical(f, shape, strided<bool>(a, shape), strided<bool>(b, shape), elements<bool>(out));
  return out;
}

}  // namespace

Tensor eq(const Operand& a, const Operand& b, Here here) { return compared("eq", kernels::Compare::eq, a, b, here); }
Tensor ne(const Operand& a, const Operand& b, Here here) { return compared("ne", kernels::Compare::ne, a, b, here); }
Tensor lt(const Operand& a, const Operand& b, Here here) { return compared("lt", kernels::Compare::lt, a, b, here); }
Tensor le(const Operand& a, const Operand& b, Here here) { return compared("le", kernels::Compare::le, a, b, here); }
Tensor gt(const Operand& a, const Operand& b, Here here) { return compared("gt", kernels::Compare::gt, a, b, here); }
Tensor ge(const Operand& a, const Operand& b, Here here) { return compared("ge", kernels::Compare::ge, a, b, here); }

Tensor logical_and(const Tensor& a, const Tensor& b, Here here) {
  return combined("logical_and", kernels::Logical::and_, a, b, here);
}
Tensor logical_or(const Tensor& a, const Tensor& b, Here here) {
  return combined("logical_or", kernels::Logical::or_, a, b, here);
}
Tensor logical_not(const Tensor& a, Here here) {
  const Op op{"logical_not", here};
  detail::check_bool(op, a, "a");
  return eq(a, 0);
}

// ---- selection

Tensor where(const Tensor& c, const Operand& x, const Operand& y, Here here) {
  const Op op{"where", here};
  detail::check_bool(op, c, "the condition");
  const auto [a, b] = promote(op, x, y);
  Shape shape;
  if (!broadcast(a.shape(), b.shape(), shape) || !broadcast(c.shape(), shape, shape))
    op.fail_shape("shapes do not broadcast: " + c.shape().str() + ", " + a.shape().str() + " and " + b.shape().str());
  Tensor out = op.empty(shape, a.dtype());
  with_any(a.dtype(), [&, &left = a, &right = b]<class T>(T) {
    kernels::where<T>(shape, strided<bool>(c, shape), strided<T>(left, shape), strided<T>(right, shape),
                      elements<T>(out));
  });
  return op.record(
      std::move(out), of<where>(c, a, b), "da = dy where c, db = dy where not c",
      [](const Tensor&) { return Tensor(); }, [c = Saved(c)](const Tensor& dy) { return where(c, dy, 0); },
      [c = Saved(c)](const Tensor& dy) { return where(c, 0, dy); });
}

Tensor masked_fill(const Tensor& x, const Tensor& mask, const Operand& value, Here here) {
  const Op op{"masked_fill", here};
  op.check_defined(x);
  detail::check_bool(op, mask, "the mask");
  if (Shape shape; !broadcast(x.shape(), mask.shape(), shape))
    op.fail_shape("the mask " + mask.shape().str() + " and x " + x.shape().str() + " do not broadcast");
  return where(mask, value, x);
}

}  // namespace attune
