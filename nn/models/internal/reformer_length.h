// How far a Reformer pads. Internal to nn/models.
#pragma once

#include "nn/models/reformer.h"

namespace attune::nn::detail {

/// The length that all layers can cut into whole chunks; a sequence within one chunk is left as it is.
std::int64_t padded_length(const ReformerConfig& config, std::int64_t n);

}  // namespace attune::nn::detail
