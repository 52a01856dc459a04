// Additive attention by its formula.

#include "tests/unit/nn_checks.h"

using namespace attune;
using namespace attune::tests;

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
        }) == "ShapeError: additive_attention: key_padding_mask [2, 1] must be [2, 6]");
  CHECK(thrown([&] { m(queries, keys, keys); }) ==
        "ShapeError: additive_attention: precomputed [2, 6, 4] must be [2, 6, 5]");
  CHECK(thrown([&] { m(queries, keys, {}, zeros({2, 6})); }).starts_with("DTypeError: additive_attention: "));
}

TEST_CASE("AdditiveAttention: what hidden keys hold has no influence") {
  nn::AdditiveAttention m(3, 4, 5);
  randomize(m);
  const Tensor padding = flags({0, 0, 1, 0, 1, 0}, {2, 3});
  for (const bool ahead : {false, true}) {
    const auto find = [&](double what) {
      const Tensor keys = masked_fill(normal({2, 3, 4}, 1), unsqueeze(padding, 2), what).requires_grad_();
      const Tensor query = normal_leaf({2, 2, 3}, 2);
      const nn::AdditiveResult r = m(query, keys, ahead ? m.precompute(keys) : Tensor(), padding);
      return grad({sum(square(r.context)), sum(square(r.weights))},
                  {keys, query, m.query_weight, m.key_weight, m.score_weight});
    };
    const Tensors clean = find(0);
    for (const double what : {not_a_number, inf}) {
      const Tensors found = find(what);
      for (std::size_t i = 0; i < clean.size(); ++i) CHECK(close(found[i], Plain(clean[i])));
    }
  }
}
