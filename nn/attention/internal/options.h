// What the modules of some mechanisms share with attention by any mechanism. Internal to nn/attention/.
#pragma once

#include "autograd/ops/attention/local_attention.h"
#include "autograd/ops/attention/pattern.h"
#include "nn/attention/lsh.h"
#include "nn/internal/check.h"

namespace attune::nn::detail {

/// Why a Linformer cannot be causal.
inline constexpr const char* linformer_mixes =
    "each projected key and value is a mixture of all positions, the future among them";

/// Throws ValueError for options out of range.
const LocalOptions& check_options(const Check& check, const LocalOptions& o);
const LshOptions& check_options(const Check& check, const LshOptions& o);

/// Throws ValueError for a pattern that was made for another number of heads.
inline void check_heads(const Check& check, const AttentionPattern& p, std::int64_t heads) {
  if (p.heads() != 1 && p.heads() != heads)
    check.fail("the pattern is made for " + std::to_string(p.heads()) + " heads, not for " + std::to_string(heads));
}

/// The buckets of qk [b, n, h, d], by the call's or by fresh rotations, or those of the first run in a block that runs
/// again; undefined if attention is full.
Tensor buckets_of(const Tensor& qk, LshOptions o, const LshCall& call);

}  // namespace attune::nn::detail
