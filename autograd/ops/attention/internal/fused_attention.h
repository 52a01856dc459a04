// The recorded operation under scaled_dot_product_attention and most of local_attention; see
// kernels/attention/attention.h. Internal to ops/attention/.
#pragma once

#include "autograd/kernels/attention/attention.h"
#include "autograd/tensor/tensor.h"

namespace attune::detail {

using kernels::AttentionSettings;

/// q [..., t, d], k [..., s, d], v [..., s, v] with the same leading axes, two at the most, but that the heads of k and
/// v may divide those of q: grouped queries. attention_mask (bool, true hides) and bias undefined or broadcast to
/// [..., t, s].
Tensor fused_attention(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& attention_mask,
                       const Tensor& bias, const AttentionSettings& settings, Here here);
/// Its composition from dense matrices, or from what a pattern shows; leading axes broadcast but beside a pattern.
Tensor fused_attention_composed(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& attention_mask,
                                const Tensor& bias, const AttentionSettings& settings, Here here);
/// The composition from dense matrices.
Tensor dense_attention(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& attention_mask,
                       const Tensor& bias, const AttentionSettings& settings);
/// The composition beside a pattern, without bias and dropout: in time and memory for what is seen, or from dense
/// matrices where those are less. There is something of each of q, k and v.
Tensor gathered_attention(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& attention_mask,
                          const AttentionSettings& settings);
/// [..., g, s, d] with each head `heads` / g times: [..., heads, s, d].
Tensor repeat_heads(const Tensor& x, std::int64_t heads);
/// The probabilities [..., t, s] before dropout, and the output made of them.
Tensor attention_weights(const Tensor& q, const Tensor& k, const Tensor& attention_mask, const Tensor& bias,
                         const AttentionSettings& settings);
Tensor attention_output(const Tensor& weights, const Tensor& v, const AttentionSettings& settings);

}  // namespace attune::detail
