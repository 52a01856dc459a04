#include "nn/models/internal/published.h"

#include <map>

#include "autograd/ops/loss.h"
#include "autograd/ops/movement.h"
#include "autograd/runtime/error.h"

namespace attune::nn::detail {

Tensor next_token_loss(const char* model, const Tensor& logits, const Tensor& labels, Here here) {
  if (logits.rank() != 3 || labels.shape() != Shape{logits.size(0), logits.size(1)})
    throw ShapeError(
        std::string(model) + ": labels " + labels.shape().str() + " do not fit logits " + logits.shape().str(), here);
  const std::int64_t n = logits.size(1);
  return cross_entropy(slice(logits, 1, 0, n - 1), slice(labels, 1, 1, n));
}

Activation activation_named(const std::string& name, const std::string& entry, const std::string& path, Here here) {
  static const std::map<std::string, Activation> known{{"relu", Activation::relu},          {"gelu", Activation::gelu},
                                                       {"gelu_new", Activation::gelu_tanh}, {"silu", Activation::silu},
                                                       {"swish", Activation::silu},         {"tanh", Activation::tanh},
                                                       {"sigmoid", Activation::sigmoid}};
  const auto at = known.find(name);
  if (at == known.end()) throw FileError(path + ": unknown " + entry + " \"" + name + "\"", here);
  return at->second;
}

}  // namespace attune::nn::detail
