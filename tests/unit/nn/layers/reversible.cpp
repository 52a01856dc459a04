// Reversible blocks of plain layers; those of a Reformer are in models/reformer.cpp.

#include <doctest/doctest.h>

#include "nn/nn.h"
#include "tests/unit/plain.h"

namespace attune::tests {

TEST_CASE("reversible: second derivatives") {
  manual_seed(1);
  nn::Linear f(3, 3), g(3, 3);
  f.to(float64);
  g.to(float64);
  const auto run = [&](bool reversible) {
    return [&f, &g, reversible](const Tensors& in) {
      const nn::ReversibleBlock block{[&](const Tensor& x) { return tanh(f(x)); },
                                      [&](const Tensor& x) { return tanh(g(x)); }, f.parameters(), g.parameters()};
      const nn::TwoStreams y = nn::reversible_blocks({block, block}, {in[0], in[1]}, reversible);
      return Tensors{y.first, y.second};
    };
  };
  const Tensors xs{randn({2, 3}, float64).requires_grad_(), randn({2, 3}, float64).requires_grad_()};
  CHECK(gradcheck(run(true), xs) == "");
  CHECK(gradcheck(run(false), xs) == "");
}

TEST_CASE("reversible: a parameter that is not listed is an error, not a missing gradient") {
  nn::Linear f(3, 3), g(3, 3);
  const nn::ReversibleBlock block{
      [&](const Tensor& x) { return f(x); }, [&](const Tensor& x) { return g(x); }, f.parameters(), {g.weight}};
  const nn::TwoStreams y = nn::reversible_blocks({block}, {randn({2, 3}), randn({2, 3})});
  for (const bool create_graph : {true, false})
    CHECK(refusal<GradError>([&] { sum(y.second).backward({.create_graph = create_graph}); }) ==
          "reversible_blocks: a block uses a tensor [3] that requires a gradient and is not among its parameters");
}

}  // namespace attune::tests
