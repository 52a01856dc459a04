// Attention: values by loops over queries and keys, masks of every kind, gradients, errors.

#include "tests/unit/nn_checks.h"

using namespace attune;
using namespace attune::tests;

namespace {

/// softmax over the visible keys of scores[i, j] = bias + scale q_i . k_j, for one matrix each. Rows that see nothing
/// are zeros.
struct Reference {
  Plain weights, output;
};
Reference attend(const Plain& q, const Plain& k, const Plain& v, double scale,
                 const std::function<bool(std::int64_t, std::int64_t)>& visible,
                 const std::function<double(std::int64_t, std::int64_t)>& bias) {
  const std::int64_t t = q.shape[0], s = k.shape[0], d = q.shape[1], e = v.shape[1];
  Reference r{Plain({t, s}), Plain({t, e})};
  for (std::int64_t i = 0; i < t; ++i) {
    double total = 0;
    for (std::int64_t j = 0; j < s; ++j) {
      double dot = 0;
      for (std::int64_t c = 0; c < d; ++c) dot += q[{i, c}] * k[{j, c}];
      r.weights[{i, j}] = visible(i, j) ? std::exp(scale * dot + bias(i, j)) : 0;
      total += r.weights[{i, j}];
    }
    for (std::int64_t j = 0; j < s; ++j) {
      if (total > 0) r.weights[{i, j}] /= total;
      for (std::int64_t c = 0; c < e; ++c) r.output[{i, c}] += r.weights[{i, j}] * v[{j, c}];
    }
  }
  return r;
}

Tensor upper_triangle(std::int64_t t, std::int64_t s) {
  Values v;
  for (std::int64_t i = 0; i < t; ++i)
    for (std::int64_t j = 0; j < s; ++j) v.push_back(j > i + s - t);
  return flags(v, {t, s});
}

}  // namespace

TEST_CASE("scaled_dot_product_attention: values") {
  const Tensor q = normal({2, 3, 4, 5}, 1), k = normal({2, 3, 6, 5}, 2), v = normal({2, 3, 6, 7}, 3);
  const Tensor mask = gt(normal({2, 1, 4, 6}, 4), 0.3), bias = normal({3, 1, 6}, 5);
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
              const Reference r = attend(
                  part(q), part(k), part(v), scale == 0 ? 1 / std::sqrt(5.0) : scale,
                  [&](std::int64_t i, std::int64_t j) {
                    return (!causal || j <= i + 2) && !(masked && m[{b, 0, i, j}] != 0);
                  },
                  [&](std::int64_t, std::int64_t j) {
                    return biased ? extra[{h, 0, j}] : 0.0;
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

namespace {

/// Multi-head attention from a state's matrices by the formula: heads are column blocks of the projections.
Reference multihead_reference(const nn::StateDict& w, std::int64_t heads, const Tensor& q, const Tensor& k,
                              const Tensor& v, const std::function<bool(std::int64_t, std::int64_t)>& visible) {
  const std::int64_t d = q.size(1), size = d / heads;
  const auto rows = [&](const Tensor& x, std::int64_t i) { return slice(x, 0, i * d, (i + 1) * d); };
  const auto project = [&](const Tensor& x, std::int64_t i) {
    return linear(x, rows(w.at("in_proj_weight"), i), rows(w.at("in_proj_bias"), i));
  };
  const Tensor pq = project(q, 0), pk = project(k, 1), pv = project(v, 2);
  Reference r{Plain({q.size(0), k.size(0)}), Plain({q.size(0), d})};
  Plain joined({q.size(0), d});
  for (std::int64_t h = 0; h < heads; ++h) {
    const auto part = [&](const Tensor& x) { return Plain(slice(x, 1, h * size, (h + 1) * size)); };
    const Reference one = attend(part(pq), part(pk), part(pv), 1 / std::sqrt(static_cast<double>(size)), visible,
                                 [](std::int64_t, std::int64_t) { return 0.0; });
    for (std::size_t i = 0; i < one.weights.v.size(); ++i)
      r.weights.v[i] += one.weights.v[i] / static_cast<double>(heads);
    for_indices(one.output.shape, [&](const Dims& at) { joined[{at[0], h * size + at[1]}] = one.output[at]; });
  }
  r.output = Plain(linear(tensor(joined.v, joined.shape, float64), w.at("out_proj.weight"), w.at("out_proj.bias")));
  return r;
}

/// Normal values everywhere, biases too.
void randomize(nn::Module& m) {
  m.to(float64);
  std::uint64_t seed = 90;
  for (Tensor& p : m.parameters()) {
    const NoGrad off;
    copy_(p, 0.5 * normal(p.shape(), seed++));
  }
}

}  // namespace

TEST_CASE("MultiheadAttention: values and masks") {
  nn::MultiheadAttention m(6, 3);
  randomize(m);
  const Tensor q = normal({2, 4, 6}, 1), kv = normal({2, 5, 6}, 2);
  const Tensor padding = flags({0, 0, 0, 1, 1, 0, 0, 0, 0, 1}, {2, 5}), mask = gt(normal({4, 5}, 3), 0.5);
  for (const bool causal : {false, true})
    for (const bool masked : {false, true})
      for (const bool padded : {false, true}) {
        const AttentionResult a = m(q, kv, kv,
                                    {.causal = causal,
                                     .key_padding_mask = padded ? padding : Tensor(),
                                     .attention_mask = masked ? mask : Tensor(),
                                     .need_weights = true});
        for (std::int64_t b = 0; b < 2; ++b) {
          const Plain p(padding), hidden(mask);
          const Reference r = multihead_reference(
              m.state_dict(), 3, select(q, 0, b), select(kv, 0, b), select(kv, 0, b),
              [&](std::int64_t i, std::int64_t j) {
                return (!causal || j <= i + 1) && !(padded && p[{b, j}] != 0) && !(masked && hidden[{i, j}] != 0);
              });
          CHECK(close(Plain(select(a.output, 0, b)), r.output));
          CHECK(close(Plain(select(a.weights, 0, b)), r.weights));
        }
      }
  const AttentionResult heads = m(q, kv, kv, {.need_weights = true, .average_weights = false});
  CHECK(heads.weights.shape() == Shape{2, 3, 4, 5});
  CHECK(same(mean(heads.weights, {1}), m(q, kv, kv, {.need_weights = true}).weights));
  CHECK(!m(q, kv, kv).weights.defined());

  const Tensor x = normal({2, 4, 6}, 7);
  CHECK(close(m(x).output, Plain(m(x, clone(x), clone(x)).output)));  // one joint product against three
  CHECK(same(m(x, {.causal = true}).output, m(x, {.attention_mask = upper_triangle(4, 4)}).output));
  const Tensor minus = masked_fill(zeros({4, 5}, float64), mask, -inf);
  CHECK(same(m(q, kv, kv, {.attention_mask = mask}).output, m(q, kv, kv, {.attention_bias = minus}).output));
}

TEST_CASE("MultiheadAttention: gradients") {
  nn::MultiheadAttention m(4, 2), bare(4, 2, {.bias = false}), mixed(4, 2, {.key_dim = 3, .value_dim = 5});
  for (nn::Module* each :
       {static_cast<nn::Module*>(&m), static_cast<nn::Module*>(&bare), static_cast<nn::Module*>(&mixed)})
    randomize(*each);
  // The first sentence is all padding: its outputs are the output's bias.
  const Tensor padding = flags({1, 1, 1, 0, 0, 1}, {2, 3});
  const auto self = [&](const Tensors& in) {
    const AttentionResult a =
        m(in[0], {.causal = true, .key_padding_mask = padding, .attention_bias = in[1], .need_weights = true});
    return Tensors{a.output, a.weights};
  };
  const Tensors inputs{normal_leaf({2, 3, 4}, 1), normal_leaf({2, 3, 3}, 2)};
  CHECK(check_gradients(m, self, inputs) == "");
  const Tensors ys = self(inputs);
  CHECK(same(select(ys[0], 0, 0).detach(), Plain(expand(m.state_dict().at("out_proj.bias"), {3, 4}))));
  const Tensor dx = grad({ys[0]}, {inputs[0]}, {.cotangents = {normal({2, 3, 4})}})[0];
  CHECK(same(select(dx, 0, 0), Plain({3, 4})));

  CHECK(check_gradients(bare, [&](const Tensors& in) { return Tensors{bare(in[0], in[1], in[1]).output}; },
                        {normal_leaf({1, 2, 4}, 1), normal_leaf({1, 3, 4}, 2)}) == "");
  CHECK(check_gradients(mixed, [&](const Tensors& in) { return Tensors{mixed(in[0], in[1], in[2]).output}; },
                        {normal_leaf({1, 2, 4}, 1), normal_leaf({1, 3, 3}, 2), normal_leaf({1, 3, 5}, 3)}) == "");
}

TEST_CASE("MultiheadAttention: names, modes, errors") {
  const auto names = [](nn::Module& m) {
    std::string all;
    for (const auto& [name, p] : m.state_dict()) all += name + p.shape().str() + " ";
    return all;
  };
  nn::MultiheadAttention m(4, 2), bare(4, 2, {.bias = false}), mixed(4, 2, {.key_dim = 3});
  CHECK(names(m) == "in_proj_bias[12] in_proj_weight[12, 4] out_proj.bias[4] out_proj.weight[4, 4] ");
  CHECK(names(bare) == "in_proj_weight[12, 4] out_proj.weight[4, 4] ");
  CHECK(names(mixed) ==
        "in_proj_bias[12] k_proj_weight[4, 3] out_proj.bias[4] out_proj.weight[4, 4] q_proj_weight[4, 4] "
        "v_proj_weight[4, 4] ");
  nn::MultiheadAttention extra(4, 2, {.bias = false, .bias_kv = true, .zero_attention = true});
  CHECK(names(extra) == "bias_k[1, 1, 4] bias_v[1, 1, 4] in_proj_weight[12, 4] out_proj.weight[4, 4] ");
  CHECK(extra(ones({2, 3, 4}), {.causal = true, .need_weights = true}).weights.shape() == Shape{2, 3, 5});

  Generator g(1), h(1);
  nn::MultiheadAttention random(4, 2, {.dropout = 0.5, .generator = &g}), twin(4, 2, {.dropout = 0.5, .generator = &h});
  twin.load_state_dict(random.state_dict());
  const Tensor x = to(normal({2, 8, 4}), float32);
  CHECK(same(random(x).output, twin(x).output));
  CHECK(!same(random(x).output, random(x).output));
  random.eval();
  CHECK(same(random(x).output, random(x).output));

  const std::string type = "ValueError: MultiheadAttention: ", op = "ShapeError: multihead_attention: ";
  CHECK(thrown([] { nn::MultiheadAttention(6, 4); }) == type + "heads = 4 does not divide d_model = 6");
  CHECK(thrown([] { nn::MultiheadAttention(0, 1); }) == type + "d_model = 0 must be at least 1");
  CHECK(thrown([] { nn::MultiheadAttention(4, 0); }) == type + "heads = 0 must be at least 1");
  CHECK(thrown([] { nn::MultiheadAttention(4, 2, {.dropout = -1}); }) == type + "dropout = -1.000000 is not in [0, 1]");
  CHECK(thrown([] { nn::MultiheadAttention(4, 2, {.key_dim = -1}); }) == type + "key_dim = -1 must be at least 0");
  CHECK(thrown([&] {
          m(zeros({2, 3, 5}));
        }) == op + "query [2, 3, 5], key [2, 3, 5] and value [2, 3, 5] do not fit [b, t, 4], [b, s, ..], [b, s, ..]");
  CHECK(thrown([&] { m(zeros({3, 4})); }).starts_with(op));
  CHECK(thrown([&] { m(zeros({2, 3, 4}), zeros({1, 3, 4}), zeros({1, 3, 4})); }).starts_with(op));
  CHECK(thrown([&] {
          m(x, {.key_padding_mask = zeros({2, 7}, boolean)});
        }) == op + "key_padding_mask [2, 7] must be [2, 8]");
  // With keys added, too, a mask is for those that were given.
  for (const nn::MultiheadAttention* each : {&m, &extra}) {
    const Tensor q = zeros({2, 3, 4}), k = zeros({2, 5, 4});
    CHECK(thrown([&] {
            (*each)(q, k, k, {.attention_mask = zeros({3, 6}, boolean)});
          }) == op + "attention_mask [3, 6] does not broadcast to the scores [2, 2, 3, 5] of query [2, 3, 4] and key "
                     "[2, 5, 4]");
    CHECK(thrown([&] {
            (*each)(q, k, k, {.causal = true, .attention_bias = zeros({2, 5})});
          }).starts_with(op + "attention_bias [2, 5] does not broadcast to the scores [2, 2, 3, 5]"));
    CHECK(thrown([&] {
            (*each)(q, k, k, {.attention_mask = zeros({3, 5})});
          }) == "DTypeError: multihead_attention: needs bool, got float32 [3, 5]");
    CHECK(thrown([&] {
            (*each)(q, k, k, {.attention_bias = zeros({3, 5}, boolean)});
          }) == "DTypeError: multihead_attention: dtypes differ: bool [3, 5] and float32 [2, 3, 4]");
    CHECK(same((*each)(q, k, k, {.attention_mask = zeros({}, boolean)}).output, (*each)(q, k, k).output));
  }
  CHECK(thrown([&] { m(x, {.key_padding_mask = zeros({2, 8})}); }).starts_with("DTypeError: multihead_attention: "));
  CHECK(m(zeros({0, 3, 4})).output.shape() == Shape{0, 3, 4});
  CHECK(m(zeros({2, 0, 4})).output.shape() == Shape{2, 0, 4});
}

TEST_CASE("AdditiveAttention") {
  nn::AdditiveAttention m(3, 4, 5);
  randomize(m);
  const Tensor queries = normal({2, 3, 3}, 1), keys = normal({2, 6, 4}, 2);
  const Tensor padding = flags({0, 0, 0, 0, 1, 1, 0, 1, 0, 0, 0, 0}, {2, 6});
  for (const bool masked : {false, true}) {
    const nn::AdditiveResult r = m(queries, keys, {}, masked ? padding : Tensor());
    const Plain q(queries), k(keys), w(m.query_weight), u(m.key_weight), v(m.score_weight), hidden(padding);
    Plain weights({2, 3, 6}), context({2, 3, 4});
    for (std::int64_t b = 0; b < 2; ++b)
      for (std::int64_t t = 0; t < 3; ++t) {
        double total = 0;
        for (std::int64_t j = 0; j < 6; ++j) {
          double e = 0;
          for (std::int64_t c = 0; c < 5; ++c) {
            double z = 0;
            for (std::int64_t i = 0; i < 3; ++i) z += w[{c, i}] * q[{b, t, i}];
            for (std::int64_t i = 0; i < 4; ++i) z += u[{c, i}] * k[{b, j, i}];
            e += v[{c}] * std::tanh(z);
          }
          weights[{b, t, j}] = masked && hidden[{b, j}] != 0 ? 0 : std::exp(e);
          total += weights[{b, t, j}];
        }
        for (std::int64_t j = 0; j < 6; ++j) {
          weights[{b, t, j}] /= total;
          for (std::int64_t i = 0; i < 4; ++i) context[{b, t, i}] += weights[{b, t, j}] * k[{b, j, i}];
        }
      }
    CHECK(close(r.weights, weights));
    CHECK(close(r.context, context));
    const nn::AdditiveResult again = m(queries, keys, m.precompute(keys), masked ? padding : Tensor());
    CHECK(same(again.context, r.context.detach()));
    const nn::AdditiveResult one = m(select(queries, 1, 1), keys, {}, masked ? padding : Tensor());
    CHECK(close(one.context, Plain(select(r.context, 1, 1))));
    CHECK(close(one.weights, Plain(select(r.weights, 1, 1))));
  }
  // A sentence of padding alone: zeros, and zero gradients.
  const Tensor padding_alone = flags({1, 1, 1, 0, 1, 0}, {2, 3});
  const auto f = [&](const Tensors& in) {
    const nn::AdditiveResult r = m(in[0], in[1], m.precompute(in[1]), padding_alone);
    return Tensors{r.context, r.weights};
  };
  const Tensors inputs{normal_leaf({2, 2, 3}, 3), normal_leaf({2, 3, 4}, 4)};
  CHECK(check_gradients(m, f, inputs) == "");
  const Tensors ys = f(inputs);
  CHECK(same(select(ys[0], 0, 0).detach(), Plain({2, 4})));
  const Tensors gs = grad({ys[0]}, inputs, {.cotangents = {normal({2, 2, 4})}});
  CHECK(same(select(gs[0], 0, 0), Plain({2, 3})));
  CHECK(same(select(gs[1], 0, 0), Plain({3, 4})));
  CHECK(amax(abs(select(gs[1], 0, 1))).item() > 0);

  // As it starts, attention is uniform, and still learns: the gradient of v is not zero.
  nn::AdditiveAttention fresh(3, 4, 5);
  fresh.to(float64);
  const nn::AdditiveResult start = fresh(queries, keys);
  CHECK(close(start.weights, Plain({2, 3, 6}, 1.0 / 6)));
  sum(square(start.context)).backward();
  CHECK(amax(abs(fresh.score_weight.grad())).item() > 0);

  CHECK(thrown([] { nn::AdditiveAttention(0, 4, 5); }) ==
        "ValueError: AdditiveAttention: query_dim = 0 must be at least 1");
  CHECK(thrown([] { nn::AdditiveAttention(3, -4, 5); }) ==
        "ValueError: AdditiveAttention: key_dim = -4 must be at least 1");
  CHECK(thrown([] { nn::AdditiveAttention(3, 4, 0); }) ==
        "ValueError: AdditiveAttention: hidden = 0 must be at least 1");
  CHECK(thrown([&] {
          m(normal({3, 3}), keys);
        }) ==
        "ShapeError: additive_attention: query [3, 3] and keys [2, 6, 4] do not fit [b, q] or [b, t, q] and [b, n, k]");
  CHECK(thrown([&] {
          m(queries, keys, {}, flags({1, 1}, {2, 1}));
        }) == "ShapeError: additive_attention: key_padding_mask [2, 1] does not fit the keys [2, 6, 4]");
  CHECK(thrown([&] { m(queries, keys, keys); }) ==
        "ShapeError: additive_attention: precomputed [2, 6, 4] must be [2, 6, 5]");
  CHECK(thrown([&] { m(queries, keys, {}, zeros({2, 6})); }).starts_with("DTypeError: additive_attention: "));
}
