#include "nn/layers/activation.h"

#include "autograd/ops/elementwise.h"
#include "autograd/ops/softmax.h"

namespace attune::nn {

Tensor activate(const Tensor& x, Activation f, Here here) {
  switch (f) {
    case Activation::none: return x;
    case Activation::relu: return relu(x, here);
    case Activation::gelu: return gelu(x, here);
    case Activation::gelu_tanh: return gelu_tanh(x, here);
    case Activation::silu: return silu(x, here);
    case Activation::tanh: return tanh(x, here);
    case Activation::sigmoid: return sigmoid(x, here);
  }
  return x;
}

Tensor Activate::operator()(const Tensor& x, Here here) const {
  const Scope scope(*this, "Activate", here);
  return scope.out(activate(scope.in(x), f_));
}

Tensor Softmax::operator()(const Tensor& x, Here here) const {
  const Scope scope(*this, "Softmax", here);
  return scope.out(softmax(scope.in(x), axis_));
}

}  // namespace attune::nn
