// What attention over features shares. Internal to nn/attention/.
#pragma once

#include "autograd/ops/attention/linear_attention.h"
#include "nn/internal/check.h"

namespace attune::nn::detail {

/// Throws ValueError for an epsilon that is negative or not finite.
const LinearAttentionOptions& checked(const Check& check, const LinearAttentionOptions& o);

/// x [b, s, h, d] with zeros where key_padding_mask [b, s] hides, so that the features of what is hidden are finite.
Tensor without_hidden(const Tensor& x, const Tensor& key_padding_mask);

}  // namespace attune::nn::detail
