#include "optim/optimizer.h"

#include <cmath>
#include <unordered_set>

#include "autograd/kernels/reduce.h"
#include "autograd/ops/create.h"
#include "autograd/ops/elementwise.h"
#include "autograd/ops/inplace.h"
#include "autograd/ops/movement.h"
#include "autograd/runtime/error.h"
#include "autograd/tape.h"

namespace attune::optim {

Optimizer::~Optimizer() = default;

Optimizer::Optimizer(const char* name, std::vector<Group> groups, double lr, double weight_decay, Schedule schedule,
                     std::vector<std::string> moments, Here here)
    : name_(name), here_(here), schedule_(std::move(schedule)), moments_(std::move(moments)) {
  std::unordered_set<const TensorImpl*> seen;
  for (Group& g : groups) {
    OwnGroup own{{}, {g.lr.value_or(lr), g.weight_decay.value_or(weight_decay)}};
    require(own.settings.lr >= 0 && std::isfinite(own.settings.lr), "lr", own.settings.lr);
    require(own.settings.weight_decay >= 0, "weight_decay", own.settings.weight_decay);
    for (Tensor& p : g.parameters) {
      if (!p.defined() || !p.requires_grad() || !p.is_leaf())
        throw ValueError(std::string(name) + ": every parameter must be a leaf that requires a gradient", here);
      if (!p.is_contiguous())
        throw ValueError(std::string(name) + ": the parameter " + p.shape().str() + " is not dense", here);
      if (!seen.insert(p.impl()).second)
        throw ValueError(std::string(name) + ": the parameter " + p.shape().str() + " is given twice", here);
      own.parameters.push_back({p, {}});
    }
    groups_.push_back(std::move(own));
  }
  if (seen.empty()) throw ValueError(std::string(name) + ": there are no parameters", here);
}

void Optimizer::require(bool ok, const char* what, double value) const {
  if (!ok)
    throw ValueError(std::string(name_) + ": " + what + " = " + std::to_string(value) + " is out of range", here_);
}

Shape Optimizer::state_shape(const Tensor& parameter, std::size_t) const { return parameter.shape(); }

void Optimizer::make_state() {
  for (OwnGroup& g : groups_)
    for (Parameter& p : g.parameters)
      for (std::size_t i = 0; i < moments_.size(); ++i)
        p.state.push_back(zeros(state_shape(p.value, i), p.value.dtype()));
}

double Optimizer::lr(std::size_t group) const {
  return groups_.at(group).settings.lr * (schedule_ ? schedule_(steps_ + 1) : 1.0);
}

void Optimizer::step(bool keep_gradients, Here here) {
  const NoGrad off;
  const double factor = schedule_ ? schedule_(steps_ + 1) : 1.0;
  ++steps_;
  for (OwnGroup& g : groups_) {
    std::vector<Parameter*> parameters;
    std::vector<Tensor> gradients;
    for (Parameter& p : g.parameters) {
      const Tensor grad = p.value.grad();
      if (!grad.defined()) continue;
      parameters.push_back(&p);
      gradients.push_back(contiguous(grad.detach()));
    }
    Settings now = g.settings;
    now.lr *= factor;
    update(parameters, gradients, now);
    for (Parameter* p : parameters) {
      p->value.bump_version(here);
      if (!keep_gradients) p->value.zero_grad();
    }
  }
}

void Optimizer::zero_grad() {
  for (OwnGroup& g : groups_)
    for (Parameter& p : g.parameters) p.value.zero_grad();
}

std::map<std::string, Tensor> Optimizer::state_dict() const {
  std::map<std::string, Tensor> state{{"step", scalar(static_cast<double>(steps_), DType::int64)}};
  std::size_t index = 0;
  for (const OwnGroup& g : groups_)
    for (const Parameter& p : g.parameters) {
      for (std::size_t i = 0; i < moments_.size(); ++i) state[std::to_string(index) + "." + moments_[i]] = p.state[i];
      ++index;
    }
  return state;
}

void Optimizer::load_state_dict(const std::map<std::string, Tensor>& state, Here here) {
  std::string wrong;
  auto own = state_dict();
  for (const auto& [name, value] : own) {
    const auto at = state.find(name);
    if (at == state.end())
      wrong += "\n  missing: " + name;
    else if (at->second.shape() != value.shape() || is_floating(at->second.dtype()) != is_floating(value.dtype()))
      wrong +=
          "\n  misshaped: " + name + " (expected " + value.shape().str() + ", found " + at->second.shape().str() + ")";
  }
  for (const auto& [name, value] : state)
    if (!own.contains(name)) wrong += "\n  unexpected: " + name;
  if (!wrong.empty()) throw ValueError(std::string(name_) + ": the state does not fit" + wrong, here);
  const NoGrad off;
  for (auto& [name, value] : own)
    if (name != "step") copy_(value, state.at(name));
  steps_ = static_cast<std::int64_t>(state.at("step").item());
}

double clip_grad_norm(const std::vector<Tensor>& parameters, double limit, Here here) {
  if (!(limit > 0)) throw ValueError("clip_grad_norm: the limit " + std::to_string(limit) + " must be positive", here);
  const NoGrad off;
  double square = 0;
  for (const Tensor& p : parameters) {
    if (!p.grad().defined()) continue;
    const Tensor g = contiguous(p.grad().detach());
    square += g.dtype() == DType::float32
                  ? kernels::dot(static_cast<const float*>(g.raw()), static_cast<const float*>(g.raw()), g.numel())
                  : kernels::dot(static_cast<const double*>(g.raw()), static_cast<const double*>(g.raw()), g.numel());
  }
  const double norm = std::sqrt(square);
  if (!std::isfinite(norm) || norm <= limit) return norm;
  for (Tensor p : parameters)
    if (p.grad().defined()) p.set_grad(p.grad().detach() * (limit / norm));
  return norm;
}

void clip_grad_value(const std::vector<Tensor>& parameters, double limit, Here here) {
  if (!(limit > 0)) throw ValueError("clip_grad_value: the limit " + std::to_string(limit) + " must be positive", here);
  const NoGrad off;
  for (Tensor p : parameters)
    if (p.grad().defined()) p.set_grad(clamp(p.grad().detach(), -limit, limit));
}

}  // namespace attune::optim
