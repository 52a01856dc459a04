#include "nn/layers/dropout.h"

#include "autograd/ops/random.h"
#include "nn/internal/check.h"

namespace attune::nn {

Dropout::Dropout(double p, Generator& g, Here here)
    : Module(here), p_(detail::Check("Dropout", *this).probability(p, "p")), generator_(&g) {}

Tensor Dropout::operator()(const Tensor& input, Here here) const {
  const Scope scope(*this, "Dropout", here);
  const Tensor& x = scope.in(input);
  return scope.out(training() && p_ > 0 ? dropout(x, p_, *generator_) : x);
}

}  // namespace attune::nn
