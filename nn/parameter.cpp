#include "nn/parameter.h"

#include "autograd/ops/elementwise.h"
#include "autograd/runtime/error.h"
#include "autograd/tape/modes.h"
#include "autograd/tape/node.h"
#include "nn/module.h"

namespace attune::nn {

namespace {

std::string kind_of(const Tensor& x) { return x.shape().str() + " " + name_of(x.dtype()); }

/// Throws unless a value fits `into`, whose path is `who`.
void check_fits(const std::string& who, const Tensor& into, const Tensor& value, const char* verb, Here here) {
  if (!into.defined()) throw ValueError(who + ": there is none: the module was made without it", here);
  if (!value.defined()) throw ValueError(who + ": an undefined tensor was " + verb, here);
  const std::string what = who + ": is " + kind_of(into) + ", and " + kind_of(value) + " was " + verb;
  if (value.shape() != into.shape()) throw ShapeError(what, here);
  if (value.dtype() != into.dtype()) throw DTypeError(what + "; to(value, dtype) converts it", here);
}

void check_unrecorded(const std::string& who, const Tensor& value, Here here) {
  if (grad_enabled() && !value.is_leaf())
    throw GradError(who + ": the value assigned was recorded by " + value.node()->name() +
                        (value.node()->site().line ? " at " + value.node()->site().str() : "") +
                        ", to which no gradient would flow: assign its detach(), or under NoGrad",
                    here);
}

}  // namespace

std::string Registered::path() const {
  const std::string above = owner_ ? owner_->path() : "";
  return above.empty() ? name_ : above + "." + name_;
}

void Registered::assign(const Value& v) {
  const Tensor& value = v.tensor();
  if (&value == &value_ && value.defined()) return;
  check_fits(path(), value_, value, "assigned", v.here());
  check_unrecorded(path(), value, v.here());
  const NoGrad off;
  attune::copy_(value_, value, v.here());
}

void Registered::change(char how, const Operand& by) {
  if (!value_.defined()) check_fits(path(), value_, {}, "assigned", by.here());
  if (by.tensor() && by.tensor()->defined()) check_unrecorded(path(), *by.tensor(), by.here());
  const NoGrad off;
  const Tensor old = value_.detach();
  const Tensor changed = how == '+'   ? add(old, by, by.here())
                         : how == '-' ? sub(old, by, by.here())
                         : how == '*' ? mul(old, by, by.here())
                                      : div(old, by, by.here());
  assign({changed, by.here()});
}

void Registered::tie(const Registered& other, Here here) {
  check_fits(path(), value_, other.tensor(), "tied to it", here);
  value_ = other.value_;
}

}  // namespace attune::nn
