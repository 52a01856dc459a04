#include "nn/models/blocks.h"

#include "autograd/ops/create.h"
#include "autograd/ops/matmul.h"
#include "autograd/ops/movement.h"
#include "autograd/ops/reduce.h"
#include "autograd/runtime/error.h"
#include "nn/init.h"
#include "nn/internal/check.h"

namespace attune::nn {

namespace {

Shape sizes(const detail::Check& check, std::int64_t in, std::int64_t out) {
  return {check.at_least(1, in, "in"), check.at_least(1, out, "out")};
}

}  // namespace

Projection::Projection(std::int64_t in, std::int64_t out, double std, Activation activation, Here here)
    : Module(here),
      weight(parameter("weight", zeros(sizes({"Projection", *this}, in, out)))),
      bias(parameter("bias", zeros({out}))),
      activation_(activation) {
  init::normal_(weight, 0, std);
}

Tensor Projection::operator()(const Tensor& x, Here here) const {
  const Scope scope(*this, "Projection", here);
  return scope.out(linear(scope.in(x), transpose(weight, 0, 1), bias, activation_));
}

void normal_weights_(Module& module, double std) {
  for (const auto& [name, parameter] : module.named_parameters())
    if (parameter.rank() == 2)
      init::normal_(parameter, 0, std);
    else if (name == "bias" || name.ends_with(".bias"))
      init::zeros_(parameter);
}

Tensor hidden_keys(const char* model, const Tensor& tokens, const Tensor& key_padding_mask, Here here) {
  const std::string name = model;
  if (tokens.rank() != 2)
    throw ShapeError(name + ": tokens must be [batch, length], got " + tokens.shape().str(), here);
  if (!key_padding_mask.defined()) return {};
  if (key_padding_mask.shape() != tokens.shape())
    throw ShapeError(name + ": key_padding_mask " + key_padding_mask.shape().str() + " must be " + tokens.shape().str(),
                     here);
  if (key_padding_mask.dtype() != DType::boolean)
    throw DTypeError(name + ": key_padding_mask " + key_padding_mask.shape().str() + " must be of bool, got " +
                         name_of(key_padding_mask.dtype()),
                     here);
  return reshape(key_padding_mask, {tokens.size(0), 1, 1, tokens.size(1)});
}

Tensor next_token_loss(const char* model, const Tensor& logits, const Tensor& labels, Reduction reduction, Here here) {
  if (logits.rank() != 3 || labels.shape() != Shape{logits.size(0), logits.size(1)})
    throw ShapeError(
        std::string(model) + ": labels " + labels.shape().str() + " do not fit logits " + logits.shape().str(), here);
  const std::int64_t n = logits.size(1);
  return cross_entropy(slice(logits, 1, 0, n - 1), slice(labels, 1, 1, n), {.reduction = reduction}, here);
}

std::int64_t next_token_count(const char* model, const Tensor& labels, Here here) {
  if (labels.rank() != 2)
    throw ShapeError(std::string(model) + ": labels must be [batch, length], got " + labels.shape().str(), here);
  return target_count(slice(labels, 1, 1, labels.size(1)));
}

Tensor shifted_right(const char* model, const Tensor& labels, std::int64_t start, std::int64_t padding, Here here) {
  if (labels.rank() != 2 || labels.size(1) == 0)
    throw ShapeError(std::string(model) + ": labels must be [batch, length >= 1], got " + labels.shape().str(), here);
  const Tensor before = slice(labels, 1, 0, labels.size(1) - 1);
  return cat({full({labels.size(0), 1}, start, DType::int64), where(eq(before, -100), padding, before)}, 1);
}

std::int64_t target_count(const Tensor& targets) {
  return static_cast<std::int64_t>(sum(to(ne(targets, -100), DType::int64)).item());
}

}  // namespace attune::nn
