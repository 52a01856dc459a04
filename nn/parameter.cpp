#include "nn/parameter.h"

#include <unordered_map>

#include "autograd/ops/elementwise.h"
#include "autograd/ops/index.h"
#include "autograd/runtime/error.h"
#include "autograd/tape/modes.h"
#include "autograd/tape/node.h"
#include "nn/module.h"

namespace attune::nn {

namespace {

// What parameters that are made of others were last, a thread each: threads may share a model that does not change.
thread_local constinit bool made_values_gone = false;
struct MadeValues : std::unordered_map<const Registered*, Tensor> {
  ~MadeValues() { made_values_gone = true; }
};
thread_local MadeValues made_values;

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

Registered::~Registered() {
  if (!made_values_gone && !made_values.empty()) made_values.erase(this);
}

const Tensor& Registered::made() const { return made_values[this] = made_->make(); }

Tensor& Registered::own(const char* who, Here here) {
  if (made_)
    throw GradError(std::string(who) + ": " + path() + " is made of " + made_->parts[0]->path() + " and " +
                        made_->parts[1]->path() + ": these have the elements and gradients",
                    here);
  return value_;
}

Registered& Registered::requires_grad_(bool on, Here here) {
  if (made_)
    for (const auto& part : made_->parts) part->requires_grad_(on, here);
  else
    value_.requires_grad_(on, here);
  return *this;
}

void Registered::zero_grad() {
  if (made_)
    for (const auto& part : made_->parts) part->zero_grad();
  else
    value_.zero_grad();
}

Tensor Registered::operator[](const AxisIndex& at) const {
  const Tensor& x = tensor();
  return x[at];
}
const Tensor Registered::operator[](const ElementIndex& at) const { return tensor()[at]; }
void Registered::print() const { tensor().print(); }

void Registered::assign(const Value& v) {
  const Tensor& value = v.tensor();
  if (&value == &value_ && value.defined()) return;
  check_fits(path(), value_, value, "assigned", v.here());
  check_unrecorded(path(), value, v.here());
  const NoGrad off;
  if (made_) return made_->assign(value);
  attune::copy_(value_, value, v.here());
}

void Registered::change(char how, const Operand& by) {
  if (!value_.defined()) check_fits(path(), value_, {}, "assigned", by.here());
  if (by.tensor() && by.tensor()->defined()) check_unrecorded(path(), *by.tensor(), by.here());
  const NoGrad off;
  const Tensor old = tensor().detach();
  const Tensor changed = how == '+'   ? add(old, by, by.here())
                         : how == '-' ? sub(old, by, by.here())
                         : how == '*' ? mul(old, by, by.here())
                                      : div(old, by, by.here());
  assign({changed, by.here()});
}

void Registered::tie(const Registered& other, Here here) {
  check_fits(path(), value_, other.tensor(), "tied to it", here);
  if (made_ || other.made_)
    throw ValueError((made_ ? path() : other.path()) + ": is made of others and cannot be tied", here);
  value_ = other.value_;
}

}  // namespace attune::nn
