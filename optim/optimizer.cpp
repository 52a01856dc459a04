#include "optim/optimizer.h"

#include <cmath>
#include <unordered_set>

#include "autograd/io/safetensors.h"
#include "autograd/ops/create.h"
#include "autograd/ops/movement.h"
#include "autograd/runtime/error.h"
#include "autograd/runtime/frame.h"
#include "autograd/tape/modes.h"
#include "autograd/tape/node.h"

namespace attune::optim {

Optimizer::~Optimizer() = default;

Optimizer::Optimizer(const char* name, std::vector<Group> groups, double lr, double weight_decay, Schedule schedule,
                     std::vector<std::string> moments, Here here)
    : name_(name), here_(here), schedule_(std::move(schedule)), moments_(std::move(moments)) {
  const auto refuse = [&](const std::string& what) { throw ValueError(std::string(name) + ": " + what, here); };
  std::unordered_set<const TensorImpl*> seen;
  for (Group& g : groups) {
    OwnGroup own{{}, g.lr.value_or(lr), g.weight_decay.value_or(weight_decay)};
    require(own.lr >= 0 && std::isfinite(own.lr), "lr", own.lr);
    require(own.weight_decay >= 0 && std::isfinite(own.weight_decay), "weight_decay", own.weight_decay);
    for (Tensor& p : g.parameters) {
      if (!p.defined()) refuse("parameter " + std::to_string(seen.size()) + " is undefined");
      if (!is_floating(p.dtype())) refuse("the parameter " + p.shape().str() + " is " + name_of(p.dtype()));
      if (!p.is_leaf())
        refuse("the parameter " + p.shape().str() + " is no leaf: it was recorded by " + p.node()->name());
      if (!p.is_contiguous()) refuse("the parameter " + p.shape().str() + " is not dense");
      if (!seen.insert(p.impl()).second) refuse("the parameter " + p.shape().str() + " is given twice");
      own.parameters.push_back({p});
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

std::vector<Tensor> Optimizer::zero_state(const Tensor& parameter) const {
  std::vector<Tensor> state;
  for (std::size_t i = 0; i < moments_.size(); ++i)
    state.push_back(zeros(state_shape(parameter, i), parameter.dtype()));
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

void Optimizer::set_lr(double lr, std::size_t group, Here here) {
  group_at(group, here);
  require(lr >= 0 && std::isfinite(lr), "lr", lr, here);
  groups_[group].lr = lr;
}

void Optimizer::step(bool keep_gradients, Here here) {
  const Frame frame(name_, here);
  const NoGrad off;
  const double scheduled = factor(here);
  // Everything that can fail comes before anything changes.
  std::vector<Update> updates;
  std::vector<std::vector<Tensor>> fresh;
  std::vector<std::size_t> begun;  // that have no state yet
  for (OwnGroup& g : groups_)
    for (Parameter& p : g.parameters) {
      const Tensor gradient = p.value.grad();
      if (!gradient.defined()) continue;
      updates.push_back({&p, contiguous(gradient.detach()), g.lr * scheduled, g.weight_decay, p.steps + 1});
      if (p.state.empty()) begun.push_back(updates.size() - 1);
      fresh.push_back(p.state.empty() ? zero_state(p.value) : std::vector<Tensor>{});
    }
  for (const std::size_t i : begun) updates[i].parameter->state = std::move(fresh[i]);
  try {
    update(updates);
  } catch (...) {  // out of memory, before anything changed
    for (const std::size_t i : begun) updates[i].parameter->state.clear();
    throw;
  }
  ++steps_;
  for (const Update& u : updates) {
    u.parameter->steps = u.step;
    u.parameter->value.bump_version(here);
    if (!keep_gradients) u.parameter->value.zero_grad();
  }
}

void Optimizer::zero_grad() {
  for (OwnGroup& g : groups_)
    for (Parameter& p : g.parameters) p.value.zero_grad();
}

std::map<std::string, Tensor> Optimizer::state_dict() const {
  std::vector<double> rates;
  std::map<std::string, Tensor> state{{"step", index_tensor({steps_}, Shape{})}};
  std::size_t index = 0;
  for (const OwnGroup& g : groups_) {
    rates.push_back(g.lr);
    for (const Parameter& p : g.parameters) {
      const std::string prefix = std::to_string(index++) + ".";
      state[prefix + "step"] = index_tensor({p.steps}, Shape{});
      for (std::size_t i = 0; i < p.state.size(); ++i) state[prefix + moments_[i]] = p.state[i];
    }
  }
  state["lr"] = tensor(rates, {static_cast<std::int64_t>(rates.size())}, DType::float64);
  return state;
}

namespace {

/// Takes a state apart; whatever is wrong with it is listed in `wrong`.
struct StateReader {
  const std::map<std::string, Tensor>& state;
  std::string wrong{};

  /// A copy of the entry in `dtype`, or an undefined tensor.
  Tensor take(const std::string& name, const Shape& shape, DType dtype) {
    const auto at = state.find(name);
    if (at == state.end()) {
      wrong += "\n  missing: " + name;
      return {};
    }
    const Tensor& x = at->second;
    if (!x.defined() || x.shape() != shape || is_floating(x.dtype()) != is_floating(dtype)) {
      wrong += "\n  misshaped: " + name + " (expected " + shape.str() + " " + name_of(dtype) + ", found " +
               (x.defined() ? x.shape().str() + " " + name_of(x.dtype()) : "nothing") + ")";
      return {};
    }
    return x.dtype() == dtype ? clone(x.detach()) : to(x.detach(), dtype);
  }
  std::int64_t count(const std::string& name) {
    const Tensor x = take(name, {}, DType::int64);
    const double n = x.defined() ? x.item() : 0;
    if (n < 0) wrong += "\n  negative: " + name;
    return static_cast<std::int64_t>(n);
  }
};

}  // namespace

void Optimizer::load_state_dict(const std::map<std::string, Tensor>& state, Here here) {
  const NoGrad off;
  StateReader reader{state};
  const std::int64_t steps = reader.count("step");
  const Tensor rates = reader.take("lr", {static_cast<std::int64_t>(groups_.size())}, DType::float64);
  std::vector<Parameter> loaded;
  std::unordered_set<std::string> known{"step", "lr"};
  for (const OwnGroup& g : groups_)
    for (const Parameter& p : g.parameters) {
      const std::string prefix = std::to_string(loaded.size()) + ".";
      known.insert(prefix + "step");
      Parameter next{p.value, reader.count(prefix + "step")};
      bool moments = next.steps > 0;  // a parameter that was never updated may be without
      for (const std::string& m : moments_) {
        known.insert(prefix + m);
        moments |= state.contains(prefix + m);
      }
      for (std::size_t i = 0; moments && i < moments_.size(); ++i)
        next.state.push_back(reader.take(prefix + moments_[i], state_shape(p.value, i), p.value.dtype()));
      loaded.push_back(std::move(next));
    }
  for (const auto& [name, value] : state)
    if (!known.contains(name)) reader.wrong += "\n  unexpected: " + name;
  const std::vector<double> lr = rates.defined() ? rates.to_vector<double>() : std::vector<double>{};
  for (double rate : lr)
    if (!(rate >= 0 && std::isfinite(rate))) reader.wrong += "\n  out of range: lr";
  if (!reader.wrong.empty()) throw ValueError(std::string(name_) + ": the state does not fit" + reader.wrong, here);

  steps_ = steps;
  std::size_t index = 0;
  for (std::size_t i = 0; i < groups_.size(); ++i) {
    groups_[i].lr = lr[i];
    for (Parameter& p : groups_[i].parameters) p = std::move(loaded[index++]);
  }
}

void Optimizer::save(const std::string& path, Here here) const { save_safetensors(path, state_dict(), {}, here); }

void Optimizer::load(const std::string& path, Here here) {
  load_state_dict(load_safetensors(path, here).tensors, here);
}

}  // namespace attune::optim
