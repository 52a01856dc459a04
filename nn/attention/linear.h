// Linear Transformers (Katharopoulos, Vyas, Pappas and Fleuret 2020): phi(x) = elu(x) + 1 for queries and keys, and a
// recurrence that decodes a token in constant time.
//
// Letters: b batch, t queries, s keys, h heads, d head size, m value size.
#pragma once

#include "autograd/ops/attention/linear_attention.h"
#include "nn/module.h"

namespace attune::nn {

/// What linear attention keeps of all tokens so far, in the place of a cache: of one size, however many they were.
/// Undefined before the first step.
struct LinearAttentionState {
  Tensor s;  ///< [b, h, d, m]: the sum of phi(k_j)^T v_j
  Tensor z;  ///< [b, h, d]: the sum of phi(k_j)
  /// Row i becomes what row rows[i] was: rows [b'] int64. Throws IndexError for a row that is not there.
  void reorder(const Tensor& rows, Here here = Here::current());
};

/// Linear attention between projections: y_i = phi(q_i) sum_j phi(k_j)^T v_j / (phi(q_i) . sum_j phi(k_j) + epsilon).
///
///     nn::LinearAttention attention({.causal = true});
///     Tensor y = attention(q, k, v);                    // [b, n, h, d], [b, n, h, d], [b, n, h, m] to [b, n, h, m]
///     nn::LinearAttentionState state;                   // or, while decoding,
///     Tensor last = attention.step(q1, k1, v1, state);  // of the next tokens alone
class LinearAttention : public Module {
 public:
  using Options = LinearAttentionOptions;
  /// Throws ValueError for an epsilon that is negative or not finite.
  explicit LinearAttention(const LinearAttentionOptions& options = {}, Here here = Here::current());
  /// q [b, t, h, d], k [b, s, h, d], v [b, s, h, m], key_padding_mask [b, s] bool, true hides; [b, t, h, m].
  Tensor operator()(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& key_padding_mask = {},
                    Here here = Here::current()) const;
  /// The causal outputs [b, n, h, m] of the next n >= 1 tokens, which the state then has: those of the full pass, up to
  /// rounding. Off the tape. Throws ValueError unless attention is causal, ShapeError if the state is of others.
  Tensor step(const Tensor& q, const Tensor& k, const Tensor& v, LinearAttentionState& state,
              Here here = Here::current()) const;

  LinearAttentionOptions options;

 private:
  friend class HeadsAttention;
  Tensor attend(const Tensor& q, const Tensor& k, const Tensor& v, const LinearAttentionOptions& o,
                const Tensor& key_padding_mask, Here here) const;
};

/// phi(x) = elu(x) + 1, which is positive.
Tensor elu_features(const Tensor& x, Here here = Here::current());

}  // namespace attune::nn
