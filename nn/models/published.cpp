#include "nn/models/internal/published.h"

#include <fmt/format.h>

#include <cmath>
#include <unordered_set>

#include "autograd/io/safetensors.h"
#include "autograd/ops/elementwise.h"
#include "autograd/ops/reduce.h"
#include "autograd/runtime/error.h"
#include "autograd/tape/modes.h"
#include "nn/internal/file_kind.h"

namespace attune::nn::detail {

namespace {

bool equal(const Tensor& a, const Tensor& b) { return a.shape() == b.shape() && (a.numel() == 0 || all(eq(a, b))); }

std::string kind_of(const Tensor& x) { return x.shape().str() + " " + name_of(x.dtype()); }

/// A part of a name that only one kind of model has, the more special ones first.
constexpr std::pair<const char*, const char*> signs[] = {{".attn.c_attn.", "gpt2"},
                                                         {".SelfAttention.q.", "t5"},
                                                         {".self_attention.query_key.", "reformer"},
                                                         {"reformer.", "reformer"},
                                                         {".query_global.", "longformer"},
                                                         {"longformer.", "longformer"},
                                                         {"roberta.", "roberta"},
                                                         {"distilbert.", "distilbert"},
                                                         {"electra.", "electra"},
                                                         {"albert.", "albert"},
                                                         {".embed_positions.", "bart"},
                                                         {".self_attn.q_proj.", "llama"},
                                                         {".attention.self.query.", "bert"}};

/// Which kind of model a file is of, as far as its names say.
std::string kind_of(const StateDict& state) {
  for (const auto& [part, type] : signs)
    for (const auto& entry : state)
      if (entry.first.find(part) != std::string::npos) return type;
  return "";
}

}  // namespace

Published::Published(const std::string& path, const char* type, Here here) : path_(path), here_(here) {
  TensorFile file = load_tensors(path, here);
  if (const std::string advice = checkpoint_advice(file.metadata); !advice.empty())
    throw FileError(path + ": " + advice, here);
  const std::string kind = kind_of(file.tensors);
  if (!kind.empty() && kind != type)
    throw FileError(path + ": is a " + kind + " file by its names, not a " + type + " file", here);
  state_ = std::move(file.tensors);
  unreadable_ = std::move(file.unreadable);
}

void Published::rename(const std::function<std::string(const std::string& name)>& name_of) {
  StateDict renamed;
  for (const auto& [name, value] : state_) {
    const auto [at, fresh] = renamed.emplace(name_of(name), value);
    if (!fresh && !equal(at->second, value))
      refuse("has two values for \"" + at->first + "\", one of them as \"" + name + "\"");
  }
  state_ = std::move(renamed);
}

void Published::drop(const std::string& ending, const char* what,
                     const std::function<bool(const Tensor& value)>& is_constant) {
  for (auto at = state_.begin(); at != state_.end();) {
    if (!at->first.ends_with(ending)) {
      ++at;
      continue;
    }
    if (!is_constant(at->second)) refuse("\"" + at->first + "\" is not " + what + ", which is all that this model has");
    at = state_.erase(at);
  }
}

void Published::drop_copy(const std::string& copy, const std::string& first) {
  auto second = state_.extract(copy);
  if (second.empty()) return;
  const auto [at, fresh] = state_.emplace(first, second.mapped());
  if (!fresh && !equal(at->second, second.mapped()))
    refuse("\"" + copy + "\" differs from \"" + first + "\", and the model has one weight for both");
}

void Published::leave_out(const std::string& prefix) {
  std::erase_if(state_, [&](const auto& entry) { return entry.first.starts_with(prefix); });
  std::erase_if(unreadable_, [&](const auto& entry) { return entry.first.starts_with(prefix); });
}

void Published::keep(const std::string& prefix, const Module& module) {
  for (const auto& entry : state_)
    if (entry.first.starts_with(prefix)) return;
  for (const auto& [name, value] : module.shared_state_dict())
    if (name.starts_with(prefix)) state_[name] = value;
}

void Published::load_into(Module& module, const std::string& words) const {
  LoadReport report;
  std::vector<std::string> faults = faults_;
  const StateDict own = module.shared_state_dict();
  std::unordered_set<const void*> found;  // under any of its names
  for (const auto& [name, to] : own) {
    const auto at = state_.find(name);
    if (at == state_.end()) continue;
    const Tensor& from = at->second;
    found.insert(to.raw());
    if (from.shape() != to.shape() || is_floating(from.dtype()) != is_floating(to.dtype()))
      report.misshaped.push_back(name + " (expected " + kind_of(to) + ", found " + kind_of(from) + ")");
    if (name == words && from.rank() == 2 && from.size(0) != to.size(0))
      faults.push_back("its vocabulary has " + std::to_string(from.size(0)) + " tokens, the model's " +
                       std::to_string(to.size(0)));
  }
  for (const auto& [name, to] : own)
    if (!found.contains(to.raw()) && !unreadable_.contains(name)) report.missing.push_back(name);
  for (const auto& entry : state_)
    if (!own.contains(entry.first)) report.unexpected.push_back(entry.first);
  for (const auto& [name, dtype] : unreadable_)
    faults.push_back(fmt::format("\"{}\" is of {}, which cannot be read", name, dtype));
  if (report.complete() && faults.size() == 1) throw FileError(path_ + ": " + faults.front(), here_);
  if (!report.complete() || !faults.empty()) {
    std::string message = path_ + ": does not fit the model";
    for (const std::string& fault : faults) message += "\n  " + fault;
    if (!report.complete()) message += "\n" + report.str();
    throw FileError(message, here_);
  }
  module.load_state_dict(state_, {}, here_);
}

void save_published(const Module& module, const std::string& path, Here here, const std::string& prefix) {
  StateDict state;
  std::unordered_set<const void*> seen;
  const auto add = [&](const std::string& name, const Tensor& value) {
    if (seen.insert(value.raw()).second) state[name.starts_with(prefix) ? name.substr(prefix.size()) : name] = value;
  };
  for (const auto& [name, parameter] : module.named_parameters()) add(name, parameter.detach());
  for (const auto& [name, value] : module.shared_state_dict()) add(name, value);
  save_safetensors(path, state, {}, here);
}

bool is_filled_with(const Tensor& constant, double value) {
  for (const double v : constant.to_vector<double>())
    if (!(std::abs(v - value) <= 0.01 * std::abs(value)) && !(value < -65504 && std::isinf(v) && v < 0)) return false;
  return true;
}

}  // namespace attune::nn::detail
