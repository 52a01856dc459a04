// What attention over features shares. Internal to nn/attention/.
#pragma once

#include "autograd/ops/attention/linear_attention.h"
#include "autograd/tape/op.h"
#include "nn/internal/check.h"

namespace attune::nn::detail {

/// Throws ValueError for an epsilon that is negative or not finite.
const LinearAttentionOptions& checked(const Check& check, const LinearAttentionOptions& o);

/// Throws, before features are made, unless queries [b, t, h, d], keys [b, s, h, d] and values [b, s, h, m] fit; d = 0:
/// of any size; `causal`: t = s.
void check_inputs(const Op& op, const Tensor& q, const Tensor& k, const Tensor& v, bool causal, std::int64_t d = 0);

/// x [b, s, h, d] with zeros where key_padding_mask [b, s] hides, so that the features of what is hidden are finite.
Tensor without_hidden(const Tensor& x, const Tensor& key_padding_mask);

}  // namespace attune::nn::detail
