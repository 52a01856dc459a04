#include "nn/loss.h"

#include "nn/internal/check.h"

namespace attune::nn {

CrossEntropyLoss::CrossEntropyLoss(const CrossEntropyOptions& options, Here here) : options_(options) {
  detail::probability(options.label_smoothing, "CrossEntropyLoss", "label_smoothing", here);
}

Tensor CrossEntropyLoss::operator()(const Tensor& logits, const Tensor& target, Here here) const {
  const Scope scope(*this, "CrossEntropyLoss", here);
  return cross_entropy(logits, target, options_);
}

}  // namespace attune::nn
