// The highway layer, and the maximum over time that feeds it.

#include <cstring>

#include "tests/unit/nn_checks.h"

using namespace attune;
using namespace attune::tests;

TEST_CASE("MaxOverTime, Highway") {
  const nn::MaxOverTime longest;
  CHECK(same(longest(tensor({1, 5, 2, -4, -3, -9}, {1, 2, 3}, float64)), {1, 2}, {5, -3}));
  CHECK_THROWS_AS(longest(zeros({2, 3, 0})), ShapeError);

  nn::Highway m(3, {.layers = 2, .activation = Activation::tanh, .gate_bias = -1});
  m.to(float64);
  nn::StateDict state = m.state_dict();
  CHECK(state.at("0.weight").shape() == Shape{6, 3});
  CHECK(same(slice(state.at("1.bias"), 0, 3), {3}, {-1, -1, -1}));
  const Tensor x = normal({4, 3});
  Plain y(x);
  for (const char* layer : {"0", "1"}) {
    const Plain w(state.at(std::string(layer) + ".weight")), b(state.at(std::string(layer) + ".bias")), old = y;
    for_indices(y.shape, [&](const Dims& at) {
      double f = b[{at[1]}], t = b[{at[1] + 3}];
      for (std::int64_t i = 0; i < 3; ++i)
        f += w[{at[1], i}] * old[{at[0], i}], t += w[{at[1] + 3, i}] * old[{at[0], i}];
      const double gate = 1 / (1 + std::exp(-t));
      y[at] = gate * std::tanh(f) + (1 - gate) * old[at];
    });
  }
  CHECK(close(m(x).detach(), y));
  CHECK(check_gradients(m, [&](const Tensors& in) { return Tensors{m(in[0])}; }, {normal_leaf({2, 3})}) == "");
  CHECK(thrown([] { nn::Highway(3, {.layers = 0}); }) == "ValueError: Highway: layers = 0 must be at least 1");
}
