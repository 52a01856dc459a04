// Embedding: rows, padding, gradients.

#include "tests/unit/nn_checks.h"

using namespace attune;
using namespace attune::tests;

TEST_CASE("Embedding") {
  nn::Embedding m(5, 3, {.padding_index = 1});
  const Tensor indices = index_tensor({4, 1, 0, 4}, {2, 2});
  const Tensor y = m(indices);
  const Plain w(m.weight);
  const std::int64_t rows[] = {4, 1, 0, 4};
  Plain expected({2, 2, 3});
  for_indices(expected.shape, [&](const Dims& at) { expected[at] = w[{rows[at[0] * 2 + at[1]], at[2]}]; });
  CHECK(same(y.detach(), expected));
  sum(y).backward();
  CHECK(same(m.weight.grad(), {5, 3}, {1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 2, 2}));
  nn::Embedding all(5, 3);
  CHECK(check_gradients(all, [&](const Tensors&) { return Tensors{all(indices)}; }, {}) == "");
  CHECK(thrown([&] { m(index_tensor({5})); }).starts_with("IndexError: embedding: "));
  CHECK(thrown([] { nn::Embedding(-1, 3); }) == "ValueError: Embedding: n = -1 must be at least 1");
  CHECK(thrown([] { nn::Embedding(3, 0); }) == "ValueError: Embedding: d = 0 must be at least 1");
  CHECK(thrown([] { nn::Embedding(3, 2, {.padding_index = 3}); }) ==
        "ValueError: Embedding: padding_index = 3 is out of range for 3 rows");
  CHECK(thrown([] { nn::Embedding(3, 2, {.padding_index = -2}); }) ==
        "ValueError: Embedding: padding_index = -2 must be at least -1");
}
