// Linear by its formula.

#include "tests/unit/nn_checks.h"

using namespace attune;
using namespace attune::tests;

TEST_CASE("Linear") {
  nn::Linear m(3, 2), plain(3, 2, {.bias = false}), bent(3, 2, {.activation = Activation::tanh});
  for (nn::Linear* l : {&m, &plain, &bent}) {
    l->to(float64);
    const Tensor x = normal({4, 5, 3});
    const Plain in(x), w(l->weight);
    Plain y({4, 5, 2});
    for_indices(y.shape, [&](const Dims& at) {
      double s = l->bias().defined() ? Plain(l->bias())[{at[2]}] : 0;
      for (std::int64_t i = 0; i < 3; ++i) s += in[{at[0], at[1], i}] * w[{at[2], i}];
      y[at] = l == &bent ? std::tanh(s) : s;
    });
    CHECK(close((*l)(x), y));
    CHECK(check_gradients(*l, [&](const Tensors& in_) { return Tensors{(*l)(in_[0])}; }, {normal_leaf({2, 3})}) == "");
  }
  CHECK(plain.parameters().size() == 1);
  CHECK(!plain.bias().defined());
  CHECK(std::is_same_v<nn::Dense, nn::Linear>);
  CHECK(same(m(zeros({0, 3}, float64)).detach(), Plain({0, 2})));
  CHECK(thrown([] { nn::Linear(0, 2); }) == "ValueError: Linear: in = 0 must be at least 1");
  CHECK(thrown([] { nn::Linear(3, -2); }) == "ValueError: Linear: out = -2 must be at least 1");
  CHECK(thrown([&] { m(zeros({4, 2}, float64)); }).starts_with("ShapeError: linear: "));
}
