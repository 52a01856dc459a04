// Gradients of whole modules against finite differences.

#include <doctest/doctest.h>

#include "nn/nn.h"
#include "tests/unit/plain.h"

namespace attune::tests {

TEST_CASE("gradcheck of modules: one line, frozen choices, and the parameter's name in a failure") {
  default_generator().seed(3);
  nn::Linear dense(3, 2);
  dense.to(float64);
  CHECK(nn::gradcheck(dense, randn({4, 3}, float64)) == "");

  nn::LSTM recurrent(3, 2);
  recurrent.to(float64);
  CHECK(nn::gradcheck(recurrent, [&](const Tensors& in) { return Tensors{recurrent(in[0]).output}; },
                      {randn({3, 2, 3}, float64)}) == "");

  // Buckets and dropout masks of a whole layer stay as they were first drawn.
  nn::LshSelfAttention lsh(8, 2, {.hashes = 2, .chunk = 4, .dropout = 0.2});
  lsh.to(float64);
  CHECK(nn::gradcheck(lsh, [&](const Tensors& in) { return Tensors{lsh(in[0]).output}; },
                      {randn({1, 16, 8}, float64)}) == "");

  struct Wrong : nn::Module {
    nn::Parameter& scale = parameter("scale", ones({2}, float64));
    Tensor operator()(const Tensor& x) { return x * gradient_reversal(scale); }
  } wrong;
  const std::string failure = nn::gradcheck(wrong, ones({2}, float64));
  CHECK(failure.find("gradcheck: scale [2], element 0: the gradient is ") == 0);
  CHECK(failure.find("mul at gradcheck.cpp:") != std::string::npos);
}

}  // namespace attune::tests
