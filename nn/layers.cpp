#include "nn/layers.h"

#include <cmath>

#include "autograd/ops/create.h"
#include "autograd/ops/elementwise.h"
#include "autograd/ops/index.h"
#include "autograd/ops/inplace.h"
#include "autograd/ops/movement.h"
#include "autograd/ops/norm.h"
#include "autograd/ops/random.h"
#include "autograd/ops/softmax.h"
#include "autograd/runtime/error.h"
#include "autograd/tape.h"
#include "nn/init.h"

namespace attune::nn {

namespace {

std::int64_t positive(const char* type, const char* what, std::int64_t n, Here here) {
  if (n < 1)
    throw ValueError(std::string(type) + ": " + what + " = " + std::to_string(n) + " must be at least 1", here);
  return n;
}

}  // namespace

Linear::Linear(std::int64_t in, std::int64_t out, const LinearOptions& o, Here here)
    : weight(parameter("weight", zeros({positive("Linear", "out", out, here), positive("Linear", "in", in, here)}))),
      activation_(o.activation) {
  const double bound = 1 / std::sqrt(static_cast<double>(in));
  init::uniform_(weight, -bound, bound);
  if (o.bias) {
    bias_ = &parameter("bias", zeros({out}));
    init::uniform_(*bias_, -bound, bound);
  }
}

Tensor Linear::operator()(const Tensor& x, Here here) const {
  const Scope scope(*this, "Linear", here);
  return linear(x, weight, bias(), activation_);
}

Embedding::Embedding(std::int64_t n, std::int64_t d, const EmbeddingOptions& o, Here here)
    : weight(parameter("weight", zeros({positive("Embedding", "n", n, here), positive("Embedding", "d", d, here)}))),
      padding_index_(o.padding_index) {
  if (padding_index_ >= n)
    throw ValueError("Embedding: padding_index = " + std::to_string(padding_index_) + " is out of range for " +
                         std::to_string(n) + " rows",
                     here);
  init::normal_(weight, 0, 1);
  if (padding_index_ < 0) return;
  const NoGrad off;
  Tensor row = select(weight.detach(), 0, padding_index_);
  fill_(row, 0);
}

Tensor Embedding::operator()(const Tensor& indices, Here here) const {
  const Scope scope(*this, "Embedding", here);
  return embedding(weight, indices, padding_index_);
}

LayerNorm::LayerNorm(const Shape& shape, const LayerNormOptions& o) : shape_(shape), eps_(o.eps) {
  if (shape.empty()) throw ValueError("LayerNorm: needs at least one size");
  if (!o.affine) return;
  weight_ = &parameter("weight", ones(shape));
  if (o.bias) bias_ = &parameter("bias", zeros(shape));
}

Tensor LayerNorm::operator()(const Tensor& x, Here here) const {
  const Scope scope(*this, "LayerNorm", here);
  const Tensor w = weight_ ? *weight_ : shape_.rank() > 1 ? ones(shape_, x.dtype()) : Tensor();
  return layer_norm(x, w, bias_ ? *bias_ : Tensor(), eps_);
}

RMSNorm::RMSNorm(std::int64_t d, double eps)
    : weight(parameter("weight", ones({positive("RMSNorm", "d", d, {})}))), eps_(eps) {}

Tensor RMSNorm::operator()(const Tensor& x, Here here) const {
  const Scope scope(*this, "RMSNorm", here);
  return rms_norm(x, weight, eps_);
}

Dropout::Dropout(double p, Generator& g, Here here) : p_(p), generator_(&g) {
  if (!(p >= 0 && p <= 1)) throw ValueError("Dropout: p = " + std::to_string(p) + " is not in [0, 1]", here);
}

Tensor Dropout::operator()(const Tensor& x, Here here) const {
  const Scope scope(*this, "Dropout", here);
  return training() ? dropout(x, p_, *generator_) : x;
}

Tensor Softmax::operator()(const Tensor& x, Here here) const {
  const Scope scope(*this, "Softmax", here);
  return softmax(x, axis_);
}

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
  const Scope scope(*this, "Activation", here);
  return activate(x, f_);
}

Tensor CrossEntropyLoss::operator()(const Tensor& logits, const Tensor& target, Here here) const {
  const Scope scope(*this, "CrossEntropyLoss", here);
  return cross_entropy(logits, target, options_);
}

Tensor Sequential::operator()(const Tensor& x, Here here) const {
  const Scope scope(*this, "Sequential", here);
  Tensor y = x;
  for (const auto& step : steps_) y = step(y, Here{});
  return y;
}

}  // namespace attune::nn
