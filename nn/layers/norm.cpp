#include "nn/layers/norm.h"

#include "autograd/ops/create.h"
#include "autograd/ops/norm.h"
#include "nn/internal/check.h"

namespace attune::nn {

namespace {

const Shape& checked(const detail::Check& check, const Shape& shape, const LayerNormOptions& o) {
  check.epsilon(o.eps);
  if (shape.empty()) check.fail("needs at least one size");
  for (const std::int64_t n : shape) check.at_least(1, n, "a size");
  return shape;
}

}  // namespace

LayerNorm::LayerNorm(const Shape& shape, const LayerNormOptions& o, Here here)
    : Module(here),
      shape_(checked({"LayerNorm", *this}, shape, o)),
      eps_(o.eps),
      weight_(o.affine ? parameter("weight", ones(shape)) : absent("weight")),
      bias_(o.affine && o.bias ? parameter("bias", zeros(shape)) : absent("bias")) {}

Tensor LayerNorm::operator()(const Tensor& input, Here here) const {
  const Scope scope(*this, "LayerNorm", here);
  const Tensor& x = scope.in(input);
  if (weight_.defined()) return scope.out(layer_norm(x, weight_, bias_, eps_));
  // The operation takes the axes from its weight; by itself it would normalise over any last axis.
  return scope.out(layer_norm(x, ones(shape_, x.dtype()), {}, eps_));
}

RMSNorm::RMSNorm(std::int64_t d, double eps, Here here)
    : Module(here),
      weight(parameter("weight", ones({detail::Check("RMSNorm", *this).at_least(1, d, "d")}))),
      eps_(detail::Check("RMSNorm", *this).epsilon(eps)) {}

Tensor RMSNorm::operator()(const Tensor& x, Here here) const {
  const Scope scope(*this, "RMSNorm", here);
  return scope.out(rms_norm(scope.in(x), weight, eps_));
}

}  // namespace attune::nn
