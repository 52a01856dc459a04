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

TEST_CASE("reversible: the backward pass finds modes and options as the forward pass did") {
  const auto gradients = [](bool reversible, bool changed) {
    manual_seed(3);
    nn::LshSelfAttention f(8, 2, {.hashes = 2, .chunk = 4, .dropout = 0.2});
    nn::LocalSelfAttention g(8, 2, {.chunk = 4, .dropout = 0.2});
    const nn::ReversibleBlock block{[&](const Tensor& x) { return f(x).output; }, [&](const Tensor& x) { return g(x); },
                                    f.parameters(), g.parameters()};
    const Tensor x = randn({2, 16, 8}).requires_grad_();
    const nn::TwoStreams y = nn::reversible_blocks({block}, {x, x}, reversible);
    const Tensor loss = sum(square(y.first) + square(y.second));
    if (changed) {
      f.eval();
      g.eval();
      f.options.causal = !f.options.causal;
      f.options.chunk = 8;
      g.options.causal = !g.options.causal;
    }
    loss.backward();
    return values(x.grad());
  };
  const std::vector<double> right = gradients(false, false), as_it_was = gradients(true, true);
  for (std::size_t i = 0; i < right.size(); ++i) CHECK(as_it_was[i] == doctest::Approx(right[i]).epsilon(1e-3));
}

}  // namespace attune::tests
