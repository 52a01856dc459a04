#include "nn/loss.h"

#include "nn/internal/check.h"

namespace attune::nn {

CrossEntropyLoss::CrossEntropyLoss(const CrossEntropyOptions& options, Here here) : Module(here), options_(options) {
  detail::Check("CrossEntropyLoss", *this).probability(options.label_smoothing, "label_smoothing");
}

Tensor CrossEntropyLoss::operator()(const Tensor& logits, const Tensor& target, Here here) const {
  const Scope scope(*this, "CrossEntropyLoss", here);
  return cross_entropy(logits, target, options_);
}

}  // namespace attune::nn
