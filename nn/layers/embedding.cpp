#include "nn/layers/embedding.h"

#include "autograd/ops/create.h"
#include "autograd/ops/embedding.h"
#include "autograd/ops/movement.h"
#include "nn/init.h"
#include "nn/internal/check.h"

namespace attune::nn {

namespace {

Shape sizes(const detail::Check& check, std::int64_t n, std::int64_t d) {
  return {check.at_least(1, n, "n"), check.at_least(1, d, "d")};
}

}  // namespace

Embedding::Embedding(std::int64_t n, std::int64_t d, const EmbeddingOptions& o, Here here)
    : Module(here),
      weight(parameter("weight", zeros(sizes({"Embedding", *this}, n, d)))),
      padding_index_(o.padding_index) {
  const detail::Check check{"Embedding", *this};
  check.at_least(-1, padding_index_, "padding_index");
  if (padding_index_ >= n)
    check.fail("padding_index = " + std::to_string(padding_index_) + " is out of range for " + std::to_string(n) +
               " rows");
  init::normal_(weight, 0, 1);
  if (padding_index_ < 0) return;
  init::zeros_(select(weight.detach(), 0, padding_index_));
}

Tensor Embedding::operator()(const Tensor& indices, Here here) const {
  const Scope scope(*this, "Embedding", here);
  return scope.out(embedding(weight, scope.in(indices), padding_index_));
}

}  // namespace attune::nn
