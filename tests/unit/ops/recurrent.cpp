// The recurrent operations in the third order, and what they save.

#include "tests/unit/nn_checks.h"

using namespace attune;
using namespace attune::tests;

TEST_CASE("rnn: the third order agrees with the formulas written with scan") {
  const std::int64_t hidden = 2;
  const auto lstm_step = [&](const Tensors& s, const Tensors& x, const Tensor& w) {
    const Tensors g = chunk(x[0] + matmul(s[0], transpose(w)), 4, 1);
    const Tensor c = sigmoid(g[1]) * s[1] + sigmoid(g[0]) * tanh(g[2]);
    const Tensor h = sigmoid(g[3]) * tanh(c);
    return ScanResult{{h, c}, {h}};
  };
  const auto gru_step = [&](const Tensors& s, const Tensors& x, const Tensor& w) {
    const Tensors a = chunk(x[0], 3, 1), u = chunk(matmul(s[0], transpose(w)), 3, 1);
    const Tensor r = sigmoid(a[0] + u[0]), z = sigmoid(a[1] + u[1]), m = tanh(a[2] + r * u[2]);
    const Tensor h = m + z * (s[0] - m);
    return ScanResult{{h}, {h}};
  };
  for (const bool is_lstm : {true, false})
    for (const bool reverse : {true, false}) {
      const std::int64_t gates = is_lstm ? 4 : 3;
      const Tensors inputs{normal_leaf({3, 2, gates * hidden}, 1), normal_leaf({2, hidden}, 2),
                           normal_leaf({gates * hidden, hidden}, 3)};
      const Tensor c0 = normal({2, hidden}, 4);
      const auto orders = [&](const Tensor& y) {
        Tensors all{y};
        Tensor next = sum(square(y) * normal(y.shape(), 5));
        for (int order = 0; order < 3; ++order) {
          const Tensors d = grad({next}, inputs, {.create_graph = true});
          all.insert(all.end(), d.begin(), d.end());
          next = scalar(0, float64);
          for (std::size_t i = 0; i < d.size(); ++i)
            next = next + sum(square(d[i]) * normal(d[i].shape(), 20 + i)) * 0.1;
        }
        return all;
      };
      const Tensors fused =
          orders(is_lstm ? lstm(inputs[0], inputs[1], c0, inputs[2], {}, {}, {.reverse = reverse}).output
                         : gru(inputs[0], inputs[1], inputs[2], {}, {.reverse = reverse}).output);
      const Tensors plain = orders(
          scan([&](const Tensors& s,
                   const Tensors& x) { return is_lstm ? lstm_step(s, x, inputs[2]) : gru_step(s, x, inputs[2]); },
               is_lstm ? Tensors{inputs[1], c0} : Tensors{inputs[1]}, {inputs[0]}, reverse)
              .ys[0]);
      REQUIRE(fused.size() == plain.size());
      for (std::size_t i = 0; i < fused.size(); ++i) CHECK(close(fused[i].detach(), Plain(plain[i].detach()), 1e-9));
    }
}

TEST_CASE("rnn: what is saved is checked, and memory is freed with the outputs") {
  Tensor x = normal({3, 2, 4});
  const Tensor w = normal_leaf({4, 4}, 2);
  const Tensor y = rnn(x, {}, w).output;
  fill_(x, 0);
  CHECK(thrown([&] { sum(y).backward(); }).starts_with("GradError: rnn: a tensor [3, 2, 4] that it saved"));
  const std::int64_t live = memory_stats().live_blocks;
  {
    nn::LSTM m(3, 4);
    const Tensors d = grad({sum(m(zeros({5, 2, 3})).output)}, m.parameters(), {.create_graph = true});
    CHECK(d.size() == 4);
  }
  CHECK(memory_stats().live_blocks == live);
}
