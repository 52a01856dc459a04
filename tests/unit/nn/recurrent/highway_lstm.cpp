// The LSTM with highway connections: its formula, lengths, states, gradients, refusals.

#include "tests/unit/nn_checks.h"

namespace attune::tests {

TEST_CASE("HighwayLSTM by its formula, each sequence on its own") {
  for (const bool highway : {true, false}) {
    nn::HighwayLSTM m(2, 3, {.highway = highway});
    randomize(m);
    const nn::StateDict w = m.state_dict();
    const Tensor x = normal({3, 4, 2}), lengths = index_tensor({4, 0, 2});
    const Tensor h0 = normal({2, 3, 3}, 5), c0 = normal({2, 3, 3}, 6);
    const RecurrentResult r = m(x, {h0, c0}, lengths);
    CHECK(r.output.shape() == Shape{3, 4, 6});
    const std::int64_t steps[] = {4, 0, 2};
    for (std::int64_t b = 0; b < 3; ++b)
      for (std::int64_t way = 0; way < 2; ++way) {
        const std::string at = way == 0 ? "forward_layer_0.cell." : "backward_layer_0.cell.";
        Tensor h = select(select(h0, 0, way), 0, b), c = select(select(c0, 0, way), 0, b);
        Plain out(Shape{4, 3});
        for (std::int64_t i = 0; i < steps[b]; ++i) {
          const std::int64_t t = way == 0 ? i : steps[b] - 1 - i;
          const Tensor in = linear(select(select(x, 0, b), 0, t), w.at(at + "input_linearity.weight"));
          const Tensor own = linear(h, w.at(at + "state_linearity.weight"), w.at(at + "state_linearity.bias"));
          const auto part = [&](std::int64_t k) {
            return slice(in, 0, 3 * k, 3 * k + 3) + slice(own, 0, 3 * k, 3 * k + 3);
          };
          c = sigmoid(part(0)) * tanh(part(2)) + sigmoid(part(1)) * c;
          h = sigmoid(part(3)) * tanh(c);
          if (highway) h = sigmoid(part(4)) * h + (1 - sigmoid(part(4))) * slice(in, 0, 15, 18);
          const Plain now(h);
          for (std::int64_t j = 0; j < 3; ++j) out[{t, j}] = now[{j}];
        }
        CHECK(close(slice(select(r.output, 0, b), 1, 3 * way, 3 * way + 3), out));
        CHECK(close(select(select(r.h, 0, way), 0, b), Plain(h)));
        CHECK(close(select(select(r.c, 0, way), 0, b), Plain(c)));
      }
  }
}

TEST_CASE("HighwayLSTM: gradients of two layers, and padding has no influence") {
  nn::HighwayLSTM m(2, 2, {.layers = 2});
  randomize(m);
  const Tensor lengths = index_tensor({3, 1});
  CHECK(check_gradients(
            m,
            [&](const Tensors& in) {
              const RecurrentResult r = m(in[0], {in[1], in[2]}, lengths);
              return Tensors{r.output, r.h, r.c};
            },
            {normal_leaf({2, 3, 2}), normal_leaf({4, 2, 2}, 3), normal_leaf({4, 2, 2}, 4)}, false) == "");
  const Tensor x = normal({2, 3, 2});
  const Tensor other = where(reshape(flags({0, 0, 0, 0, 1, 1}, {2, 3}), {2, 3, 1}), not_a_number, x);
  CHECK(same(m(x, {}, lengths).output, m(other, {}, lengths).output));
}

TEST_CASE("HighwayLSTM refuses what does not fit") {
  CHECK(thrown([] { nn::HighwayLSTM m(0, 2); }) == "ValueError: HighwayLSTM: in = 0 must be at least 1");
  const nn::HighwayLSTM m(2, 3);
  CHECK(thrown([&] { m(zeros({2, 4, 3})); }) == "ShapeError: HighwayLSTM: x [2, 4, 3] must be [B, T, 2]");
  CHECK(thrown([&] {
          m(zeros({2, 4, 2}), {zeros({1, 2, 3}), {}});
        }) == "ShapeError: HighwayLSTM: h0 [1, 2, 3] must be [2, 2, 3]");
  CHECK(thrown([&] {
          m(zeros({2, 4, 2}), {}, index_tensor({5, 1}));
        }) == "ValueError: HighwayLSTM: the length 5 is not in [0, 4]");
  CHECK(thrown([&] {
          m(zeros({2, 4, 2}), {}, index_tensor({1}));
        }) == "ShapeError: HighwayLSTM: lengths [1] must be [2]");
}

}  // namespace attune::tests
