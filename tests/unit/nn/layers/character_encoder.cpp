// Words from their characters.

#include "tests/unit/nn_checks.h"

using namespace attune;
using namespace attune::tests;

TEST_CASE("CharacterEncoder") {
  nn::CharacterEncoder m(20, {.char_dim = 3,
                              .filters = {{1, 2}, {3, 4}},
                              .activation = Activation::tanh,
                              .highway = {.layers = 1},
                              .projection = 5,
                              .padding_index = 0});
  m.to(float64);
  CHECK(m.out() == 5);
  const Tensor words = index_tensor({1, 2, 3, 0, 4, 5, 6, 7, 8, 9, 1, 0}, {1, 3, 4});
  const Tensor y = m(words);
  CHECK(y.shape() == Shape{1, 3, 5});
  // A word alone is encoded the same.
  CHECK(close(m(select(select(words, 0, 0), 0, 1)).detach(), Plain(select(select(y, 0, 0), 0, 1).detach())));
  CHECK(m(zeros({0, 4}, int64)).shape() == Shape{0, 5});
  nn::CharacterEncoder small(9, {.char_dim = 2, .filters = {{2, 3}}, .highway = {.layers = 0}, .projection = 0});
  CHECK(small.out() == 3);
  CHECK(check_gradients(small,
                        [&](const Tensors&) {
                          return Tensors{small(index_tensor({1, 2, 3, 4, 5, 6}, {2, 3}))};
                        },
                        {}) == "");
  CHECK(nn::CharacterEncoder(262).out() == 512);
  CHECK(thrown([&] {
          small(index_tensor({1}, {1, 1}));
        }) == "ShapeError: conv0: conv1d: a window of 2 is longer than the padded length 1 of x [1, 2, 1]");
  CHECK(thrown([] { nn::CharacterEncoder(9, {.filters = {}}); }) ==
        "ValueError: CharacterEncoder: needs at least one filter");
}
