// Checks of constructor arguments, shared by the layers. Internal to nn/.
#pragma once

#include <cmath>
#include <cstdint>
#include <string>

#include "autograd/runtime/error.h"

namespace attune::nn::detail {

/// n, where it is at least `least`. Throws ValueError: "Linear: out = -3 must be at least 1".
inline std::int64_t at_least(std::int64_t least, std::int64_t n, const char* type, const char* what, Here here) {
  if (n < least)
    throw ValueError(
        std::string(type) + ": " + what + " = " + std::to_string(n) + " must be at least " + std::to_string(least),
        here);
  return n;
}

/// p, where it is in [0, 1].
inline double probability(double p, const char* type, const char* what, Here here) {
  if (!(p >= 0 && p <= 1))
    throw ValueError(std::string(type) + ": " + what + " = " + std::to_string(p) + " is not in [0, 1]", here);
  return p;
}

/// eps, where it is finite and not negative.
inline double epsilon(double eps, const char* type, Here here) {
  if (!(eps >= 0 && std::isfinite(eps)))
    throw ValueError(std::string(type) + ": eps = " + std::to_string(eps) + " must be finite and not negative", here);
  return eps;
}

}  // namespace attune::nn::detail
