// The activations that a dense layer applies to its output while it is in cache.
#pragma once

#include <cstdint>

namespace attune {

enum class Activation : std::uint8_t { none, relu, gelu, gelu_tanh, silu, tanh, sigmoid };

constexpr const char* name_of(Activation f) {
  constexpr const char* names[] = {"none", "relu", "gelu", "gelu_tanh", "silu", "tanh", "sigmoid"};
  return names[static_cast<int>(f)];
}

}  // namespace attune
