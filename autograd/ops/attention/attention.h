// Scaled dot-product attention (Vaswani et al. 2017).
#pragma once

#include "autograd/runtime/philox.h"
#include "autograd/tensor/tensor.h"

namespace attune {

struct AttentionOptions {
  Tensor attention_mask{};  ///< bool, broadcast to [..., t, s]: true hides
  Tensor bias{};            ///< added to the scores, broadcast to [..., t, s]
  bool causal = false;      ///< query i sees keys up to i + s - t
  double scale = 0;         ///< of the scores; 0: 1 / sqrt(d)
  double dropout = 0;       ///< of the probabilities
  Generator* generator = nullptr;
};

struct AttentionResult {
  Tensor output;   ///< [..., t, v]
  Tensor weights;  ///< [..., t, s], before dropout; undefined unless asked for
};

/// softmax(scale q k^T + bias) v: q [..., t, d], k [..., s, d], v [..., s, v], leading axes broadcast. A query that
/// sees nothing gives zeros, with zero gradients. Throws ShapeError if shapes, mask or bias do not fit, DTypeError
/// unless q, k, v and the bias have one floating dtype, ValueError for a dropout outside [0, 1].
AttentionResult scaled_dot_product_attention(const Tensor& q, const Tensor& k, const Tensor& v,
                                             const AttentionOptions& options = {}, bool need_weights = false,
                                             Here here = Here::current());

}  // namespace attune
