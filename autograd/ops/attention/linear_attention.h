// Attention without a softmax, linear in the length (Katharopoulos et al. 2020): the weight of a key is the product of
// its features with the query's, and sums over keys are made once for all queries.
//
// Letters: b batch, t queries, s keys, n length, h heads, f features, m value size.
#pragma once

#include "autograd/tensor/tensor.h"

namespace attune {

class Op;

struct LinearAttentionOptions {
  bool causal = false;
  double epsilon = 1e-6;       ///< added to the denominator
  double key_sum_epsilon = 0;  ///< added to each feature of the sum of keys in the denominator
};

namespace detail {
/// Where a denominator is so near to 0 that a gradient over it would overflow: its query sees nothing. Bool, off the
/// tape.
Tensor next_to_zero(const Tensor& denominator);
/// Throws unless queries [b, t, h, f], keys [b, s, h, f] and values [b, s, h, m] fit; `causal`: t = s. `size` is the
/// letter that errors have for f.
void check_features(const Op& op, const Tensor& q, const Tensor& k, const Tensor& v, bool causal, char size = 'f');
}  // namespace detail

/// y_i = (sum_j (q_i . k_j) v_j) / (sum_j q_i . k_j + epsilon) over the keys j, if causal over j <= i: features of
/// queries [b, t, h, f] and of keys [b, s, h, f], which should not be negative, values [b, s, h, m]; [b, t, h, m].
/// key_padding_mask [b, s] bool or undefined: true hides, and what is hidden has no influence, not even if it holds
/// NaN; neither has the future on causal outputs. A query whose denominator is next to 0, because it sees nothing,
/// gives zeros, and one that nothing is asked of has no influence on gradients, not even if it holds NaN. Time O(n f
/// m); memory O(n (f + m) + f m), a head, also for derivatives of any order. Throws ShapeError and DTypeError for
/// tensors that do not fit (causal: t = s), ValueError for an epsilon that is negative or not finite.
Tensor linear_attention(const Tensor& q, const Tensor& k, const Tensor& v, const LinearAttentionOptions& options = {},
                        const Tensor& key_padding_mask = {}, Here here = Here::current());

/// y_i = sum of (q_i . k_j) v_j over j <= i, or over j >= i if `reverse`: q and k [b, n, h, f], v [b, n, h, m];
/// [b, n, h, m]. By prefix sums of chunks, in time O(n f m) and memory O(n (f + m)); its gradients are three such
/// products. Throws ShapeError and DTypeError for tensors that do not fit.
Tensor causal_product(const Tensor& q, const Tensor& k, const Tensor& v, bool reverse = false,
                      Here here = Here::current());

}  // namespace attune
