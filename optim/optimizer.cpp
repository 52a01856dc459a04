#include "optim/optimizer.h"

#include <cmath>
#include <unordered_set>

#include "autograd/ops/create.h"
#include "autograd/ops/movement.h"
#include "autograd/runtime/error.h"
#include "autograd/runtime/frame.h"
#include "autograd/tape/modes.h"
#include "autograd/tape/node.h"
#include "autograd/tensor/named.h"
#include "optim/internal/gradients.h"

namespace attune::optim {

Optimizer::~Optimizer() = default;

namespace {

/// `name`, or, if it is known already, name#2, name#3, ...
std::string unique(const std::string& name, std::unordered_set<std::string>& known) {
  std::string own = name;
  for (int i = 2; !known.insert(own).second; ++i) own = name + "#" + std::to_string(i);
  return own;
}

}  // namespace

Optimizer::Optimizer(const char* name, Parameters parameters, double lr, double weight_decay, Schedule schedule,
                     std::vector<std::string> moments, Here here)
    : name_(name), here_(here), schedule_(std::move(schedule)), moments_(std::move(moments)) {
  const auto refuse = [&](const std::string& what) { throw ValueError(std::string(name) + ": " + what, here); };
  std::unordered_set<const TensorImpl*> seen;
  std::unordered_set<std::string> known;
  for (Group& g : parameters.groups) {
    OwnGroup own{{}, g.lr.value_or(lr), g.weight_decay.value_or(weight_decay)};
    require(own.lr >= 0 && std::isfinite(own.lr), "lr", own.lr);
    require(own.weight_decay >= 0 && std::isfinite(own.weight_decay), "weight_decay", own.weight_decay);
    if (!g.names.empty() && g.names.size() != g.parameters.size())
      refuse("a group has " + std::to_string(g.names.size()) + " names for " + std::to_string(g.parameters.size()) +
             " parameters");
    for (std::size_t i = 0; i < g.parameters.size(); ++i) {
      const Tensor& p = g.parameters[i];
      if (!p.defined()) refuse("parameter " + std::to_string(seen.size()) + " is undefined");
      std::string given = g.names.empty() ? tensor_name(p) : g.names[i];
      const std::string text = "the parameter " + detail::described(given, p);
      if (!is_floating(p.dtype())) refuse(text + " is " + name_of(p.dtype()));
      if (!p.is_leaf()) refuse(text + " is no leaf: it was recorded by " + p.node()->name());
      if (!p.is_contiguous()) refuse(text + " is not dense");
      if (given.empty()) given = std::to_string(seen.size());
      if (!seen.insert(p.impl()).second) refuse(text + " is given twice");
      own.parameters.push_back({p, unique(given, known)});
    }
    groups_.push_back(std::move(own));
  }
  if (seen.empty()) refuse("there are no parameters");
}

void Optimizer::require(bool ok, const char* what, double value, Here here) const {
  if (!ok)
    throw ValueError(std::string(name_) + ": " + what + " = " + std::to_string(value) + " is out of range", here);
}

Shape Optimizer::state_shape(const Tensor& parameter, std::size_t) const { return parameter.shape(); }

std::vector<Tensor> Optimizer::next_state(const Parameter& p) const {
  std::vector<Tensor> state;
  const DType dtype = p.value.dtype();
  if (p.state.empty())
    for (std::size_t i = 0; i < moments_.size(); ++i) state.push_back(zeros(state_shape(p.value, i), dtype));
  else if (p.state[0].dtype() != dtype)
    for (const Tensor& moment : p.state) state.push_back(to(moment, dtype));
  return state;
}

double Optimizer::factor(Here here) const {
  const double f = schedule_ ? schedule_(steps_ + 1) : 1.0;
  require(f >= 0 && std::isfinite(f), "the schedule's factor", f, here);
  return f;
}

const Optimizer::OwnGroup& Optimizer::group_at(std::size_t group, Here here) const {
  if (group >= groups_.size())
    throw IndexError(std::string(name_) + ": there is no group " + std::to_string(group) + " among " +
                         std::to_string(groups_.size()),
                     here);
  return groups_[group];
}

double Optimizer::lr(std::size_t group, Here here) const { return group_at(group, here).lr * factor(here); }

double Optimizer::base_lr(std::size_t group, Here here) const { return group_at(group, here).lr; }

void Optimizer::set_lr(double lr, std::size_t group, Here here) {
  group_at(group, here);
  require(lr >= 0 && std::isfinite(lr), "lr", lr, here);
  groups_[group].lr = lr;
}

std::vector<std::string> Optimizer::names() const {
  std::vector<std::string> names;
  for (const OwnGroup& g : groups_)
    for (const Parameter& p : g.parameters) names.push_back(p.name);
  return names;
}

void Optimizer::check_finite(const std::vector<Update>& updates, Here here) const {
  std::vector<Tensor> gradients;
  gradients.reserve(updates.size());
  for (const Update& u : updates) gradients.push_back(u.gradient);
  const std::size_t at = detail::first_nonfinite(gradients);
  if (at == gradients.size()) return;
  const Parameter& p = *updates[at].parameter;
  throw ValueError(std::string(name_) + ": the gradient of " + detail::described(p.name, p.value) +
                       " is not finite: " + detail::first_nonfinite_element(gradients[at]) + "; nothing was updated",
                   here);
}

void Optimizer::step(const StepOptions& options, Here here) {
  const Frame frame(name_, here);
  const NoGrad off;
  const double scheduled = factor(here);
  // Everything that can fail comes before anything changes.
  std::vector<Update> updates;
  std::vector<std::vector<Tensor>> fresh;
  for (OwnGroup& g : groups_)
    for (Parameter& p : g.parameters) {
      const Tensor gradient = p.value.grad();
      if (!gradient.defined()) continue;
      updates.push_back({&p, contiguous(gradient.detach()), g.lr * scheduled, g.weight_decay, p.steps + 1});
    }
  if (updates.empty() && options.refuse_empty)
    throw GradError(std::string(name_) +
                        ": no parameter has a gradient: there was no backward() since the last step, or it did not "
                        "reach the tensors that the optimiser was given",
                    here);
  if (options.refuse_nonfinite) check_finite(updates, here);
  std::vector<std::size_t> changed;
  for (const Update& u : updates) {
    fresh.push_back(next_state(*u.parameter));
    if (!fresh.back().empty()) changed.push_back(fresh.size() - 1);
  }
  const auto exchange = [&] {
    for (const std::size_t i : changed) std::swap(updates[i].parameter->state, fresh[i]);
  };
  exchange();
  try {
    update(updates);
  } catch (...) {  // out of memory, before anything changed
    exchange();
    throw;
  }
  ++steps_;
  for (const Update& u : updates) {
    u.parameter->steps = u.step;
    u.parameter->value.bump_version(here);
    if (!options.keep_gradients) u.parameter->value.zero_grad();
  }
}

void Optimizer::zero_grad() {
  for (OwnGroup& g : groups_)
    for (Parameter& p : g.parameters) p.value.zero_grad();
}

}  // namespace attune::optim
