// Index expressions as text.
#pragma once

#include <string>

#include "autograd/ops/index.h"

namespace attune {

/// What "[0, 1:3, -1]", "[..., 2]" or "[::2]" says, with or without the brackets. Throws ValueError that says what is
/// wrong with the text.
Indices indices_of(const std::string& text);

}  // namespace attune
