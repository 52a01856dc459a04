// Performers: the rate at which they converge, orthogonal features, stabilisers, masks, the recurrence, errors.

#include "tests/unit/nn_checks.h"

using namespace attune;
using namespace attune::tests;

namespace {

double root_mean_square(const Tensor& x) { return std::sqrt(mean(square(x)).item()); }

nn::PerformerOptions exact_in_the_mean(std::int64_t features, bool causal = false) {
  return {.features = features, .causal = causal, .softmax_epsilon = 0};
}

}  // namespace

TEST_CASE("PerformerAttention: the error falls as the root of the number of features") {
  const Tensor q = 0.5 * normal({1, 40, 2, 8}, 1), k = 0.5 * normal({1, 40, 2, 8}, 2), v = normal({1, 40, 2, 4}, 3);
  for (const bool causal : {false, true}) {
    const auto in_heads = [](const Tensor& x) { return permute(x, {0, 2, 1, 3}); };
    const Tensor exact =
        in_heads(scaled_dot_product_attention(in_heads(q), in_heads(k), in_heads(v), {.causal = causal}).output);
    std::vector<double> logs_of_features, logs_of_errors;
    for (const std::int64_t features : {32, 128, 512, 2048}) {
      nn::PerformerAttention m(8, exact_in_the_mean(features, causal));
      m.to(float64);
      double squares = 0;
      Generator g(11);
      constexpr int draws = 24;
      for (int i = 0; i < draws; ++i) {
        m.redraw(g);
        squares += std::pow(root_mean_square(m(q, k, v) - exact), 2) / draws;
      }
      logs_of_features.push_back(std::log(static_cast<double>(features)));
      logs_of_errors.push_back(0.5 * std::log(squares));
    }
    double sx = 0, sy = 0, sxx = 0, sxy = 0;
    for (std::size_t i = 0; i < 4; ++i) {
      sx += logs_of_features[i], sy += logs_of_errors[i];
      sxx += logs_of_features[i] * logs_of_features[i], sxy += logs_of_features[i] * logs_of_errors[i];
    }
    const double power = (4 * sxy - sx * sy) / (4 * sxx - sx * sx);
    INFO(power);
    CHECK(power < -0.42);
    CHECK(power > -0.6);
    CHECK(std::exp(logs_of_errors.back()) < 0.05 * root_mean_square(exact));
  }
}

TEST_CASE("orthogonal_features: blocks of orthogonal rows with the norms asked for") {
  Generator g(5);
  const Tensor w = nn::orthogonal_features(20, 8, nn::FeatureNorms::sqrt_dim, float64, g);
  for (const auto& [from, to] : {std::pair{0, 8}, {8, 16}, {16, 20}}) {
    const Tensor rows = slice(w, 0, from, to);
    CHECK(close(matmul(rows, transpose(rows)), Plain(8 * eye(to - from, float64)), 1e-12));
  }
  const Tensor many = nn::orthogonal_features(4000, 8, nn::FeatureNorms::gaussian, float64, g);
  const Tensor squares = sum(square(many), {1});
  CHECK(mean(squares).item() == doctest::Approx(8).epsilon(0.03));  // chi-squared of 8 degrees of freedom
  CHECK(var(squares).item() == doctest::Approx(16).epsilon(0.1));
  CHECK(std::abs(mean(many).item()) < 0.02);
  CHECK(thrown([] { nn::orthogonal_features(0, 8); }) == "ValueError: orthogonal_features: f = 0 must be at least 1");
}

TEST_CASE("orthogonal_features: too many are refused before they are drawn") {
  const std::uint64_t drawn = default_generator().state().counter;
  constexpr std::int64_t most = 16 << 20;
  set_memory_budget(memory_stats().live_bytes + most);
  for (const std::int64_t features : {std::int64_t{most / 4}, std::int64_t{1} << 40}) {
    CHECK(refusal<MemoryError>([&] {
            nn::PerformerAttention m(4, {.features = features});
          }).starts_with("orthogonal_features: memory: "));
    CHECK(default_generator().state().counter == drawn);
  }
  set_memory_budget(0);
  CHECK(thrown([&] { nn::PerformerAttention m(4, {.features = std::int64_t{1} << 62}); }) ==
        "ShapeError: orthogonal_features: shape: the number of elements of [4611686018427387904, 4] overflows 64 bits");
  CHECK(thrown([] { nn::PerformerAttention m(std::int64_t{1} << 60); }).starts_with("ShapeError: orthogonal_features"));
}

TEST_CASE("PerformerAttention: large vectors neither overflow nor lose everything") {
  for (const double scale : {30.0, 300.0}) {
    nn::PerformerAttention m(8, {.features = 64, .causal = true});
    const Tensor q = to(scale * normal({1, 20, 2, 8}, 1), float32), k = to(scale * normal({1, 20, 2, 8}, 2), float32),
                 v = to(normal({1, 20, 2, 4}, 3), float32);
    Tensors xs{q, k, v};
    for (Tensor& x : xs) x.requires_grad_();
    const Tensor y = m(xs[0], xs[1], xs[2]);
    CHECK(all(eq(y - y, 0)));
    for (const Tensor& d : grad({sum(y)}, xs)) CHECK(all(eq(d - d, 0)));
  }
}

TEST_CASE("PerformerAttention: without an epsilon long vectors keep float32's accuracy") {
  for (const double scale : {2.0, 4.0, 6.0})
    for (const bool causal : {false, true}) {
      nn::PerformerAttention m(64, exact_in_the_mean(256, causal));
      Tensors xs{to(scale * normal({1, 200, 2, 64}, 1), float32), to(scale * normal({1, 200, 2, 64}, 2), float32),
                 to(normal({1, 200, 2, 8}, 3), float32)};
      for (Tensor& x : xs) x.requires_grad_();
      const Tensor y = m(xs[0], xs[1], xs[2]);
      for (const Tensor& d : grad({sum(y)}, xs)) CHECK(all(eq(d - d, 0)));
      if (causal) {
        nn::PerformerState state;
        m.step(slice(xs[0], 1, 0, 150), slice(xs[1], 1, 0, 150), slice(xs[2], 1, 0, 150), state);
        const Tensor last = m.step(slice(xs[0], 1, 150), slice(xs[1], 1, 150), slice(xs[2], 1, 150), state);
        CHECK(amax(abs(select(last, 1, -1) - select(y, 1, -1))).item() < 1e-4);
      }
      m.to(float64);
      const Tensor exact = m(to(xs[0], float64), to(xs[1], float64), to(xs[2], float64));
      CHECK(amax(abs(to(y, float64) - exact)).item() < 1e-3);
    }
}

TEST_CASE("PerformerAttention: gradients, with the maxima as constants, and none from the future") {
  for (const auto kernel : {nn::PerformerKernel::softmax, nn::PerformerKernel::generalized})
    for (const bool causal : {false, true}) {
      nn::PerformerAttention m(
          3, {.features = 5, .kernel = kernel, .activation = Activation::gelu, .causal = causal, .softmax_epsilon = 0});
      CHECK(check_gradients(
                m, [&](const Tensors& x) { return Tensors{m(x[0], x[1], x[2])}; },
                {normal_leaf({1, 4, 1, 3}, 4), normal_leaf({1, 4, 1, 3}, 5), normal_leaf({1, 4, 1, 2}, 6)},
                kernel == nn::PerformerKernel::generalized) == "");
      if (!causal) continue;
      for (const double epsilon : {0.0, 1e-4}) {
        m.options.softmax_epsilon = epsilon;
        Tensors xs{normal_leaf({1, 80, 1, 3}, 4), normal_leaf({1, 80, 1, 3}, 5), normal_leaf({1, 80, 1, 2}, 6)};
        for (const Tensor& d : grad({sum(slice(m(xs[0], xs[1], xs[2]), 1, 0, 30))}, xs)) {
          CHECK(same(slice(d, 1, 30), zeros_like(slice(d, 1, 30))));
          CHECK(!same(slice(d, 1, 0, 30), zeros_like(slice(d, 1, 0, 30))));
        }
      }
    }
}

TEST_CASE("PerformerAttention: later keys change earlier values through an epsilon, and not without one") {
  Generator g(1);
  const auto drawn = [&](std::int64_t n) { return randn({1, n, 4, 16}, float32, g); };
  const Tensor q = drawn(512), k = drawn(512), v = drawn(512), others = cat({slice(k, 1, 0, 256), drawn(256)}, 1);
  const auto change = [&](double epsilon) {
    Generator features(9);
    nn::PerformerAttention m(16, {.features = 64, .causal = true, .softmax_epsilon = epsilon});
    m.redraw(features);
    const Tensor y = slice(m(q, k, v), 1, 0, 256);
    return root_mean_square(y - slice(m(q, others, v), 1, 0, 256)) / root_mean_square(y);
  };
  CHECK(change(1e-4) > 0.02);
  CHECK(change(0) < 1e-5);
}

TEST_CASE("PerformerAttention: the published maximum wherever an epsilon tells it from another") {
  const Tensor q = normal({1, 9, 1, 4}, 1), k = 3 * normal({1, 9, 1, 4}, 2), v = normal({1, 9, 1, 3}, 3);
  for (const bool causal : {false, true}) {
    nn::PerformerOptions o = nn::PerformerOptions::lucidrains();
    o.features = 6;
    o.causal = causal;
    o.softmax_epsilon = 0;
    o.causal_epsilon = 1e-2;
    nn::PerformerAttention m(4, o);
    m.to(float64);
    const auto exponents = [&](const Tensor& x, const Dims& over) {
      const Tensor along = matmul(reshape(x, {9, 4}) * std::pow(4.0, -0.25), transpose(m.projection_matrix.tensor()));
      return exp(along - sum(square(reshape(x, {9, 4})), {1}, true) / 4 - amax(along, over, true)) / std::sqrt(6.0);
    };
    const Tensor queries = exponents(q, {1}), keys = exponents(k, {0, 1});
    Tensor weights = matmul(queries, transpose(keys));
    if (causal) weights = tril(weights);
    const Tensor added = causal ? 1e-2 * sum(queries, {1}, true) : zeros({9, 1}, float64);
    const Tensor y = matmul(weights, reshape(v, {9, 3})) / (sum(weights, {1}, true) + added);
    CHECK(close(reshape(m(q, k, v), {9, 3}), Plain(y), 1e-12));
    if (!causal) continue;
    nn::PerformerState state;
    m.step(slice(q, 1, 0, 5), slice(k, 1, 0, 5), slice(v, 1, 0, 5), state);
    const Tensor last = m.step(slice(q, 1, 5), slice(k, 1, 5), slice(v, 1, 5), state);
    CHECK(close(select(reshape(last, {4, 3}), 0, -1), Plain(select(y, 0, -1)), 1e-12));
  }
}

TEST_CASE("PerformerAttention: masks") {
  const Tensor q = normal({2, 4, 2, 3}, 1), k = normal({2, 5, 2, 3}, 2), v = normal({2, 5, 2, 3}, 3);
  const Tensor hidden = flags({0, 0, 0, 1, 1, 0, 0, 0, 1, 1}, {2, 5}), at = reshape(hidden, {2, 5, 1, 1});
  nn::PerformerAttention m(3, {.features = 6});
  m.to(float64);
  const auto part = [](const Tensor& x) { return slice(x, 1, 0, 3); };
  // Hidden keys are as if they were not there, whatever they hold.
  CHECK(close(m(q, masked_fill(k, at, not_a_number), masked_fill(v, at, inf), hidden), Plain(m(q, part(k), part(v))),
              1e-13));
  m.options.mask_values_only = true;
  CHECK(close(m(q, k, v, hidden), Plain(m(q, k, masked_fill(v, at, 0))), 1e-13));
  CHECK(!close(m(q, k, v, hidden), Plain(m(q, part(k), part(v))), 1e-3));
}

TEST_CASE("PerformerAttention: the recurrence gives the last output of a full pass") {
  const std::int64_t n = 12;
  const Tensor q = normal({2, n, 2, 3}, 1), k = 2 * normal({2, n, 2, 3}, 2), v = normal({2, n, 2, 4}, 3);
  for (const auto kernel : {nn::PerformerKernel::softmax, nn::PerformerKernel::generalized})
    for (const std::int64_t prompt : {1, 4}) {
      nn::PerformerOptions o{.features = 7, .kernel = kernel, .causal = true, .softmax_epsilon = 1e-2};
      o.causal_epsilon = 1e-3;
      nn::PerformerAttention m(3, o);
      m.to(float64);
      nn::PerformerState state;
      for (std::int64_t at = 0; at < n;) {
        const std::int64_t to = at == 0 ? prompt : at + 1;
        const auto part = [&](const Tensor& x, std::int64_t from) { return slice(x, 1, from, to); };
        const Tensor y = m.step(part(q, at), part(k, at), part(v, at), state);
        const Tensor full = m(part(q, 0), part(k, 0), part(v, 0));
        CHECK(close(slice(y, 1, -1), Plain(slice(full, 1, -1)), 1e-12));
        at = to;
      }
      CHECK(state.length == n);
      state.reorder(tensor({1}, {1}, int64));
      const auto row = [](const Tensor& x) { return slice(x, 0, 1); };
      const auto more = [&](const Tensor& x) { return cat({row(x), slice(row(x), 1, 0, 1)}, 1); };
      const Tensor y = m.step(slice(row(q), 1, 0, 1), slice(row(k), 1, 0, 1), slice(row(v), 1, 0, 1), state);
      CHECK(close(y, Plain(slice(m(more(q), more(k), more(v)), 1, -1)), 1e-12));
    }
}

TEST_CASE("PerformerAttention: redrawing") {
  nn::TransformerEncoder m(2, 8, 2, {.d_ff = 8, .dropout = 0, .mechanism = nn::PerformerOptions{.features = 6}});
  const auto before = m.state_dict();
  CHECK(nn::redraw_features(m) == 2);
  const auto after = m.state_dict();
  for (const auto& [name, x] : before) CHECK(same(x, after.at(name)) == !name.ends_with("projection_matrix"));
}

TEST_CASE("PerformerAttention: errors") {
  CHECK(thrown([] { nn::PerformerAttention m(0); }) ==
        "ValueError: PerformerAttention: head_dim = 0 must be at least 1");
  CHECK(thrown([] { nn::PerformerAttention m(4, {.features = -3}); }) ==
        "ValueError: PerformerAttention: features = -3 must be at least 0");
  nn::PerformerAttention m(4);
  CHECK(m.projection_matrix.shape() == Shape{5, 4});  // 4 ln 4 = 5.5
  CHECK(thrown([&] {
          m(zeros({1, 2, 1, 3}), zeros({1, 2, 1, 3}), zeros({1, 2, 1, 3}));
        }) == "ShapeError: performer_attention: q [1, 2, 1, 3] must be [batch, length, heads, 4]");
}

TEST_CASE("PerformerAttention: what does not fit is named as it was given") {
  const Tensor q = zeros({2, 3, 2, 5}), v = zeros({2, 3, 2, 4});
  nn::PerformerAttention whole(5, {.features = 3}), m(5, {.features = 3, .causal = true});
  nn::PerformerState state;
  const std::string of_layer = "ShapeError: performer_attention: ",
                    of_step = "ShapeError: PerformerAttention: step(): ";
  const auto unfit = [](const Tensor& a, const Tensor& b, const Tensor& c) {
    return "q " + a.shape().str() + ", k " + b.shape().str() + " and v " + c.shape().str() +
           " do not fit [b, t, h, d], [b, s, h, d], [b, s, h, m]";
  };
  for (const Tensor& k : {zeros({1, 3, 2, 5}), zeros({2, 4, 2, 5}), zeros({2, 3, 1, 5})}) {
    CHECK(thrown([&] { whole(q, k, v); }) == of_layer + unfit(q, k, v));
    CHECK(thrown([&] { m.step(q, k, v, state); }) == of_step + unfit(q, k, v));
  }
  for (const Tensor& bad : {zeros({1, 3, 2, 4}), zeros({2, 4, 2, 4}), zeros({2, 3, 1, 4}), zeros({3, 2, 4})}) {
    CHECK(thrown([&] { whole(q, q, bad); }) == of_layer + unfit(q, q, bad));
    CHECK(thrown([&] { m.step(q, q, bad, state); }) == of_step + unfit(q, q, bad));
  }
  for (const Tensor& k : {zeros({2, 3, 2, 6}), zeros({2, 3, 5})}) {
    const std::string text = "k " + k.shape().str() + " must be [batch, length, heads, 5]";
    CHECK(thrown([&] { whole(q, k, v); }) == of_layer + text);
    CHECK(thrown([&] { m.step(q, k, v, state); }) == of_step + text);
  }
  for (const Tensors& x : {Tensors{Tensor(), q, v}, {q, Tensor(), v}, {q, q, Tensor()}}) {
    CHECK(thrown([&] { whole(x[0], x[1], x[2]); }) == "ValueError: performer_attention: an input is undefined");
    CHECK(thrown([&] { m.step(x[0], x[1], x[2], state); }) ==
          "ValueError: PerformerAttention: step(): an input is undefined");
  }
  CHECK(thrown([&] { m.step(q, to(q, float64), v, state); }) ==
        "DTypeError: PerformerAttention: step(): dtypes differ: float32 [2, 3, 2, 5] and float64 [2, 3, 2, 5]");
  CHECK(state.length == 0);
}
