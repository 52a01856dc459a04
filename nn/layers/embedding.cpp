#include "nn/layers/embedding.h"

#include "autograd/ops/create.h"
#include "autograd/ops/gather.h"
#include "autograd/ops/movement.h"
#include "nn/init.h"
#include "nn/internal/check.h"

namespace attune::nn {

Embedding::Embedding(std::int64_t n, std::int64_t d, const EmbeddingOptions& o, Here here)
    : weight(parameter(
          "weight",
          zeros({detail::at_least(1, n, "Embedding", "n", here), detail::at_least(1, d, "Embedding", "d", here)}),
          here)),
      padding_index_(detail::at_least(-1, o.padding_index, "Embedding", "padding_index", here)) {
  if (padding_index_ >= n)
    throw ValueError("Embedding: padding_index = " + std::to_string(padding_index_) + " is out of range for " +
                         std::to_string(n) + " rows",
                     here);
  init::normal_(weight, 0, 1);
  if (padding_index_ < 0) return;
  Tensor row = select(weight.detach(), 0, padding_index_);
  init::zeros_(row);
}

Tensor Embedding::operator()(const Tensor& indices, Here here) const {
  const Scope scope(*this, "Embedding", here);
  return embedding(weight, indices, padding_index_);
}

}  // namespace attune::nn
