#include "nn/models/internal/published.h"

#include <map>

#include "autograd/ops/loss.h"
#include "autograd/ops/movement.h"
#include "autograd/runtime/error.h"

namespace attune::nn::detail {

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
