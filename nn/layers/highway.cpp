#include "nn/layers/highway.h"

#include "autograd/ops/elementwise.h"
#include "autograd/ops/inplace.h"
#include "autograd/ops/movement.h"
#include "nn/init.h"
#include "nn/internal/check.h"
#include "nn/layers/activation.h"

namespace attune::nn {

Highway::Highway(std::int64_t d, const HighwayOptions& o, Here here) : Module(here), activation_(o.activation) {
  const detail::Check check{"Highway", *this};
  check.at_least(1, d, "d");
  check.at_least(1, o.layers, "layers");
  for (std::int64_t i = 0; i < o.layers; ++i) {
    Linear& l = child<Linear>(std::to_string(i), d, 2 * d);
    init::constant_(slice(l.bias().detach(), 0, d), o.gate_bias);
    layers_.push_back(&l);
  }
}

Tensor Highway::operator()(const Tensor& x, Here here) const {
  const Scope scope(*this, "Highway", here);
  Tensor y = scope.in(x);
  for (const Linear* layer : layers_) {
    const Tensors parts = chunk((*layer)(y), 2, -1);
    y = y + sigmoid(parts[1]) * (activate(parts[0], activation_) - y);
  }
  return scope.out(y);
}

}  // namespace attune::nn
