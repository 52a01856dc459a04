// The activations that a GEMM can apply to its output while it is in cache.
#pragma once

#include <cstdint>

namespace attune::kernels {

enum class Activation : std::uint8_t { none, relu, gelu, gelu_tanh, silu, tanh, sigmoid };

}  // namespace attune::kernels
