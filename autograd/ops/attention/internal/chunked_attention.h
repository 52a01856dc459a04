// The recorded operation under lsh_attention and local_attention; see kernels/attention/chunked_attention.h for its letters.
// Internal to ops/.
#pragma once

#include "autograd/kernels/attention/chunked_attention.h"
#include "autograd/tensor/tensor.h"

namespace attune::detail {

struct ChunkedOptions {
  std::int64_t rounds = 1, chunk = 0, before = 1, after = 0;
  bool ring = true, own_chunk_first = true, causal = true, same_bucket = true, correct_duplicates = true;
  bool self_last = true, self_replaced = false;
  double self_penalty = 1e5, scale = 1, dropout = 0;
  RandomKey dropout_key;
};

/// q, k, v [b, n, h, d], the chunk dividing n; buckets [b, h, R, n] int32 dense or undefined; key_padding_mask
/// [b, n] bool dense or undefined: true hides.
Tensor chunked_attention(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& buckets,
                         const Tensor& key_padding_mask, const ChunkedOptions& options, Here here);
/// Its composition from dense matrices.
Tensor chunked_attention_composed(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& buckets,
                                  const Tensor& key_padding_mask, const ChunkedOptions& options, Here here);
/// The probabilities [b, h, n, n] before dropout.
Tensor chunked_weights(const Tensor& q, const Tensor& k, const Tensor& buckets, const Tensor& key_padding_mask,
                       const ChunkedOptions& options);

}  // namespace attune::detail
