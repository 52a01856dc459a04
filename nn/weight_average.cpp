#include "nn/weight_average.h"

#include <algorithm>

#include "autograd/io/safetensors.h"
#include "autograd/ops/create.h"
#include "autograd/ops/elementwise.h"
#include "autograd/ops/inplace.h"
#include "autograd/ops/movement.h"
#include "autograd/runtime/error.h"
#include "autograd/tape/modes.h"

namespace attune::nn {

namespace {

std::vector<std::pair<std::string, Tensor>> all_of(const Module& m) {
  auto all = m.named_parameters();
  for (auto& buffer : m.named_buffers()) all.push_back(std::move(buffer));
  return all;
}

}  // namespace

WeightAverage::WeightAverage(Module& module, const WeightAverageOptions& o, Here here) : module_(module), options_(o) {
  if (!(o.decay >= 0 && o.decay <= 1))
    throw ValueError("WeightAverage: decay = " + std::to_string(o.decay) + " is not in [0, 1]", here);
  const NoGrad off;
  for (const auto& [path, value] : all_of(module)) averages_[path] = attune::clone(value.detach());
}

std::vector<std::pair<std::string, Tensor>> WeightAverage::entries(Here here) const {
  auto all = all_of(module_);
  bool same = all.size() == averages_.size();
  for (const auto& [path, value] : all) {
    const auto at = averages_.find(path);
    same = same && at != averages_.end() && at->second.shape() == value.shape();
  }
  if (!same) throw ValueError("WeightAverage: the module has other parameters or buffers than at first", here);
  return all;
}

void WeightAverage::update(Here here) {
  if (applied()) throw ValueError("WeightAverage: update while the module has the averages; restore() first", here);
  const NoGrad off;
  const double n = static_cast<double>(updates_ + 1);
  const double decay = options_.warmup ? std::min(options_.decay, (1 + n) / (10 + n)) : options_.decay;
  StateDict next;
  const auto all = entries(here);
  for (const auto& [path, value] : module_.named_parameters())
    next[path] = lerp(value.detach(), attune::to(averages_.at(path), value.dtype()), decay);
  for (const auto& [path, value] : all)
    if (!next.contains(path)) next[path] = attune::clone(value.detach());
  averages_ = std::move(next);
  ++updates_;
}

void WeightAverage::apply(Here here) {
  if (applied()) throw ValueError("WeightAverage: the module has the averages already", here);
  const NoGrad off;
  auto all = entries(here);
  StateDict own;
  for (const auto& [path, value] : all) own[path] = attune::clone(value.detach());
  for (auto& [path, value] : all) copy_(value, averages_.at(path), here);
  aside_ = std::move(own);
}

void WeightAverage::restore(Here here) {
  if (!applied()) throw ValueError("WeightAverage: the module has its own weights", here);
  const NoGrad off;
  for (auto& [path, value] : entries(here)) copy_(value, aside_.at(path), here);
  aside_.clear();
}

StateDict WeightAverage::state_dict() const {
  const NoGrad off;
  StateDict state{{"updates", index_tensor({updates_}, Shape{})}};
  for (const auto& [path, value] : averages_) state["average." + path] = attune::clone(value);
  return state;
}

void WeightAverage::load_state_dict(const StateDict& state, Here here) {
  if (applied()) throw ValueError("WeightAverage: load while the module has the averages; restore() first", here);
  const NoGrad off;
  const StateDict own = state_dict();
  LoadReport wrong;
  for (const auto& [name, value] : own) {
    const auto at = state.find(name);
    if (at == state.end())
      wrong.missing.push_back(name);
    else if (!at->second.defined() || at->second.shape() != value.shape() ||
             is_floating(at->second.dtype()) != is_floating(value.dtype()))
      wrong.misshaped.push_back(name);
  }
  for (const auto& [name, value] : state)
    if (!own.contains(name)) wrong.unexpected.push_back(name);
  if (!wrong.complete()) throw ValueError("WeightAverage: the state does not fit\n" + wrong.str(), here);
  const double updates = state.at("updates").item();
  if (!(updates >= 0)) throw ValueError("WeightAverage: a negative number of updates", here);
  StateDict next;
  for (const auto& [path, value] : averages_)
    next[path] = attune::clone(attune::to(state.at("average." + path).detach(), value.dtype()));
  averages_ = std::move(next);
  updates_ = static_cast<std::int64_t>(updates);
}

void WeightAverage::save(const std::string& path, Here here) const { save_safetensors(path, state_dict(), {}, here); }

void WeightAverage::load(const std::string& path, Here here) {
  load_state_dict(load_safetensors(path, here).tensors, here);
}

}  // namespace attune::nn
