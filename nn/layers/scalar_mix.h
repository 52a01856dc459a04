// The mixture of a deep model's layers that a task learns (Peters et al. 2018).
#pragma once

#include "nn/module.h"

namespace attune::nn {

struct ScalarMixOptions {
  /// Each layer is first shifted and scaled to mean 0 and variance 1, both over all elements of the batch that are not
  /// hidden.
  bool layer_norm = false;
};

/// gamma sum_j softmax(s)_j x_j: a weight for each layer and a common scale, s from zeros, so that all layers count
/// alike, and gamma from 1. Throws ValueError for fewer than one layer.
///
///     nn::ScalarMix mix(3);
///     Tensor features = mix(elmo(characters).layers);  // [3, b, t, d] to [b, t, d]
class ScalarMix : public Module {
 public:
  using Options = ScalarMixOptions;
  explicit ScalarMix(std::int64_t layers, const ScalarMixOptions& options = {}, Here here = Here::current());
  /// x [layers, ..., d] to [..., d]; key_padding_mask [...] bool, true hides, matters to the norm alone: padding has no
  /// part in its mean and variance. Throws ShapeError and DTypeError.
  Tensor operator()(const Tensor& x, const Tensor& key_padding_mask = {}, Here here = Here::current()) const;
  /// softmax(s), [layers].
  Tensor weights(Here here = Here::current()) const;

  Parameter& gamma;  ///< [1]

 private:
  ScalarMixOptions options_;
  std::vector<Parameter*> scalars_;  // [1] each
};

}  // namespace attune::nn
