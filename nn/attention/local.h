// Self-attention within windows of chunks.
#pragma once

#include "autograd/ops/attention/local_attention.h"
#include "nn/attention/cache.h"
#include "nn/attention/head_options.h"
#include "nn/layers/linear.h"

namespace attune::nn {

/// Self-attention within a window of chunks, with queries, keys and values of their own.
class LocalSelfAttention : public Module {
 public:
  using Options = LocalOptions;
  using LastOptions = HeadOptions;
  LocalSelfAttention(std::int64_t d_model, std::int64_t heads, const LocalOptions& options = {},
                     const HeadOptions& shape = {}, Here here = Here::current());
  /// x [b, n, d_model]; key_padding_mask [b, n] bool, true hides.
  Tensor operator()(const Tensor& x, const Tensor& key_padding_mask = {}, Here here = Here::current()) const;

  /// Decoding: x [b, n, d_model] of the first n tokens, then [b, 1, d_model] of one after another; the output is that
  /// of the full pass, up to rounding. Off the tape, without dropout. Throws ValueError unless attention is causal.
  Tensor step(const Tensor& x, KeyValueCache& cache, Here here = Here::current()) const;

  LocalOptions options;

 private:
  std::int64_t heads_, head_dim_;
  Linear &query_, &key_, &value_;
  Linear* output_;
};

}  // namespace attune::nn
