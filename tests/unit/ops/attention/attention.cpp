// Attention: values by loops over queries and keys, masks of every kind, gradients, errors.

#include "tests/unit/attention_checks.h"

using namespace attune;
using namespace attune::tests;

TEST_CASE("scaled_dot_product_attention: values") {
  const Tensor q = normal({2, 3, 4, 5}, 1), k = normal({2, 3, 6, 5}, 2), v = normal({2, 3, 6, 7}, 3);
  const Tensor mask = gt(normal({2, 1, 4, 6}, 4), 0.3), bias = normal({1, 3, 1, 6}, 5);
  for (const bool causal : {false, true})
    for (const bool masked : {false, true})
      for (const bool biased : {false, true})
        for (const double scale : {0.0, 0.7}) {
          INFO(causal, masked, biased, scale);
          const AttentionResult a = scaled_dot_product_attention(q, k, v,
                                                                 {.attention_mask = masked ? mask : Tensor(),
                                                                  .bias = biased ? bias : Tensor(),
                                                                  .causal = causal,
                                                                  .scale = scale},
                                                                 true);
          REQUIRE(a.output.shape() == Shape{2, 3, 4, 7});
          REQUIRE(a.weights.shape() == Shape{2, 3, 4, 6});
          for (std::int64_t b = 0; b < 2; ++b)
            for (std::int64_t h = 0; h < 3; ++h) {
              const auto part = [&](const Tensor& x) { return Plain(select(select(x, 0, b), 0, h)); };
              const Plain m(mask), extra(bias);
              const PlainAttention r = attend(
                  part(q), part(k), part(v), scale == 0 ? 1 / std::sqrt(5.0) : scale,
                  [&](std::int64_t i, std::int64_t j) {
                    return (!causal || j <= i + 2) && !(masked && m[{b, 0, i, j}] != 0);
                  },
                  [&](std::int64_t, std::int64_t j) {
                    return biased ? extra[{0, h, 0, j}] : 0.0;
                  });
              CHECK(close(part(a.weights), r.weights));
              CHECK(close(part(a.output), r.output));
            }
        }
  const AttentionResult plain = scaled_dot_product_attention(q, k, v);
  CHECK(!plain.weights.defined());
  CHECK(close(plain.output, Plain(scaled_dot_product_attention(q, k, v, {}, true).output)));
}

TEST_CASE("scaled_dot_product_attention: gradients, and rows that see nothing") {
  const Tensor hidden = flags({0, 1, 1, 1, 1, 1, 1, 0, 0}, {3, 3});  // the second query sees nothing
  const auto f = [&](const Tensors& in) {
    const AttentionResult a =
        scaled_dot_product_attention(in[0], in[1], in[2], {.attention_mask = hidden, .bias = in[3]}, true);
    return Tensors{a.output, a.weights};
  };
  const Tensors inputs{normal_leaf({2, 3, 2}, 1), normal_leaf({2, 3, 2}, 2), normal_leaf({2, 3, 4}, 3),
                       normal_leaf({3, 3}, 4)};
  CHECK(gradcheck(f, inputs) == "");
  const Tensors ys = f(inputs);
  CHECK(same(select(ys[0], 1, 1).detach(), Plain({2, 4})));
  CHECK(same(select(ys[1], 1, 1).detach(), Plain({2, 3})));
  const Tensor dq = grad({ys[0]}, {inputs[0]}, {.cotangents = {ones_like(ys[0])}})[0];
  CHECK(same(select(dq, 1, 1), Plain({2, 2})));
  CHECK(amax(abs(select(dq, 1, 2))).item() > 0);

  // Everything hidden: nothing but zeros, forward and backward, and no NaN.
  const Tensors gone = grad(
      {scaled_dot_product_attention(inputs[0], inputs[1], inputs[2], {.attention_mask = flags({1}, {1, 1})}).output},
      {inputs[0], inputs[1], inputs[2]}, {.cotangents = {ones({2, 3, 4}, float64)}});
  for (const Tensor& g : gone) CHECK(same(g, zeros_like(g)));
  // A bias of -inf hides as a mask does.
  const Tensor minus = masked_fill(zeros({3, 3}, float64), hidden, -inf);
  CHECK(
      same(scaled_dot_product_attention(inputs[0], inputs[1], inputs[2], {.bias = minus}).output.detach(),
           scaled_dot_product_attention(inputs[0], inputs[1], inputs[2], {.attention_mask = hidden}).output.detach()));
}

TEST_CASE("scaled_dot_product_attention: causal is the triangular mask, bit for bit") {
  for (const auto& sizes :
       std::vector<std::pair<std::int64_t, std::int64_t>>{{5, 5}, {3, 7}, {7, 3}, {1, 4}, {0, 3}, {3, 0}}) {
    const std::int64_t t = sizes.first, s = sizes.second;
    INFO(t, " ", s);
    const Tensor q = normal({2, t, 4}, 1), k = normal({2, s, 4}, 2), v = normal({2, s, 3}, 3);
    const Tensor y = scaled_dot_product_attention(q, k, v, {.causal = true}).output;
    CHECK(y.shape() == Shape{2, t, 3});
    CHECK(same(y, scaled_dot_product_attention(q, k, v, {.attention_mask = upper_triangle(t, s)}).output));
  }
  // The last row of a causal attention over all positions is what one new query sees of them.
  const Tensor q = normal({1, 6, 4}, 1), k = normal({1, 6, 4}, 2);
  const Tensor all = scaled_dot_product_attention(q, k, k, {.causal = true}).output;
  CHECK(close(scaled_dot_product_attention(slice(q, 1, 5), k, k, {.causal = true}).output, Plain(slice(all, 1, 5))));
}

TEST_CASE("scaled_dot_product_attention: dropout and errors") {
  const Tensor q = normal({4, 20, 3}, 1), v = normal({4, 20, 20}, 2);
  Generator g(1), h(1);
  const AttentionResult a = scaled_dot_product_attention(q, q, v, {.dropout = 0.5, .generator = &g}, true);
  CHECK(close(a.output, Plain(scaled_dot_product_attention(q, q, v, {.dropout = 0.5, .generator = &h}).output)));
  CHECK(!same(a.output, scaled_dot_product_attention(q, q, v, {.dropout = 0.5, .generator = &g}).output));
  CHECK(same(a.weights, scaled_dot_product_attention(q, q, v, {}, true).weights));
  // With an identity for values the output is the dropped weights: each is gone or doubled.
  const Tensor identity = expand(eye(20, float64), {4, 20, 20});
  const AttentionResult seen = scaled_dot_product_attention(q, q, identity, {.dropout = 0.5, .generator = &g}, true);
  const Values kept = seen.output.to_vector<double>(), weights = seen.weights.to_vector<double>();
  std::size_t gone = 0;
  for (std::size_t i = 0; i < kept.size(); ++i) {
    if (kept[i] == 0)
      ++gone;
    else
      CHECK(kept[i] == doctest::Approx(2 * weights[i]).epsilon(1e-12));
  }
  CHECK(gone > kept.size() * 4 / 10);
  CHECK(gone < kept.size() * 6 / 10);

  // The least finite number as a bias hides no more than it says: all keys alike.
  const Tensor low = full({20, 20}, std::numeric_limits<double>::lowest(), float64);
  CHECK(close(scaled_dot_product_attention(q, q, v, {.bias = low}).output,
              Plain(scaled_dot_product_attention(q, q, v, {.bias = low}, true).output)));

  const std::string op = "scaled_dot_product_attention: ";
  CHECK(thrown([&] {
          scaled_dot_product_attention(q, normal({4, 20, 2}), v);
        }) == "ShapeError: " + op +
                  "q [4, 20, 3], k [4, 20, 2] and v [4, 20, 20] do not fit [..., t, d], [..., s, d], [..., s, v]");
  CHECK(thrown([&] { scaled_dot_product_attention(q, q, normal({4, 19, 3})); }).starts_with("ShapeError: " + op));
  CHECK(thrown([&] { scaled_dot_product_attention(q, q, to(v, float32)); }).starts_with("DTypeError: " + op));
  CHECK(thrown([&] {
          scaled_dot_product_attention(q, q, v, {.attention_mask = zeros({20, 20})});
        }).starts_with("DTypeError: " + op));
  CHECK(thrown([&] {
          scaled_dot_product_attention(q, q, v, {.attention_mask = zeros({20, 19}, boolean)});
        }) ==
        "ShapeError: " + op +
            "attention_mask [20, 19] does not broadcast to the scores [4, 20, 20] of q [4, 20, 3] and k [4, 20, 3]");
  CHECK(thrown([&] {
          scaled_dot_product_attention(q, q, v, {.bias = zeros({2, 4, 20, 20}, float64)});
        }) ==
        "ShapeError: " + op +
            "the bias [2, 4, 20, 20] does not broadcast to the scores [4, 20, 20] of q [4, 20, 3] and k [4, 20, 3]");
  CHECK(thrown([&] {
          scaled_dot_product_attention(q, q, normal({3, 20, 20}));
        }) == "ShapeError: " + op +
                  "the leading axes of v [3, 20, 20] do not broadcast with those of the scores [4, 20, 20] of q [4, "
                  "20, 3] and k [4, 20, 3]");
  CHECK(thrown([&] {
          scaled_dot_product_attention(q, q, v, {.bias = zeros({20, 20})});
        }).starts_with("DTypeError: " + op));
  CHECK(thrown([&] { scaled_dot_product_attention(q, q, v, {.dropout = 2}); }).starts_with("ValueError: "));
}

TEST_CASE("scaled_dot_product_attention: masks of three axes are refused for scores of four") {
  const Tensor x = zeros({2, 2, 3, 4});
  for (const Shape& shape : {Shape{2, 3, 3}, Shape{2, 1, 3}}) {
    CHECK(thrown([&] {
            scaled_dot_product_attention(x, x, x, {.attention_mask = zeros(shape, boolean)});
          }).find("is ambiguous for the scores [2, 2, 3, 3]") != std::string::npos);
    CHECK(thrown([&] { scaled_dot_product_attention(x, x, x, {.bias = zeros(shape)}); }).find("ambiguous") !=
          std::string::npos);
  }
  for (const Shape& shape : {Shape{3, 3}, Shape{1, 3, 3}, Shape{2, 1, 3, 3}, Shape{1, 2, 1, 3}, Shape{3}})
    CHECK_NOTHROW(scaled_dot_product_attention(x, x, x, {.attention_mask = zeros(shape, boolean)}));
  const Tensor y = zeros({2, 3, 4});  // scores [b, t, s]: nothing to take it for
  CHECK_NOTHROW(scaled_dot_product_attention(y, y, y, {.attention_mask = zeros({2, 3, 3}, boolean)}));
  CHECK(thrown([&] {
          scaled_dot_product_attention(x, x, x, {.attention_mask = zeros({3, 3})});
        }).find("attention_mask needs bool, got float32 [3, 3]") != std::string::npos);
}

TEST_CASE("scaled_dot_product_attention: grouped heads are repeated heads") {
  for (const std::int64_t n : {5, 130})
    for (const std::int64_t key_heads : {1, 2, 4, 8})
      for (const bool composed : {false, true})
        for (const double dropout : {0.0, 0.2}) {
          INFO(n, " ", key_heads, composed, dropout);
          const Tensors in{normal_leaf({2, 8, n, 4}, 1), normal_leaf({2, key_heads, n + 3, 4}, 2),
                           normal_leaf({2, key_heads, n + 3, 3}, 3), normal_leaf({1, 8, n, n + 3}, 4)};
          const Tensor mask = gt(normal({2, 1, n, n + 3}, 5), 0.5), dy = normal({2, 8, n, 3}, 6);
          const auto found = [&](const Tensor& k, const Tensor& v, bool grouped) {
            Generator g(1);
            const Tensor y = scaled_dot_product_attention(in[0], k, v,
                                                          {.attention_mask = mask,
                                                           .bias = in[3],
                                                           .causal = true,
                                                           .dropout = dropout,
                                                           .generator = &g,
                                                           .grouped_heads = grouped},
                                                          composed)
                                 .output;
            Tensors r = grad({y}, in, {.cotangents = {dy}});
            r.push_back(y.detach());
            return r;
          };
          const auto repeat = [&](const Tensor& x) {
            const Tensor each = expand(unsqueeze(x, 2), {2, key_heads, 8 / key_heads, x.size(2), x.size(3)});
            return flatten(each, 1, 2);
          };
          const Tensors grouped = found(in[1], in[2], true), repeated = found(repeat(in[1]), repeat(in[2]), false);
          for (std::size_t i = 0; i < grouped.size(); ++i) CHECK(close(grouped[i], Plain(repeated[i])));
        }
  const auto f = [](const Tensors& x) -> Tensors {
    return {scaled_dot_product_attention(x[0], x[1], x[2], {.causal = true, .grouped_heads = true}).output};
  };
  const Tensors in{normal_leaf({4, 3, 2}, 1), normal_leaf({2, 3, 2}, 2), normal_leaf({2, 3, 2}, 3)};
  CHECK(gradcheck(f, in) == "");
  CHECK(gradgradcheck(f, in) == "");
  CHECK(thrown([&] {
          scaled_dot_product_attention(zeros({6, 3, 2}), zeros({4, 3, 2}), zeros({4, 3, 2}), {.grouped_heads = true});
        }).find("with g dividing h") != std::string::npos);
}

TEST_CASE("scaled_dot_product_attention: heads side by side give the bits of heads each by itself") {
  const std::int64_t b = 2, heads = 6, key_heads = 3, t = 300, s = 340, d = 100, e = 120;
  const Tensor dy = normal({b, heads, t, e}, 4);
  for (const bool causal : {false, true})
    for (const auto& pattern : {AttentionPattern(), AttentionPattern::strided(40)}) {
      INFO(causal, " ", pattern.str());
      const auto run = [&](bool side_by_side) {
        const auto draw = [&](std::int64_t h, std::int64_t n, std::int64_t size, std::uint64_t seed) {
          Tensor x = normal({b, h, n, size}, seed);
          return (side_by_side ? permute(contiguous(permute(x, {0, 2, 1, 3})), {0, 2, 1, 3}) : x).requires_grad_();
        };
        Tensors all{draw(heads, t, d, 1), draw(key_heads, s, d, 2), draw(key_heads, s, e, 3)};
        CHECK(all[1].is_contiguous() != side_by_side);
        const AttentionOptions o{.causal = causal, .pattern = pattern, .grouped_heads = true};
        const Tensor y = scaled_dot_product_attention(all[0], all[1], all[2], o).output;
        all = grad({y}, all, {.cotangents = {dy}});
        all.push_back(y.detach());
        return all;
      };
      const Tensors found = run(true), expected = run(false);
      for (std::size_t i = 0; i < found.size(); ++i) CHECK(same(found[i], expected[i]));
    }
}
