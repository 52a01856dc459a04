#include "autograd/ops/operators.h"

#include "autograd/ops/elementwise.h"
#include "autograd/ops/inplace.h"
#include "autograd/ops/internal/apply.h"

namespace attune {

// ---- comparisons and logic

Tensor operator==(const Operand& a, const Operand& b) { return eq(a, b); }
Tensor operator!=(const Operand& a, const Operand& b) { return ne(a, b); }
Tensor operator<(const Operand& a, const Operand& b) { return lt(a, b); }
Tensor operator<=(const Operand& a, const Operand& b) { return le(a, b); }
Tensor operator>(const Operand& a, const Operand& b) { return gt(a, b); }
Tensor operator>=(const Operand& a, const Operand& b) { return ge(a, b); }

namespace {

Here site_of(const Operand& a, const Operand& b) { return a.here().line != 0 ? a.here() : b.here(); }

void check_mask(const Op& op, const Tensor& x) {
  if (x.dtype() != DType::boolean)
    op.fail_dtype(std::string("needs bool masks, got ") + name_of(x.dtype()) + " " + x.shape().str());
}

Tensor combined(const char* name, const Operand& a, const Operand& b, Tensor (*f)(const Tensor&, const Tensor&)) {
  const Op op{name, site_of(a, b)};
  const auto [x, y] = detail::promote(op, a, b);
  check_mask(op, x);
  check_mask(op, y);
  return f(x, y);
}

}  // namespace

Tensor operator!(const Operand& a) {
  const Op op{"!", a.here()};
  if (!a.tensor()) return eq(a, 0);
  op.check_defined(*a.tensor());
  check_mask(op, *a.tensor());
  return logical_not(*a.tensor());
}
Tensor operator&(const Operand& a, const Operand& b) {
  return combined("&", a, b, [](const Tensor& x, const Tensor& y) { return logical_and(x, y); });
}
Tensor operator|(const Operand& a, const Operand& b) {
  return combined("|", a, b, [](const Tensor& x, const Tensor& y) { return logical_or(x, y); });
}
Tensor operator^(const Operand& a, const Operand& b) {
  return combined("^", a, b, [](const Tensor& x, const Tensor& y) { return ne(x, y); });
}

// ---- in place

namespace {

/// Throws GradError if the tape would lose a gradient by a change of x to something made of y.
void check_recorded(const Op& op, const Tensor& x, const Operand& y, const std::string& instead) {
  op.check_defined(x);
  const auto origin = [](const Tensor& t) {
    if (t.is_leaf()) return std::string("a leaf that requires a gradient");
    const std::string site = t.node()->site().str();
    return std::string("recorded by ") + t.node()->name() + (site.empty() ? "" : " at " + site);
  };
  if (x.requires_grad() && !x.is_leaf())
    op.fail_grad(x.shape().str() + " is " + origin(x) + ", and recorded tensors are never changed in place; " +
                 instead);
  if (!grad_enabled()) return;
  if (x.requires_grad())
    op.fail_grad(x.shape().str() + " is " + origin(x) + ", which is changed in place only under NoGrad; " + instead);
  if (y.tensor() && y.tensor()->requires_grad())
    op.fail_grad("the right side " + y.tensor()->shape().str() + " is " + origin(*y.tensor()) +
                 ", and a change in place is not recorded: its gradient would be lost; " + instead);
}

void change(const char* name, const char* instead, Tensor& x, const Operand& y,
            Tensor (*f)(const Operand&, const Operand&, Here)) {
  const Op op{name, y.here()};
  if (y.tensor()) op.check_defined(*y.tensor());
  check_recorded(op, x, y, instead);
  const NoGrad off;
  const Tensor values = f(x, y, {});
  if (values.shape() != x.shape())
    op.fail_shape("the right side " + (y.tensor() ? y.tensor()->shape().str() : "[]") + " does not broadcast to " +
                  x.shape().str());
  copy_(x, values);
}

/// A handle to a recorded result comes to mean x op y, which is recorded too; other tensors change in place.
Tensor& update(const char* name, const char* instead, Tensor& x, const Operand& y,
               Tensor (*f)(const Operand&, const Operand&, Here)) {
  if (!x.defined() || !x.requires_grad() || x.is_leaf() || !grad_enabled()) {
    change(name, instead, x, y, f);
    return x;
  }
  const Op op{name, y.here()};
  if (y.tensor()) op.check_defined(*y.tensor());
  Tensor result = f(x, y, y.here());
  if (result.shape() != x.shape())
    op.fail_shape("the right side " + (y.tensor() ? y.tensor()->shape().str() : "[]") + " does not broadcast to " +
                  x.shape().str());
  return x = std::move(result);
}

Tensor both(const Operand& a, const Operand& b, Here) { return a & b; }
Tensor either(const Operand& a, const Operand& b, Here) { return a | b; }

}  // namespace

Tensor& operator+=(Tensor& x, const Operand& y) { return update("+=", "write x = x + y", x, y, add); }
Tensor& operator-=(Tensor& x, const Operand& y) { return update("-=", "write x = x - y", x, y, sub); }
Tensor& operator*=(Tensor& x, const Operand& y) { return update("*=", "write x = x * y", x, y, mul); }
Tensor& operator/=(Tensor& x, const Operand& y) { return update("/=", "write x = x / y", x, y, div); }
Tensor& operator&=(Tensor& x, const Operand& y) { return change("&=", "write x = x & y", x, y, both), x; }
Tensor& operator|=(Tensor& x, const Operand& y) { return change("|=", "write x = x | y", x, y, either), x; }
Tensor operator+=(Tensor&& x, const Operand& y) { return change("+=", "write x = x + y", x, y, add), x; }
Tensor operator-=(Tensor&& x, const Operand& y) { return change("-=", "write x = x - y", x, y, sub), x; }
Tensor operator*=(Tensor&& x, const Operand& y) { return change("*=", "write x = x * y", x, y, mul), x; }
Tensor operator/=(Tensor&& x, const Operand& y) { return change("/=", "write x = x / y", x, y, div), x; }
Tensor operator&=(Tensor&& x, const Operand& y) { return x &= y; }
Tensor operator|=(Tensor&& x, const Operand& y) { return x |= y; }

void Tensor::operator=(const Operand& values) && {
  const Op op{"x[...] =", values.here()};
  check_recorded(op, *this, values, "index_put, slice_scatter and where are recorded");
  Tensor& view = *this;
  if (!values.tensor()) {
    fill_(view, values.scalar());
    return;
  }
  op.check_defined(*values.tensor());
  const Shape& from = values.tensor()->shape();
  if (Shape joint; !broadcast(shape(), from, joint) || joint != shape())
    op.fail_shape("the right side " + from.str() + " does not broadcast to " + shape().str());
  copy_(view, *values.tensor());
}

}  // namespace attune
