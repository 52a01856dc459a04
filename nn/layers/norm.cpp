#include "nn/layers/norm.h"

#include "autograd/ops/create.h"
#include "autograd/ops/norm.h"
#include "nn/internal/check.h"

namespace attune::nn {

LayerNorm::LayerNorm(const Shape& shape, const LayerNormOptions& o, Here here)
    : shape_(shape), eps_(detail::epsilon(o.eps, "LayerNorm", here)) {
  if (shape.empty()) throw ValueError("LayerNorm: needs at least one size", here);
  for (const std::int64_t n : shape) detail::at_least(1, n, "LayerNorm", "a size", here);
  if (!o.affine) return;
  weight_ = &parameter("weight", ones(shape), here);
  if (o.bias) bias_ = &parameter("bias", zeros(shape), here);
}

Tensor LayerNorm::operator()(const Tensor& x, Here here) const {
  const Scope scope(*this, "LayerNorm", here);
  if (weight_) return layer_norm(x, *weight_, bias(), eps_);
  // The operation takes the axes from its weight; by itself it would normalise over any last axis.
  return layer_norm(x, ones(shape_, x.dtype()), {}, eps_);
}

RMSNorm::RMSNorm(std::int64_t d, double eps, Here here)
    : weight(parameter("weight", ones({detail::at_least(1, d, "RMSNorm", "d", here)}), here)),
      eps_(detail::epsilon(eps, "RMSNorm", here)) {}

Tensor RMSNorm::operator()(const Tensor& x, Here here) const {
  const Scope scope(*this, "RMSNorm", here);
  return rms_norm(x, weight, eps_);
}

}  // namespace attune::nn
