// The recorded operation under lsh_attention, and under local_attention in a ring or in short windows;
// kernels/attention/chunked_attention.h has its letters. Internal to ops/attention/.
#pragma once

#include "autograd/kernels/attention/chunked_attention.h"
#include "autograd/tensor/tensor.h"

namespace attune::detail {

using kernels::ChunkSettings;

/// q, k, v [b, n, h, d], the chunk dividing n; buckets [b, h, R, n] int32 dense or undefined; key_padding_mask [b, n]
/// bool dense or undefined, true hides.
Tensor chunked_attention(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& buckets,
                         const Tensor& key_padding_mask, const ChunkSettings& settings, Here here);
/// Its composition from dense matrices.
Tensor chunked_attention_composed(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& buckets,
                                  const Tensor& key_padding_mask, const ChunkSettings& settings, Here here);
/// The probabilities [b, h, n, n] before dropout.
Tensor chunked_weights(const Tensor& q, const Tensor& k, const Tensor& buckets, const Tensor& key_padding_mask,
                       const ChunkSettings& settings);

}  // namespace attune::detail
