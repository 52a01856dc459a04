#include "nn/layers/scalar_mix.h"

#include <algorithm>

#include "autograd/ops/create.h"
#include "autograd/ops/elementwise.h"
#include "autograd/ops/movement.h"
#include "autograd/ops/reduce.h"
#include "autograd/ops/softmax.h"
#include "autograd/runtime/error.h"
#include "autograd/tape/op.h"
#include "nn/internal/check.h"

namespace attune::nn {

namespace {

constexpr double tiny = 1e-13;  // beside a variance

/// A layer over its mean and deviation; `hidden` is [..., 1] or undefined.
Tensor normed(const Tensor& x, const Tensor& hidden) {
  const Tensor seen = hidden.defined() ? masked_fill(x, hidden, 0) : x;
  const double shown = hidden.defined()
                           ? sum(to(logical_not(hidden), DType::float64)).item() * static_cast<double>(x.size(-1))
                           : static_cast<double>(x.numel());
  const double n = std::max(shown, 1.0);
  const Tensor mean = sum(seen) / n, apart = seen - mean;
  const Tensor variance = sum(square(hidden.defined() ? masked_fill(apart, hidden, 0) : apart)) / n;
  return (x - mean) / sqrt(variance + tiny);
}

}  // namespace

ScalarMix::ScalarMix(std::int64_t layers, const ScalarMixOptions& o, Here here)
    : Module(here), gamma(parameter("gamma", ones({1}))), options_(o) {
  detail::Check("ScalarMix", *this).at_least(1, layers, "layers");
  for (std::int64_t i = 0; i < layers; ++i)
    scalars_.push_back(&parameter("scalar_parameters." + std::to_string(i), zeros({1})));
}

Tensor ScalarMix::weights(Here here) const {
  const Scope scope(*this, "ScalarMix", here, Scope::no_call);
  Tensors all;
  for (const Parameter* s : scalars_) all.push_back(*s);
  return softmax(cat(all), 0);
}

Tensor ScalarMix::operator()(const Tensor& input, const Tensor& key_padding_mask, Here here) const {
  const Scope scope(*this, "ScalarMix", here);
  const Tensor& x = scope.in(input);
  const Op op{"ScalarMix", here};
  op.check_floating(x);
  const auto layers = static_cast<std::int64_t>(scalars_.size());
  if (x.rank() < 2 || x.size(0) != layers)
    op.fail_shape("x " + x.shape().str() + " must be [" + std::to_string(layers) + ", ..., d]");
  Tensor hidden;
  if (key_padding_mask.defined()) {
    if (key_padding_mask.dtype() != DType::boolean)
      op.fail_dtype(std::string("key_padding_mask must be of bool, got ") + name_of(key_padding_mask.dtype()));
    Shape words;
    for (int i = 1; i + 1 < x.rank(); ++i) words.push_back(x.size(i));
    if (key_padding_mask.shape() != words)
      op.fail_shape("key_padding_mask " + key_padding_mask.shape().str() + " must be " + words.str() + " for x " +
                    x.shape().str());
    hidden = unsqueeze(key_padding_mask, -1);
  }
  const Tensors weight = unbind(weights(), 0), parts = unbind(x, 0);
  Tensor y;
  for (std::size_t i = 0; i < parts.size(); ++i) {
    const Tensor part = weight[i] * (options_.layer_norm ? normed(parts[i], hidden) : parts[i]);
    y = y.defined() ? y + part : part;
  }
  return scope.out(gamma * y);
}

}  // namespace attune::nn
