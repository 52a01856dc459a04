#include "nn/layers/linear.h"

#include <cmath>

#include "autograd/ops/create.h"
#include "nn/init.h"
#include "nn/internal/check.h"

namespace attune::nn {

Linear::Linear(std::int64_t in, std::int64_t out, const LinearOptions& o, Here here)
    : weight(parameter(
          "weight",
          zeros({detail::at_least(1, out, "Linear", "out", here), detail::at_least(1, in, "Linear", "in", here)}),
          here)),
      activation_(o.activation) {
  const double bound = 1 / std::sqrt(static_cast<double>(in));
  init::uniform_(weight, -bound, bound);
  if (o.bias) {
    bias_ = &parameter("bias", zeros({out}), here);
    init::uniform_(*bias_, -bound, bound);
  }
}

Tensor Linear::operator()(const Tensor& x, Here here) const {
  const Scope scope(*this, "Linear", here);
  return linear(x, weight, bias(), activation_);
}

}  // namespace attune::nn
