#include "nn/layers/linear.h"

#include <cmath>

#include "autograd/ops/create.h"
#include "nn/init.h"
#include "nn/internal/check.h"

namespace attune::nn {

namespace {

Shape sizes(const detail::Check& check, std::int64_t in, std::int64_t out) {
  return {check.at_least(1, out, "out"), check.at_least(1, in, "in")};
}

}  // namespace

Linear::Linear(std::int64_t in, std::int64_t out, const LinearOptions& o, Here here)
    : Module(here),
      weight(parameter("weight", zeros(sizes({"Linear", *this}, in, out)))),
      bias_(o.bias ? parameter("bias", zeros({out})) : absent("bias")),
      activation_(o.activation) {
  const double bound = 1 / std::sqrt(static_cast<double>(in));
  init::uniform_(weight, -bound, bound);
  if (o.bias) init::uniform_(bias_, -bound, bound);
}

Tensor Linear::operator()(const Tensor& x, Here here) const {
  const Scope scope(*this, "Linear", here);
  return scope.out(linear(scope.in(x), weight, bias_, activation_));
}

}  // namespace attune::nn
