// Positions as embeddings, rotations and biases.

#include <complex>

#include "tests/unit/nn_checks.h"

using namespace attune;
using namespace attune::tests;

TEST_CASE("sinusoidal_positions") {
  const Tensor p = nn::sinusoidal_positions(50, 6, float64);
  const Plain v(p);
  Plain expected({50, 6});
  for_indices(expected.shape, [&](const Dims& at) {
    const double angle = static_cast<double>(at[0]) / std::pow(10000.0, static_cast<double>(at[1] / 2 * 2) / 6);
    expected[at] = at[1] % 2 == 0 ? std::sin(angle) : std::cos(angle);
  });
  CHECK(close(p, expected, 1e-12));
  CHECK(nn::sinusoidal_positions(3, 4).dtype() == float32);
  CHECK(nn::sinusoidal_positions(0, 4).shape() == Shape{0, 4});
  CHECK(thrown([] { nn::sinusoidal_positions(3, 5); }) ==
        "ValueError: sinusoidal_positions: n = 3 must not be negative and d = 5 must be even");
}

TEST_CASE("SinusoidalPositionEmbedding, LearnedPositionEmbedding") {
  const nn::SinusoidalPositionEmbedding fixed(10, 4);
  CHECK(same(fixed(3, 2, float64), slice(nn::sinusoidal_positions(10, 4, float64), 0, 2, 5)));
  CHECK(fixed(3).dtype() == float32);
  CHECK(fixed.parameters().empty());
  CHECK(thrown([&] { fixed(3, 8); }) == "ShapeError: SinusoidalPositionEmbedding: positions 8 to 11 do not fit 10");
  CHECK(thrown([&] { fixed(-1); }) == "ShapeError: SinusoidalPositionEmbedding: positions 0 to -1 do not fit 10");
  nn::LearnedPositionEmbedding learned(6, 3);
  CHECK(same(learned(2, 4).detach(), slice(learned.weight.detach(), 0, 4, 6)));
  CHECK(check_gradients(learned, [&](const Tensors&) { return Tensors{learned(4, 1)}; }, {}) == "");
  CHECK(thrown([] { nn::LearnedPositionEmbedding(0, 3); }) ==
        "ValueError: LearnedPositionEmbedding: sizes must be at least 1, got [0, 3]");
}

TEST_CASE("RotaryEmbedding") {
  const Tensor x = normal({2, 3, 5, 6});
  for (const nn::RotaryPairs pairs : {nn::RotaryPairs::halves, nn::RotaryPairs::interleaved}) {
    nn::RotaryEmbedding m(20, 6, {.pairs = pairs, .base = 100});
    const bool halves = pairs == nn::RotaryPairs::halves;
    const Plain in(x);
    Plain y({2, 3, 5, 6});
    for_indices({2, 3, 5, 3}, [&](const Dims& at) {
      const std::int64_t i = at[3], a = halves ? i : 2 * i, b = halves ? i + 3 : 2 * i + 1;
      const double angle = static_cast<double>(at[2] + 4) * std::pow(100, -2 * static_cast<double>(i) / 6);
      const std::complex<double> turned =
          std::complex<double>(in[{at[0], at[1], at[2], a}], in[{at[0], at[1], at[2], b}]) * std::polar(1.0, angle);
      y[{at[0], at[1], at[2], a}] = turned.real();
      y[{at[0], at[1], at[2], b}] = turned.imag();
    });
    CHECK(close(m(x, 4), y));
    CHECK(gradcheck([&](const Tensors& in_) { return Tensors{m(in_[0])}; }, {normal_leaf({2, 3, 6})}) == "");
    // Products depend on distances alone.
    const Tensor q = normal({1, 6}, 2), k = normal({1, 6}, 3);
    CHECK(sum(m(q, 7) * m(k, 3)).item() == doctest::Approx(sum(m(q, 14) * m(k, 10)).item()).epsilon(1e-12));
    CHECK(m(to(x, float32)).dtype() == float32);
  }
  const nn::RotaryEmbedding m(4, 2);
  CHECK(thrown([&] { m(zeros({3, 4})); }) == "ShapeError: RotaryEmbedding: x [3, 4] must be [..., n, 2]");
  CHECK(thrown([&] { m(zeros({3, 2}), 2); }) == "ShapeError: RotaryEmbedding: positions 2 to 5 do not fit 4");
  CHECK(thrown([] { nn::RotaryEmbedding(4, 3); }) == "ValueError: RotaryEmbedding: d = 3 must be even");
  CHECK(thrown([] { nn::RotaryEmbedding(4, 2, {.base = 0}); }) ==
        "ValueError: RotaryEmbedding: base = 0.000000 must be above 0");
}

TEST_CASE("relative_position_buckets, RelativePositionBias") {
  // One query in the middle, of 32 buckets to distance 128: near ones alone, then doubling twice a bucket pair.
  const Values both = nn::relative_position_buckets(1, 401, {}, 200).to_vector<double>();
  const auto at = [&](std::int64_t distance) { return both[static_cast<std::size_t>(200 + distance)]; };
  for (std::int64_t d = 0; d < 8; ++d) {
    CHECK(at(-d) == static_cast<double>(d));
    if (d > 0) CHECK(at(d) == static_cast<double>(16 + d));
  }
  const std::vector<std::pair<std::int64_t, double>> far{{8, 8},   {11, 8},  {12, 9},  {15, 9},   {16, 10},  {22, 10},
                                                         {23, 11}, {31, 11}, {32, 12}, {45, 12},  {46, 13},  {63, 13},
                                                         {64, 14}, {90, 14}, {91, 15}, {127, 15}, {128, 15}, {200, 15}};
  for (const auto& [distance, bucket] : far) {
    CHECK(at(-distance) == bucket);
    CHECK(at(distance) == bucket + 16);
  }
  const Values causal = nn::relative_position_buckets(1, 401, {.bidirectional = false}, 200).to_vector<double>();
  for (std::int64_t d = 0; d < 16; ++d) CHECK(causal[static_cast<std::size_t>(200 - d)] == static_cast<double>(d));
  for (std::int64_t d = 1; d < 200; ++d) CHECK(causal[static_cast<std::size_t>(200 + d)] == 0);
  for (const auto& [distance, bucket] : std::vector<std::pair<std::int64_t, double>>{
           {16, 16}, {18, 16}, {19, 17}, {32, 21}, {64, 26}, {112, 30}, {113, 31}, {128, 31}})
    CHECK(causal[static_cast<std::size_t>(200 - distance)] == bucket);

  // The formula, off the borders where single precision decides.
  for (const std::int64_t buckets : {4, 6, 9, 10, 32, 50})
    for (const std::int64_t most : {40, 77, 1000}) {
      const auto row =
          nn::relative_position_buckets(1, 2 * most, {.buckets = buckets, .max_distance = most, .bidirectional = false},
                                        2 * most - 1)
              .to_vector<std::int64_t>();
      for (std::int64_t d = 0; d < 2 * most; ++d) {
        const std::int64_t exact = buckets / 2;
        const double first = static_cast<double>(exact),
                     place = first + std::log(static_cast<double>(d) / first) /
                                         std::log(static_cast<double>(most) / first) *
                                         static_cast<double>(buckets - exact);
        if (d >= exact && std::abs(place - std::round(place)) < 1e-4) continue;
        const std::int64_t far = std::min(static_cast<std::int64_t>(place), buckets - 1);
        CHECK(row[static_cast<std::size_t>(2 * most - 1 - d)] == (d < exact ? d : far));
      }
    }

  nn::RelativePositionBias m(3, {.buckets = 8, .max_distance = 10});
  const Tensor bias = m(4, 6);
  CHECK(bias.shape() == Shape{3, 4, 6});
  const Plain w(m.weight), b(nn::relative_position_buckets(4, 6, {.buckets = 8, .max_distance = 10})),
      got(bias.detach());
  for_indices(bias.shape(), [&](const Dims& i) {
    CHECK(got[i] == w[{static_cast<std::int64_t>(b[{i[1], i[2]}]), i[0]}]);
  });
  CHECK(same(m(1, 6, 3).detach(), slice(bias.detach(), 1, 3)));  // a decoding step
  CHECK(m(0, 4).shape() == Shape{3, 0, 4});
  CHECK(m(4, 0).shape() == Shape{3, 4, 0});
  CHECK(check_gradients(m, [&](const Tensors&) { return Tensors{m(4, 6)}; }, {}) == "");
  CHECK(thrown([] { nn::RelativePositionBias(3, {.buckets = 3}); }) ==
        "ValueError: relative_position_buckets: buckets = 3 must be at least 4");
  CHECK(thrown([] { nn::RelativePositionBias(3, {.max_distance = 8}); }) ==
        "ValueError: relative_position_buckets: max_distance = 8 must be at least 9");
  CHECK(thrown([] { nn::relative_position_buckets(-1, 2); }) ==
        "ValueError: relative_position_buckets: t = -1 must be at least 0");
}
