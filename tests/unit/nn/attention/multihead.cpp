// Multi-head attention: values, masks, gradients, names, modes, errors.

#include "tests/unit/attention_checks.h"

using namespace attune;
using namespace attune::tests;

namespace {

/// Multi-head attention from a state's matrices by the formula: heads are column blocks of the projections.
PlainAttention multihead_reference(const nn::StateDict& w, std::int64_t heads, const Tensor& q, const Tensor& k,
                                   const Tensor& v, const std::function<bool(std::int64_t, std::int64_t)>& visible) {
  const std::int64_t d = q.size(1), size = d / heads;
  const auto rows = [&](const Tensor& x, std::int64_t i) { return slice(x, 0, i * d, (i + 1) * d); };
  const auto project = [&](const Tensor& x, std::int64_t i) {
    return linear(x, rows(w.at("in_proj_weight"), i), rows(w.at("in_proj_bias"), i));
  };
  const Tensor pq = project(q, 0), pk = project(k, 1), pv = project(v, 2);
  PlainAttention r{Plain({q.size(0), k.size(0)}), Plain({q.size(0), d})};
  Plain joined({q.size(0), d});
  for (std::int64_t h = 0; h < heads; ++h) {
    const auto part = [&](const Tensor& x) { return Plain(slice(x, 1, h * size, (h + 1) * size)); };
    const PlainAttention one = attend(part(pq), part(pk), part(pv), 1 / std::sqrt(static_cast<double>(size)), visible,
                                      [](std::int64_t, std::int64_t) { return 0.0; });
    for (std::size_t i = 0; i < one.weights.v.size(); ++i)
      r.weights.v[i] += one.weights.v[i] / static_cast<double>(heads);
    for_indices(one.output.shape, [&](const Dims& at) { joined[{at[0], h * size + at[1]}] = one.output[at]; });
  }
  r.output = Plain(linear(tensor(joined.v, joined.shape, float64), w.at("out_proj.weight"), w.at("out_proj.bias")));
  return r;
}

}  // namespace

TEST_CASE("attention in heads: each head by itself") {
  const Tensor q = normal({2, 3, 6}, 1), k = normal({2, 4, 6}, 2), v = normal({2, 4, 4}, 3);
  const AttentionResult all = nn::multihead_attention(q, k, v, 2, {.causal = true}, true);
  CHECK(all.output.shape() == Shape{2, 3, 4});
  CHECK(all.weights.shape() == Shape{2, 2, 3, 4});
  for (std::int64_t h = 0; h < 2; ++h) {
    const AttentionResult one =
        scaled_dot_product_attention(slice(q, 2, 3 * h, 3 * h + 3), slice(k, 2, 3 * h, 3 * h + 3),
                                     slice(v, 2, 2 * h, 2 * h + 2), {.causal = true}, true);
    CHECK(close(slice(all.output, 2, 2 * h, 2 * h + 2), Plain(one.output), 1e-14));
    CHECK(close(select(all.weights, 1, h), Plain(one.weights), 1e-14));
  }
  CHECK(thrown([&] {
          nn::multihead_attention(q, k, zeros({2, 4, 5}, float64), 2);
        }) == "ShapeError: multihead_attention: [2, 4, 5] must be [b, n, 2 d]");
  CHECK(thrown([&] { nn::multihead_attention(select(q, 0, 0), k, v, 2); }) ==
        "ShapeError: multihead_attention: [3, 6] must be [b, n, 2 d]");
}

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
          const PlainAttention r = multihead_reference(
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
          }) == "DTypeError: multihead_attention: attention_mask needs bool, got float32 [3, 5]");
    CHECK(thrown([&] {
            (*each)(q, k, k, {.attention_bias = zeros({3, 5}, boolean)});
          }) == "DTypeError: multihead_attention: dtypes differ: bool [3, 5] and float32 [2, 3, 4]");
    CHECK(same((*each)(q, k, k, {.attention_mask = zeros({}, boolean)}).output, (*each)(q, k, k).output));
  }
  CHECK(thrown([&] { m(x, {.key_padding_mask = zeros({2, 8})}); }).starts_with("DTypeError: multihead_attention: "));
  CHECK(m(zeros({0, 3, 4})).output.shape() == Shape{0, 3, 4});
  CHECK(m(zeros({2, 0, 4})).output.shape() == Shape{2, 0, 4});
}

TEST_CASE("MultiheadAttention: three axes of a mask are [b, t, s], even if b is the number of heads") {
  nn::MultiheadAttention m(8, 2);
  randomize(m);
  m.to(float64);
  const Tensor x = normal({2, 3, 8}, 1);
  const Tensor mask = flags({0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 1, 0, 1, 0, 1, 0, 0}, {2, 3, 3});
  const Tensor bias = normal({2, 3, 3}, 2);
  const Tensor y = m(x, {.attention_mask = mask, .attention_bias = bias}).output;
  CHECK(same(y.detach(),
             m(x, {.attention_mask = unsqueeze(mask, 1), .attention_bias = unsqueeze(bias, 1)}).output.detach()));
  for (std::int64_t b = 0; b < 2; ++b) {  // each example alone
    const nn::MultiheadCall call{.attention_mask = select(mask, 0, b), .attention_bias = select(bias, 0, b)};
    CHECK(close(slice(y, 0, b, b + 1).detach(), Plain(m(slice(x, 0, b, b + 1), call).output.detach())));
  }
  // One a head is never three axes.
  const Tensor four = normal({4, 3, 8}, 1);
  CHECK(thrown([&] { m(four, {.attention_mask = mask}); }).find("three axes are [b, t, s]") != std::string::npos);
  CHECK_NOTHROW(m(four, {.attention_mask = unsqueeze(mask, 0)}));
  CHECK(thrown([&] { m(x, {.attention_mask = to(mask, float64)}); }).find("attention_mask needs bool, got float64") !=
        std::string::npos);
  CHECK(thrown([&] {
          m(x, {.key_padding_mask = zeros({2, 3}, int64)});
        }).find("key_padding_mask needs bool") != std::string::npos);
}

TEST_CASE("MultiheadAttention: what padding holds reaches no parameter") {
  for (const bool weights : {false, true}) {
    nn::MultiheadAttention m(8, 2);
    randomize(m);
    const Tensor padding = flags({0, 0, 0, 1, 0, 1, 1, 0}, {2, 4});
    const auto find = [&](double what) {
      const Tensor x = masked_fill(normal({2, 4, 8}, 1), unsqueeze(padding, 2), what).requires_grad_();
      const Tensor y = m(x, {.key_padding_mask = padding, .need_weights = weights}).output;
      Tensors in{x};
      for (const Tensor& p : m.parameters()) in.push_back(p);
      return grad({sum(square(where(unsqueeze(padding, 2), 0, y)))}, in);
    };
    const Tensors clean = find(0), found = find(not_a_number);
    for (std::size_t i = 0; i < clean.size(); ++i) CHECK(close(found[i], Plain(clean[i])));
  }
}

TEST_CASE("multihead_attention: grouped heads") {
  const Tensor q = normal({2, 3, 8}, 1), k = normal({2, 4, 4}, 2), v = normal({2, 4, 6}, 3);  // 4 heads over 2
  const Tensor y = nn::multihead_attention(q, k, v, 4, {.grouped_heads = true}).output;
  const auto repeat = [](const Tensor& x, std::int64_t d) {
    return reshape(expand(reshape(x, {2, 4, 2, 1, d}), {2, 4, 2, 2, d}), {2, 4, 4 * d});
  };
  CHECK(close(y, Plain(nn::multihead_attention(q, repeat(k, 2), repeat(v, 3), 4).output)));
  CHECK(thrown([&] {
          nn::multihead_attention(q, normal({2, 4, 6}, 2), v, 4, {.grouped_heads = true});
        }).find("g dividing the 4 heads") != std::string::npos);
}

TEST_CASE("multihead: grouped queries share a key and value head") {
  nn::MultiheadAttention grouped(16, 8, {.key_heads = 2}), whole(16, 8);
  randomize(grouped);
  whole.to(float64);
  CHECK(grouped.state_dict().at("in_proj_weight").shape() == Shape{16 + 2 * 4, 16});
  // The same attention with each key head written out four times.
  nn::StateDict state = grouped.state_dict();
  for (const char* name : {"in_proj_weight", "in_proj_bias"}) {
    const Tensor w = state.at(name);
    const auto spread = [&](std::int64_t from) {
      Shape rows = w.shape(), all = w.shape();
      rows[0] = 2, all[0] = 16;
      const Tensor part = slice(w, 0, from, from + 4);
      return reshape(repeat_interleave(reshape(part, {2, 2, -1}), 4, 0), all);
    };
    state[name] = cat({slice(w, 0, 0, 16), spread(16), spread(20)}, 0);
  }
  whole.load_state_dict(state);
  const Tensor x = normal({2, 5, 16}), y = normal({2, 7, 16}, 2);
  for (const bool causal : {false, true}) {
    const nn::MultiheadCall call{.causal = causal, .need_weights = true, .average_weights = false};
    const AttentionResult a = grouped(x, call), b = whole(x, call);
    CHECK(close(a.output.detach(), Plain(b.output.detach()), 1e-12));
    CHECK(a.weights.shape() == Shape{2, 8, 5, 5});
    CHECK(close(a.weights.detach(), Plain(b.weights.detach()), 1e-12));
  }
  CHECK(close(grouped(x, y, y).output.detach(), Plain(whole(x, y, y).output.detach()), 1e-12));
  nn::MultiheadAttention small(4, 4, {.key_dim = 3, .key_heads = 1, .bias_kv = true, .zero_attention = true});
  randomize(small);
  CHECK(check_gradients(small, [&](const Tensors& in) { return Tensors{small(in[0], in[1], in[0]).output}; },
                        {normal_leaf({1, 2, 4}), normal_leaf({1, 2, 3}, 2)}) == "");
}

TEST_CASE("MultiheadAttention: a pattern is its mask, with keys that no mask hides too") {
  const Tensor x = normal({2, 9, 6}, 1), dy = normal({2, 9, 6}, 2);
  const auto pattern = AttentionPattern::band(3) & AttentionPattern::padding(flags({0, 0, 1, 0, 0, 0, 1, 1, 0}, {9}));
  for (const bool more_keys : {false, true}) {
    nn::MultiheadAttention m(6, 3, {.bias_kv = more_keys, .zero_attention = more_keys});
    randomize(m);
    const auto run = [&](const nn::MultiheadCall& call) {
      m.zero_grad();
      const Tensor y = m(x, call).output;
      y.backward({.gradient = dy});
      Tensors all{y.detach()};
      for (const Tensor& p : m.parameters()) all.push_back(p.grad());
      return all;
    };
    const Tensors found = run({.pattern = pattern}), expected = run({.attention_mask = pattern.mask(9, 9)});
    for (std::size_t i = 0; i < found.size(); ++i) CHECK(close(found[i], Plain(expected[i]), 1e-12));
  }
  nn::MultiheadAttention m(6, 3);
  CHECK(thrown([&] {
          m(zeros({2, 8, 6}), {.pattern = pattern});
        }) == "ShapeError: multihead_attention: the pattern `band(3) & padding` is for 9 tokens, not for 8 keys");
}
