// An end of a row of tokens.
#pragma once

#include <cstdint>

namespace attune::nn {

enum class Side : std::uint8_t { left, right };

}  // namespace attune::nn
