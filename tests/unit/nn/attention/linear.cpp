// The Linear Transformer's attention: its formula, its recurrence, gradients.

#include "tests/unit/nn_checks.h"

using namespace attune;
using namespace attune::tests;

namespace {

Tensor by_formula(const Tensor& q, const Tensor& k, const Tensor& v, bool causal) {
  const auto phi = [](const Tensor& x) { return permute(where(gt(x, 0), x + 1, exp(x)), {0, 2, 1, 3}); };
  Tensor scores = matmul(phi(q), transpose(phi(k)));
  if (causal) scores = tril(scores);
  return permute(matmul(scores / (sum(scores, {-1}, true) + 1e-6), permute(v, {0, 2, 1, 3})), {0, 2, 1, 3});
}

}  // namespace

TEST_CASE("LinearAttention: by its formula, causal and not") {
  const Tensor q = normal({2, 70, 2, 3}, 1), k = normal({2, 70, 2, 3}, 2), v = normal({2, 70, 2, 4}, 3);
  for (const bool causal : {false, true}) {
    nn::LinearAttention m({.causal = causal});
    CHECK(close(m(q, k, v), Plain(by_formula(q, k, v, causal)), 1e-12));
    CHECK(check_gradients(m, [&](const Tensors& x) { return Tensors{m(x[0], x[1], x[2])}; },
                          {normal_leaf({1, 4, 1, 2}, 4), normal_leaf({1, 4, 1, 2}, 5), normal_leaf({1, 4, 1, 2}, 6)}) ==
          "");
  }
  const Tensor hidden = flags({0, 1, 0, 1, 0, 0}, {2, 3});
  const auto part = [](const Tensor& x) { return slice(x, 1, 0, 3); };
  nn::LinearAttention m;
  const Tensor broken = masked_fill(part(k), reshape(hidden, {2, 3, 1, 1}), not_a_number);
  Tensor leaf = clone(broken).requires_grad_();
  const Tensor y = m(part(q), leaf, part(v), hidden);
  CHECK(same(y, m(part(q), part(k), part(v), hidden)));
  const Tensor d = grad({sum(y)}, {leaf})[0];
  CHECK(same(masked_fill(d, reshape(hidden, {2, 3, 1, 1}), 0), d));
}

TEST_CASE("LinearAttention: the recurrence gives the full pass's outputs") {
  const std::int64_t n = 90;
  const Tensor q = normal({2, n, 2, 3}, 1), k = normal({2, n, 2, 3}, 2), v = normal({2, n, 2, 4}, 3);
  nn::LinearAttention m({.causal = true});
  const Tensor full = m(q, k, v);
  for (const std::int64_t prompt : {1, 7, 80}) {
    nn::LinearAttentionState state;
    Tensors pieces;
    for (std::int64_t at = 0; at < n;) {
      const std::int64_t to = at == 0 ? prompt : at + 1;
      const auto part = [&](const Tensor& x) { return slice(x, 1, at, to); };
      pieces.push_back(m.step(part(q), part(k), part(v), state));
      at = to;
    }
    CHECK(close(cat(pieces, 1), Plain(full), 1e-12));
    CHECK(state.s.shape() == Shape{2, 2, 3, 4});
    CHECK(state.z.shape() == Shape{2, 2, 3});
    // Rows go their own ways afterwards.
    state.reorder(tensor({1, 1, 0}, {3}, int64));
    const Tensor next = normal({1, 1, 2, 3}, 8), three = expand(next, {3, 1, 2, 3});
    const Tensor y = m.step(three, three, expand(normal({1, 1, 2, 4}, 9), {3, 1, 2, 4}), state);
    CHECK(same(select(y, 0, 0), select(y, 0, 1)));
    CHECK(!same(select(y, 0, 0), select(y, 0, 2)));
  }
}

TEST_CASE("LinearAttention: errors") {
  CHECK(thrown([] { nn::LinearAttention m({.epsilon = -1}); }) ==
        "ValueError: LinearAttention: epsilon = -1.000000 must be finite and not negative");
  nn::LinearAttentionState state;
  const Tensor x = zeros({1, 1, 2, 3});
  CHECK(thrown([&] { nn::LinearAttention().step(x, x, x, state); }) ==
        "ValueError: LinearAttention: step() needs causal attention");
  nn::LinearAttention m({.causal = true});
  m.step(x, x, x, state);
  const Tensor two = zeros({2, 1, 2, 3});
  CHECK(thrown([&] { m.step(two, two, two, state); }).starts_with("ShapeError: LinearAttention: step(): the state"));
  CHECK(thrown([&] { state.reorder(tensor({1}, {1}, int64)); }).starts_with("IndexError"));
}

TEST_CASE("LinearAttention: what does not fit is named as it was given") {
  const Tensor q = zeros({2, 3, 2, 5}), v = zeros({2, 3, 2, 4});
  nn::LinearAttention whole, m({.causal = true});
  nn::LinearAttentionState state;
  const std::string of_layer = "ShapeError: linear_attention: ", of_step = "ShapeError: LinearAttention: step(): ";
  const auto text = [](const Tensor& a, const Tensor& b, const Tensor& c) {
    return "q " + a.shape().str() + ", k " + b.shape().str() + " and v " + c.shape().str();
  };
  const std::string unfit = " do not fit [b, t, h, d], [b, s, h, d], [b, s, h, m]";
  for (const Tensor& k : {zeros({1, 3, 2, 5}), zeros({2, 4, 2, 5}), zeros({2, 3, 1, 5}), zeros({2, 3, 2, 6}),
                          zeros({2, 3, 5}), zeros({2, 3, 2, 5, 1})}) {
    CHECK(thrown([&] { whole(q, k, v); }) == of_layer + text(q, k, v) + unfit);
    CHECK(thrown([&] { m.step(q, k, v, state); }) == of_step + text(q, k, v) + unfit);
  }
  for (const Tensor& bad : {zeros({1, 3, 2, 4}), zeros({2, 4, 2, 4}), zeros({2, 3, 1, 4}), zeros({3, 2, 4})}) {
    CHECK(thrown([&] { whole(q, q, bad); }) == of_layer + text(q, q, bad) + unfit);
    CHECK(thrown([&] { m.step(q, q, bad, state); }) == of_step + text(q, q, bad) + unfit);
  }
  const Tensor longer = zeros({2, 4, 2, 5}), longer_v = zeros({2, 4, 2, 4});
  const std::string as_many = ": causal attention needs as many queries as keys";
  CHECK(thrown([&] { m(q, longer, longer_v); }) == of_layer + text(q, longer, longer_v) + as_many);
  CHECK(thrown([&] { m.step(q, longer, longer_v, state); }) == of_step + text(q, longer, longer_v) + as_many);
  const Tensor none = zeros({2, 0, 2, 5});
  CHECK(thrown([&] { m.step(none, none, none, state); }) == of_step + "q [2, 0, 2, 5] has no token");
  for (const Tensors& x : {Tensors{Tensor(), q, v}, {q, Tensor(), v}, {q, q, Tensor()}}) {
    CHECK(thrown([&] { whole(x[0], x[1], x[2]); }) == "ValueError: linear_attention: an input is undefined");
    CHECK(thrown([&] { m.step(x[0], x[1], x[2], state); }) ==
          "ValueError: LinearAttention: step(): an input is undefined");
  }
  CHECK(thrown([&] { whole(q, to(q, float64), v); }) ==
        "DTypeError: linear_attention: dtypes differ: float32 [2, 3, 2, 5] and float64 [2, 3, 2, 5]");
  CHECK(thrown([&] { m.step(q, q, to(v, float64), state); }) ==
        "DTypeError: LinearAttention: step(): dtypes differ: float32 [2, 3, 2, 5] and float64 [2, 3, 2, 4]");
  CHECK(thrown([&] {
          whole(q, q, v, zeros({2, 4}, boolean));
        }).starts_with("ShapeError: linear_attention: key_padding_mask [2, 4]"));
  CHECK(!state.s.defined());
}
