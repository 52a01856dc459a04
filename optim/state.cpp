// The state of an optimiser, out and in.
#include <cmath>
#include <unordered_set>

#include "autograd/io/safetensors.h"
#include "autograd/ops/create.h"
#include "autograd/ops/movement.h"
#include "autograd/runtime/error.h"
#include "autograd/tape/modes.h"
#include "optim/optimizer.h"

namespace attune::optim {

namespace {

// No parameter has such a key: they have a dot behind the name.
const std::string kind = "kind:";

}  // namespace

std::map<std::string, Tensor> Optimizer::state_dict() const {
  std::vector<double> rates;
  std::map<std::string, Tensor> state{{kind + name_, index_tensor({1}, Shape{})},
                                      {"step", index_tensor({steps_}, Shape{})}};
  for (std::size_t i = 0; i < groups_.size(); ++i) {
    rates.push_back(groups_[i].lr);
    for (const Parameter& p : groups_[i].parameters) {
      const std::string prefix = p.name + ".";
      state[prefix + "step"] = index_tensor({p.steps}, Shape{});
      state[prefix + "group"] = index_tensor({static_cast<std::int64_t>(i)}, Shape{});
      for (std::size_t k = 0; k < p.state.size(); ++k) state[prefix + moments_[k]] = p.state[k];
    }
  }
  state["lr"] = tensor(rates, {static_cast<std::int64_t>(rates.size())}, DType::float64);
  return state;
}

/// A state taken apart; whatever is wrong with it is listed in `wrong`.
struct Optimizer::Loaded {
  const std::map<std::string, Tensor>& state;
  std::string wrong{};
  std::unordered_set<std::string> known{};
  std::vector<Parameter> parameters{};
  std::vector<double> rates{};

  /// A copy of the entry in `dtype`, or an undefined tensor.
  Tensor take(const std::string& name, const Shape& shape, DType dtype) {
    known.insert(name);
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

  /// Whether the state says which optimiser's it is.
  bool kind_of(const std::string& own) {
    bool found = false;
    for (const auto& entry : state) {
      if (!entry.first.starts_with(kind) || entry.first.find('.', kind.size()) != std::string::npos) continue;
      found = true;
      known.insert(entry.first);
      if (entry.first != kind + own) wrong += "\n  of another optimiser: " + entry.first.substr(kind.size());
    }
    return found;
  }

  void take_parameter(const Parameter& p, const std::string& prefix, const std::vector<std::string>& moments,
                      const std::vector<Shape>& shapes) {
    Parameter next{p.value, p.name, count(prefix + "step")};
    bool kept = next.steps > 0;  // a parameter that was never updated may be without
    for (const std::string& m : moments) kept |= state.contains(prefix + m);
    for (std::size_t i = 0; kept && i < moments.size(); ++i)
      next.state.push_back(take(prefix + moments[i], shapes[i], p.value.dtype()));
    parameters.push_back(std::move(next));
  }

  /// The rate of one of `own`'s groups, which its parameters shared in the state too.
  void take_rate(const OwnGroup& own, const std::vector<double>& stored) {
    std::int64_t group = -1;
    for (const Parameter& p : own.parameters) {
      const std::int64_t of = count(p.name + ".group");
      if (group >= 0 && of != group) wrong += "\n  in another group than its neighbours: " + p.name;
      group = of;
    }
    const bool there = group >= 0 && group < static_cast<std::int64_t>(stored.size());
    if (!there && !own.parameters.empty()) wrong += "\n  there is no group " + std::to_string(group);
    rates.push_back(there ? stored[static_cast<std::size_t>(group)] : own.lr);
  }
};

void Optimizer::load_state_dict(const std::map<std::string, Tensor>& state, Here here) {
  const NoGrad off;
  Loaded loaded{state};
  const bool named = loaded.kind_of(name_);
  const std::int64_t steps = loaded.count("step");
  const Tensor stored = loaded.take("lr", {static_cast<std::int64_t>(groups_.size())}, DType::float64);
  const std::vector<double> rates = stored.defined() ? stored.to_vector<double>() : std::vector<double>{};
  for (const OwnGroup& g : groups_) {
    for (const Parameter& p : g.parameters) {
      std::vector<Shape> shapes;
      for (std::size_t i = 0; i < moments_.size(); ++i) shapes.push_back(state_shape(p.value, i));
      const std::string number = std::to_string(loaded.parameters.size());
      loaded.take_parameter(p, (named ? p.name : number) + ".", moments_, shapes);
    }
    if (named) loaded.take_rate(g, rates);
  }
  if (!named) loaded.rates = rates;
  for (const auto& [name, value] : state)
    if (!loaded.known.contains(name)) loaded.wrong += "\n  unexpected: " + name;
  for (double rate : rates)
    if (!(rate >= 0 && std::isfinite(rate))) loaded.wrong += "\n  out of range: lr";
  if (!loaded.wrong.empty()) throw ValueError(std::string(name_) + ": the state does not fit" + loaded.wrong, here);

  steps_ = steps;
  std::size_t index = 0;
  for (std::size_t i = 0; i < groups_.size(); ++i) {
    groups_[i].lr = loaded.rates[i];
    for (Parameter& p : groups_[i].parameters) p = std::move(loaded.parameters[index++]);
  }
}

void Optimizer::save(const std::string& path, Here here) const { save_safetensors(path, state_dict(), {}, here); }

void Optimizer::load(const std::string& path, Here here) {
  load_state_dict(load_safetensors(path, here).tensors, here);
}

}  // namespace attune::optim
