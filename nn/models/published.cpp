#include "nn/models/internal/published.h"

#include <cmath>

#include "autograd/io/safetensors.h"
#include "autograd/ops/elementwise.h"
#include "autograd/ops/reduce.h"
#include "autograd/runtime/error.h"
#include "autograd/tape/modes.h"

namespace attune::nn::detail {

namespace {

bool equal(const Tensor& a, const Tensor& b) { return a.shape() == b.shape() && (a.numel() == 0 || all(eq(a, b))); }

}  // namespace

Published::Published(const std::string& path, Here here)
    : path_(path), here_(here), state_(load_safetensors(path, here).tensors) {}

void Published::refuse(const std::string& what) const { throw FileError(path_ + ": " + what, here_); }

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

bool is_filled_with(const Tensor& constant, double value) {
  for (const double v : constant.to_vector<double>())
    if (!(std::abs(v - value) <= 0.01 * std::abs(value)) && !(value < -65504 && std::isinf(v) && v < 0)) return false;
  return true;
}

}  // namespace attune::nn::detail
