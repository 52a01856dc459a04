#include "nn/positional.h"

#include "autograd/ops/create.h"
#include "autograd/ops/movement.h"
#include "autograd/runtime/error.h"
#include "nn/init.h"

namespace attune::nn {

namespace {

Tensor table(const Shape& shape, double std, Here here) {
  for (std::int64_t s : shape)
    if (s < 1) throw ValueError("AxialPositionEmbedding: sizes must be at least 1, got " + shape.str(), here);
  Tensor t = zeros(shape);
  return init::normal_(t, 0, std);
}

}  // namespace

AxialPositionEmbedding::AxialPositionEmbedding(std::int64_t n1, std::int64_t n2, std::int64_t d1, std::int64_t d2,
                                               double std, Here here)
    : n1_(n1),
      n2_(n2),
      d1_(d1),
      d2_(d2),
      rows_(parameter("0", table({n1, 1, d1}, std, here))),
      columns_(parameter("1", table({1, n2, d2}, std, here))) {}

Tensor AxialPositionEmbedding::operator()(std::int64_t n, Here here) const {
  const Scope scope(*this, "AxialPositionEmbedding", here);
  if (n < 0 || n > n1_ * n2_)
    throw ShapeError("AxialPositionEmbedding: " + std::to_string(n) + " positions do not fit " + std::to_string(n1_) +
                         " x " + std::to_string(n2_),
                     here);
  const Tensor all = cat({expand(rows_, {n1_, n2_, d1_}), expand(columns_, {n1_, n2_, d2_})}, 2);
  return slice(reshape(all, {n1_ * n2_, d1_ + d2_}), 0, 0, n);
}

}  // namespace attune::nn
