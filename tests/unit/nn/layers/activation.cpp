// Activations and softmax as modules.

#include "tests/unit/nn_checks.h"

using namespace attune;
using namespace attune::tests;

TEST_CASE("activations and softmax as modules are the functions") {
  const Tensor x = normal({3, 4});
  CHECK(same(nn::ReLU()(x), relu(x)));
  CHECK(same(nn::GELU()(x), gelu(x)));
  CHECK(same(nn::GELUTanh()(x), gelu_tanh(x)));
  CHECK(same(nn::SiLU()(x), silu(x)));
  CHECK(same(nn::Tanh()(x), tanh(x)));
  CHECK(same(nn::Sigmoid()(x), sigmoid(x)));
  CHECK(nn::activate(x, Activation::none).impl() == x.impl());
  CHECK(same(nn::Softmax()(x), softmax(x, -1)));
  CHECK(same(nn::Softmax(0)(x), softmax(x, 0)));
  CHECK(thrown([&] { nn::Softmax(2)(x); }) == "IndexError: softmax: axis 2 is out of range for [3, 4]");
  const Plain in(x);
  Plain columns({3, 4});
  for_indices(columns.shape, [&](const Dims& at) {
    double total = 0;
    for (std::int64_t i = 0; i < 3; ++i) total += std::exp(in[{i, at[1]}]);
    columns[at] = std::exp(in[at]) / total;
  });
  CHECK(close(nn::Softmax(0)(x), columns));
}
