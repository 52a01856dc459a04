// The activations that a dense layer applies to its output while it is in cache.
#pragma once

#include <cstdint>

namespace attune {

enum class Activation : std::uint8_t { none, relu, gelu, gelu_tanh, silu, tanh, sigmoid };

}  // namespace attune
