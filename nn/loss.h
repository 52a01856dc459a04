// Losses as modules.
#pragma once

#include "autograd/ops/loss.h"
#include "nn/module.h"

namespace attune::nn {

/// cross_entropy() with fixed options: label smoothing, the ignored target, the reduction. Throws ValueError for a
/// label smoothing outside [0, 1].
class CrossEntropyLoss : public Module {
 public:
  explicit CrossEntropyLoss(const CrossEntropyOptions& options = {}, Here here = Here::current());
  /// logits [..., classes], target [...] int64.
  Tensor operator()(const Tensor& logits, const Tensor& target, Here here = Here::current()) const;

 private:
  CrossEntropyOptions options_;
};

}  // namespace attune::nn
