// FeedForward, whole and in chunks, and its gated form.

#include "tests/unit/nn_checks.h"

using namespace attune;
using namespace attune::tests;

TEST_CASE("FeedForward: chunks give the same") {
  const Tensor x = normal({2, 7, 3});
  manual_seed(5);
  nn::FeedForward whole(3, 5, {.activation = Activation::gelu});
  whole.to(float64);
  const auto state = whole.state_dict();
  CHECK(close(whole(x), Plain(linear(gelu(linear(x, state.at("linear1.weight"), state.at("linear1.bias"))),
                                     state.at("linear2.weight"), state.at("linear2.bias")))));
  for (const std::int64_t chunks : {2, 3, 7, 50}) {
    nn::FeedForward m(3, 5, {.activation = Activation::gelu, .chunks = chunks});
    m.to(float64);
    m.load_state_dict(state);
    Tensor a = clone(x).requires_grad_(), b = clone(x).requires_grad_();
    const Tensor ya = whole(a), yb = m(b), dy = normal(ya.shape(), 9);
    CHECK(close(yb, Plain(ya), 1e-14));
    const auto gradients = [&](const Tensor& y, nn::Module& of, const Tensor& leaf) {
      Tensors wanted = of.parameters();
      wanted.push_back(leaf);
      return grad({y}, wanted, {.cotangents = {dy}});
    };
    const Tensors ga = gradients(ya, whole, a), gb = gradients(yb, m, b);
    for (std::size_t i = 0; i < ga.size(); ++i) CHECK(close(gb[i], Plain(ga[i]), 1e-13));
  }
  nn::FeedForward small(2, 3, {.activation = Activation::silu, .chunks = 2});
  CHECK(check_gradients(small, [&](const Tensors& in) { return Tensors{small(in[0])}; }, {normal_leaf({1, 3, 2})}) ==
        "");
  nn::FeedForward bare(3, 5, {.bias = false});
  CHECK(bare.parameters().size() == 2);
  CHECK(same(nn::in_chunks(zeros({2, 0, 3}), 4, [](const Tensor& t) { return 2 * t; }), zeros({2, 0, 3})));
  CHECK(thrown([] { nn::FeedForward(3, 5, {.chunks = 0}); }) ==
        "ValueError: FeedForward: chunks = 0 must be at least 1");
  CHECK(thrown([] { nn::FeedForward(3, 5, {.dropout = 2}); }) == "ValueError: Dropout: p = 2.000000 is not in [0, 1]");
  CHECK(thrown([] { nn::FeedForward(3, 0); }) == "ValueError: Linear: out = 0 must be at least 1");
}

TEST_CASE("GatedFeedForward") {
  const Tensor x = normal({2, 5, 3});
  for (const Activation f :
       {Activation::none, Activation::sigmoid, Activation::relu, Activation::gelu, Activation::silu}) {
    nn::GatedFeedForward m(3, 4, {.activation = f, .bias = f == Activation::relu}),
        pieces(3, 4, {.activation = f, .bias = f == Activation::relu, .chunks = 3});
    m.to(float64), pieces.to(float64);
    pieces.load_state_dict(m.state_dict());
    const nn::StateDict w = m.state_dict();
    CHECK(w.size() == (f == Activation::relu ? 6 : 3));
    const auto through = [&](const std::string& name, const Tensor& in) {
      return linear(in, w.at(name + ".weight"), f == Activation::relu ? w.at(name + ".bias") : Tensor());
    };
    const Tensor expected = through("down", nn::activate(through("gate", x), f) * through("up", x));
    CHECK(close(m(x).detach(), Plain(expected)));
    CHECK(close(pieces(x).detach(), Plain(expected)));
    CHECK(check_gradients(m, [&](const Tensors& in) { return Tensors{m(in[0])}; }, {normal_leaf({1, 2, 3})}) == "");
  }
  CHECK(thrown([] { nn::GatedFeedForward(3, 4, {.chunks = 0}); }) ==
        "ValueError: GatedFeedForward: chunks = 0 must be at least 1");
}
