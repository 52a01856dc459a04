// Self-attention through locality-sensitive hashing (Kitaev, Kaiser and Levskaya 2020): queries and keys are one
// projection.
#pragma once

#include "autograd/ops/attention/lsh_attention.h"
#include "nn/attention/head_options.h"
#include "nn/attention/lsh_cache.h"
#include "nn/layers/linear.h"

namespace attune::nn {

struct LshCall {
  Tensor key_padding_mask{};  ///< [b, n] bool: true hides
  Tensor rotations{};         ///< given instead of drawn: see lsh_rotations
  Tensor buckets{};           ///< given instead of computed: see lsh_buckets
  bool full = false;          ///< attend to everything: shared-QK attention without hashing
};

struct LshResult {
  Tensor output;   ///< [b, n, d_model], or [b, n, heads head_dim] if it is not projected
  Tensor buckets;  ///< [b, h, hashes, n]; undefined if none were needed
};

/// Self-attention within buckets of similar keys.
///
///     nn::LshSelfAttention attention(256, 4, {.hashes = 4, .chunk = 64, .causal = true});
///     Tensor y = attention(x).output;    // x, y: [b, n, 256]
class LshSelfAttention : public Module {
 public:
  using Options = LshOptions;
  using LastOptions = HeadOptions;
  /// `options` can be changed between calls (more hashes in evaluation, say).
  LshSelfAttention(std::int64_t d_model, std::int64_t heads, const LshOptions& options = {},
                   const HeadOptions& shape = {}, Here here = Here::current());
  /// x [b, n, d_model]. Inside a recomputed block (checkpoint, reversible) the buckets of the first run are used again.
  LshResult operator()(const Tensor& x, const LshCall& call = {}, Here here = Here::current()) const;
  /// The buckets alone, [b, h, hashes, n], off the tape; undefined if none are needed.
  Tensor buckets(const Tensor& x, const LshCall& call = {}, Here here = Here::current()) const;
  /// The attention probabilities [b, h, n, n] for x, with the buckets (undefined: full attention). key_padding_mask
  /// [b, n] bool, true hides.
  Tensor weights(const Tensor& x, const Tensor& buckets, const Tensor& key_padding_mask = {},
                 Here here = Here::current()) const;
  /// Decoding: x [b, n, d_model] of the first n tokens, then [b, 1, d_model] of one after another; the output is as x.
  /// For the newest token it is that of the full pass over all tokens so far with the cache's rotations and bucket
  /// counts, up to rounding; those of earlier tokens stay as they were. Time does not grow with the number of tokens,
  /// but for counting buckets. `padded` is the length to which the full pass pads, a multiple of the chunk; 0: the next
  /// one. Off the tape, without dropout. Throws ValueError unless attention is causal.
  Tensor step(const Tensor& x, LshCache& cache, std::int64_t padded = 0, Here here = Here::current()) const;

  LshOptions options;

 private:
  Tensor prompt_attention(const Tensor& qk, const Tensor& v, const Tensor& buckets, const Tensor& rotations,
                          const LshOptions& o, std::int64_t padded) const;
  Tensor step_attention(const Tensor& qk, const LshCache& cache, const LshOptions& o, std::int64_t padded) const;

  std::int64_t heads_, head_dim_;
  Linear &query_key_, &value_;
  Linear* output_;
};

}  // namespace attune::nn
