// Arithmetic, comparison and selection of two operands.

#include "autograd/ops/apply.h"
#include "autograd/ops/create.h"
#include "autograd/ops/elementwise.h"
#include "autograd/tape_internal.h"

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

/// The gradient of maximum or minimum: to the winner, half at a tie.
Tensor winner_share(const Tensor& dy, const Tensor& wins, const Tensor& ties) {
  return where(ties, 0.5 * dy, where(wins, dy, 0));
}

}  // namespace

Tensor add(const Operand& x, const Operand& y, Here here) {
  const Op op{"add", site_of(here, x, y)};
  const auto [a, b] = promote(op, x, y);
  return op.record(
      binary(op, Binary::add, a, b, true), of<add>(a, b), "da = dy, db = dy", [](const Tensor& dy) { return dy; },
      [](const Tensor& dy) { return dy; });
}

Tensor add_gradients(const Tensor& a, const Tensor& b, Here here) { return add(a, b, here); }

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
      [b = Saved(b)](const Tensor& dy) { return b * dy; }, [a = Saved(a)](const Tensor& dy) { return a * dy; });
}

Tensor div(const Operand& x, const Operand& y, Here here) {
  const Op op{"div", site_of(here, x, y)};
  const auto [a, b] = promote(op, x, y);
  if (is_integer(b.dtype()))
    for (double v : b.to_vector<double>())
      if (v == 0) op.fail_value("integer division by zero");
  return op.record(
      binary(op, Binary::div, a, b, true), of<div>(a, b), "da = dy / b, db = -dy y / b",
      [b = Saved(b)](const Tensor& dy) { return dy / b; },
      [b = Saved(b)](const Tensor& dy, const Tensor& q) { return -(dy * q) / b; });
}

Tensor pow(const Operand& x, const Operand& y, Here here) {
  const Op op{"pow", site_of(here, x, y)};
  const auto [a, b] = promote(op, x, y);
  return op.record(
      binary(op, Binary::pow, a, b), of<pow>(a, b), "da = b a^(b-1) dy, db = y log(a) dy",
      [a = Saved(a), b = Saved(b)](const Tensor& dy) { return where(eq(b, 0), 0, b * pow(a, b - 1)) * dy; },
      [a = Saved(a), b = Saved(b)](const Tensor& dy, const Tensor& p) {
        const Tensor flat = logical_and(eq(a, 0), ge(b, 0));  // 0^b is constant to the right of b = 0
        return where(flat, 0, p * log(where(flat, 1, a))) * dy;
      });
}

Tensor maximum(const Operand& x, const Operand& y, Here here) {
  const Op op{"maximum", site_of(here, x, y)};
  const auto [a, b] = promote(op, x, y);
  return op.record(
      binary(op, Binary::maximum, a, b, true), of<maximum>(a, b), "da = dy where a > b, half at a tie; db alike",
      [a = Saved(a), b = Saved(b)](const Tensor& dy) { return winner_share(dy, gt(a, b), eq(a, b)); },
      [a = Saved(a), b = Saved(b)](const Tensor& dy) { return winner_share(dy, gt(b, a), eq(a, b)); });
}

Tensor minimum(const Operand& x, const Operand& y, Here here) {
  const Op op{"minimum", site_of(here, x, y)};
  const auto [a, b] = promote(op, x, y);
  return op.record(
      binary(op, Binary::minimum, a, b, true), of<minimum>(a, b), "da = dy where a < b, half at a tie; db alike",
      [a = Saved(a), b = Saved(b)](const Tensor& dy) { return winner_share(dy, lt(a, b), eq(a, b)); },
      [a = Saved(a), b = Saved(b)](const Tensor& dy) { return winner_share(dy, lt(b, a), eq(a, b)); });
}

Tensor operator-(const Operand& a) {
  if (!a.tensor()) return scalar(-a.scalar());
  return neg(*a.tensor(), a.here());
}

// ---- comparison and logic: never on the tape
// ---------------------------------------------------------------------------------------

namespace {

Tensor compared(const char* name, kernels::Compare f, const Operand& x, const Operand& y, Here here) {
  const Op op{name, site_of(here, x, y)};
  const auto [a, b] = promote(op, x, y);
  const Shape shape = joint_shape(op, a, b);
  Tensor out = op.empty(shape, DType::boolean);
  with_any(a.dtype(), [&, &left = a, &right = b](auto zero) {
    using T = decltype(zero);
    kernels::compare<T>(f, shape, strided<T>(left, shape), strided<T>(right, shape), elements<bool>(out));
  });
  return out;
}

Tensor combined(const char* name, kernels::Logical f, const Tensor& a, const Tensor& b, Here here) {
  const Op op{name, here};
  op.check_dtype(a, DType::boolean);
  op.check_dtype(b, DType::boolean);
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
  op.check_dtype(a, DType::boolean);
  return eq(a, 0);
}

// ---- selection
// ---------------------------------------------------------------------------------------------------------------------

Tensor where(const Tensor& c, const Operand& x, const Operand& y, Here here) {
  const Op op{"where", here};
  op.check_dtype(c, DType::boolean);
  const auto [a, b] = promote(op, x, y);
  Shape shape;
  if (!broadcast(a.shape(), b.shape(), shape) || !broadcast(c.shape(), shape, shape))
    op.fail_shape("shapes do not broadcast: " + c.shape().str() + ", " + a.shape().str() + " and " + b.shape().str());
  Tensor out = op.empty(shape, a.dtype());
  with_any(a.dtype(), [&, &left = a, &right = b](auto zero) {
    using T = decltype(zero);
    kernels::where<T>(shape, strided<bool>(c, shape), strided<T>(left, shape), strided<T>(right, shape),
                      elements<T>(out));
  });
  return op.record(
      std::move(out), of<where>(c, a, b), "da = dy where c, db = dy elsewhere", [](const Tensor&) { return Tensor(); },
      [c = Saved(c)](const Tensor& dy) { return where(c, dy, 0); },
      [c = Saved(c)](const Tensor& dy) { return where(c, 0, dy); });
}

Tensor masked_fill(const Tensor& x, const Tensor& mask, double value, Here here) {
  const Op op{"masked_fill", here};
  op.check_defined(x);
  op.check_dtype(mask, DType::boolean);
  Shape shape;
  if (!broadcast(x.shape(), mask.shape(), shape) || shape != x.shape())
    op.fail_shape("the mask " + mask.shape().str() + " does not broadcast to " + x.shape().str());
  return where(mask, value, x);
}

}  // namespace attune
