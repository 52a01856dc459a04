#include "nn/layers/containers.h"

namespace attune::nn {

Tensor Sequential::operator()(const Tensor& x, Here here) const {
  const Scope scope(*this, "Sequential", here);
  Tensor y = scope.in(x);
  for (const auto& step : steps_) y = step(y);
  return scope.out(y);
}

}  // namespace attune::nn
