// Scaled dot-product attention (Vaswani et al. 2017).
#pragma once

#include "autograd/ops/attention/pattern.h"
#include "autograd/runtime/philox.h"
#include "autograd/tensor/tensor.h"

namespace attune {

struct AttentionOptions {
  /// bool, true hides: [t, s], or with as many axes as the scores [..., t, s], to which it broadcasts. For scores
  /// [b, h, t, s] that is [b, 1, t, s], one an example, or [1, h, t, s], one a head; [b, t, s] and [h, t, s], which one
  /// could take for each other, are refused.
  Tensor attention_mask{};
  Tensor bias{};        ///< added to the scores, of such a shape; -inf hides
  bool causal = false;  ///< query i sees keys up to i + s - t
  /// Which keys a query sees at all. Tiles are skipped where nobody sees anything, forward and backward, with dropout
  /// and masks too. Whole matrices [..., t, s] are taken by weights, by more than four axes, and by second derivatives
  /// without a pattern or beside dropout or a bias, whose gradient is one.
  AttentionPattern pattern{};
  double scale = 0;    ///< of the scores; 0: 1 / sqrt(d)
  double dropout = 0;  ///< of the probabilities
  Generator* generator = nullptr;
  /// Grouped queries (Ainslie et al. 2023): q [..., h, t, d] beside k [..., g, s, d] and v [..., g, s, v], g dividing
  /// h; query head i takes the head i / (h / g) of keys and values, which are not repeated in memory (unless weights
  /// are asked for). The scores, and so masks and bias, have h heads.
  bool grouped_heads = false;
};

struct AttentionResult {
  Tensor output;   ///< [..., t, v]
  Tensor weights;  ///< [..., t, s], before dropout; undefined unless asked for
};

/// softmax(scale q k^T + bias) v: q [..., t, d], k [..., s, d], v [..., s, v], leading axes broadcast. A query that
/// sees nothing gives zeros, with zero gradients. A key and a value that a query does not see, or sees with a weight of
/// 0, have no influence on it, forward or backward, not even if they hold NaN. Throws ShapeError if shapes, mask, bias
/// or pattern do not fit, DTypeError unless q, k, v and the bias have one floating dtype, ValueError for a dropout
/// outside [0, 1].
AttentionResult scaled_dot_product_attention(const Tensor& q, const Tensor& k, const Tensor& v,
                                             const AttentionOptions& options = {}, bool need_weights = false,
                                             Here here = Here::current());

}  // namespace attune
