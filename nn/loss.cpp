#include "nn/loss.h"

#include "nn/internal/check.h"

namespace attune::nn {

CrossEntropyLoss::CrossEntropyLoss(const CrossEntropyOptions& options, Here here) : Module(here), options_(options) {
  detail::Check("CrossEntropyLoss", *this).probability(options.label_smoothing, "label_smoothing");
}

Tensor CrossEntropyLoss::operator()(const Tensor& logits, const Tensor& target, Here here) const {
  const Scope scope(*this, "CrossEntropyLoss", here);
  const Tensors in = scope.in(Tensors{logits, target});
  return scope.out(cross_entropy(in[0], in[1], options_));
}

}  // namespace attune::nn
