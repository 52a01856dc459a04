// What programs around a Reformer need beside it: how much memory its training takes, its variants by name, a picture
// of what it attends to.
#pragma once

#include <string>

#include "nn/models/reformer.h"

namespace examples {

/// The least that training with AdamW on `batch` sequences of a length takes, in bytes: parameters with gradients and
/// moments, one layer's activations and hashes (all layers', if they are kept), the logits with their gradient; or, if
/// it takes more, a forward pass over `evaluated` of them.
double least_memory(const attune::nn::ReformerConfig& c, std::int64_t length, std::int64_t batch,
                    std::int64_t evaluated);

/// Attention as in the "paper", "hugging-face" or "lucidrains" (LshOptions). Throws ValueError for another name.
attune::LshOptions lsh_variant(const std::string& name);

/// Draws what the first head of the first example attends to, by so many hashes, and which pairs share a bucket in the
/// first hash round. Returns as draw() does.
bool draw_attention(const std::string& path, const attune::nn::AttentionPatternResult& pattern, std::int64_t hashes);

}  // namespace examples
