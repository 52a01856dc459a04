// One step at a time: cells, and decoding that equals the sequence.

#include "tests/unit/nn_checks.h"

using namespace attune;
using namespace attune::tests;

TEST_CASE("rnn: decoding step by step equals the sequence") {
  const Tensor x = normal({4, 2, 3});
  const auto check = [&](auto& m, auto next) {
    m.to(float64);
    const RecurrentResult all = m(x);
    RecurrentResult r;
    for (std::int64_t t = 0; t < 4; ++t) {
      r = next(select(x, 0, t), r);
      CHECK(close(r.output.detach(), Plain(select(all.output, 0, t).detach())));
    }
    CHECK(close(r.h.detach(), Plain(all.h.detach())));
    if (all.c.defined()) CHECK(close(r.c.detach(), Plain(all.c.detach())));
  };
  nn::LSTM a(3, 4, {.layers = 2, .proj_size = 2});
  check(a, [&](const Tensor& xt, const RecurrentResult& r) { return a.step(xt, {r.h, r.c}); });
  nn::GRU b(3, 4, {.layers = 2});
  check(b, [&](const Tensor& xt, const RecurrentResult& r) { return b.step(xt, r.h); });
  nn::RNN c(3, 4, {.layers = 2});
  check(c, [&](const Tensor& xt, const RecurrentResult& r) { return c.step(xt, r.h); });
  nn::GRU both(3, 4, {.bidirectional = true});
  CHECK(thrown([&] { both.step(zeros({2, 3})); }) == "ValueError: GRU: a bidirectional network has no single steps");
  CHECK(thrown([&] { b.step(zeros({1, 2, 3}, float64)); }) == "ShapeError: GRU: x [1, 2, 3] of a step must be [B, 3]");
}

TEST_CASE("rnn: cells are a layer's steps, with and without a batch") {
  nn::LSTM whole(3, 4);
  nn::LSTMCell cell(3, 4);
  nn::GRU whole_gru(3, 4);
  nn::GRUCell gru_of(3, 4);
  nn::RNN whole_rnn(3, 4, {.activation = Activation::relu});
  nn::RNNCell rnn_of(3, 4, Activation::relu);
  const auto share = [](nn::Module& from_, nn::Module& to_) {
    nn::StateDict s;
    for (const auto& [name, value] : from_.state_dict()) s[name.substr(0, name.size() - 3)] = value;
    to_.load_state_dict(s);
  };
  share(whole, cell), share(whole_gru, gru_of), share(whole_rnn, rnn_of);
  for (nn::Module* m : std::vector<nn::Module*>{&whole, &cell, &whole_gru, &gru_of, &whole_rnn, &rnn_of})
    m->to(float64);
  const Tensor x = normal({1, 2, 3}), h = normal({1, 2, 4}, 2), c = normal({1, 2, 4}, 3);
  const RecurrentResult r = whole(x, {h, c});
  const LstmState s = cell(select(x, 0, 0), {select(h, 0, 0), select(c, 0, 0)});
  CHECK(close(s.h.detach(), Plain(select(r.h, 0, 0).detach())));
  CHECK(close(s.c.detach(), Plain(select(r.c, 0, 0).detach())));
  CHECK(close(gru_of(select(x, 0, 0), select(h, 0, 0)).detach(), Plain(select(whole_gru(x, h).h, 0, 0).detach())));
  CHECK(close(rnn_of(select(x, 0, 0), select(h, 0, 0)).detach(), Plain(select(whole_rnn(x, h).h, 0, 0).detach())));
  const auto row = [](const Tensor& t) { return select(select(t, 0, 0), 0, 1); };
  const LstmState one = cell(row(x), {row(h), row(c)});
  CHECK(close(one.h.detach(), Plain(select(s.h, 0, 1).detach())));
  CHECK(one.c.shape() == Shape{4});
  CHECK(close(gru_of(row(x)).detach(), Plain(gru_of(row(x), zeros({4}, float64)).detach())));
  CHECK(thrown([&] { cell(zeros({2, 2}, float64)); }) == "ShapeError: LSTMCell: x [2, 2] must be [B, 3] or [3]");
  CHECK(thrown([&] {
          gru_of(select(x, 0, 0), zeros({3, 4}, float64));
        }) == "ShapeError: GRUCell: h [3, 4] must be [2, 4] for x [2, 3]");
  CHECK(thrown([&] { gru_of(row(x), zeros({3}, float64)); }) == "ShapeError: GRUCell: h [3] must be [4] for x [3]");
  CHECK(thrown([&] {
          cell(row(x), {row(h), zeros({2, 4}, float64)});
        }) == "ShapeError: LSTMCell: c [2, 4] must be [4] for x [3]");
  CHECK(thrown([&] { rnn_of(select(x, 0, 0), zeros({2, 4})); }).starts_with("DTypeError: RNNCell: dtypes differ"));
  CHECK(thrown([] { nn::GRUCell(3, 0); }) == "ValueError: GRUCell: hidden = 0 must be at least 1");
  CHECK(thrown([] { nn::RNNCell(3, 2, Activation::gelu); }) ==
        "ValueError: RNNCell: the activation must be tanh or relu");
}

TEST_CASE("rnn: what is wrong with a cell's x is said before its states are compared with it") {
  const nn::GRUCell gru(3, 4);
  const nn::LSTMCell lstm(3, 4);
  const nn::RNNCell rnn(3, 4);
  const std::string wanted = " must be [B, 3] or [3]";
  CHECK(thrown([&] { gru(zeros({}), zeros({4})); }) == "ShapeError: GRUCell: x []" + wanted);
  CHECK(thrown([&] {
          lstm(zeros({2, 5}), {zeros({3, 3}), zeros({3, 3})});
        }) == "ShapeError: LSTMCell: x [2, 5]" + wanted);
  CHECK(thrown([&] {
          rnn(zeros({2, 3}, int64), zeros({2, 4}));
        }) == "DTypeError: RNNCell: needs float32 or float64, got int64 [2, 3]");
}
