// The mixture of layers: its formula with and without the norm, gradients, refusals.

#include "tests/unit/nn_checks.h"

namespace attune::tests {

TEST_CASE("ScalarMix begins as the mean of its layers") {
  nn::ScalarMix mix(3);
  const Tensor x = to(normal({3, 2, 4, 5}), float32);
  CHECK(close(mix(x), Plain(mean(x, {0})), 1e-6));
  CHECK(close(mix.weights(), Plain(full({3}, 1.0 / 3)), 1e-6));
}

TEST_CASE("ScalarMix by its formula, over what is not hidden") {
  const Tensor x = normal({2, 2, 3, 4}), hidden = flags({0, 0, 1, 0, 1, 1}, {2, 3});
  for (const bool norm : {false, true})
    for (const Tensor& mask : {Tensor(), hidden}) {
      nn::ScalarMix mix(2, {.layer_norm = norm});
      mix.to(float64);
      const double s[2] = {0.3, -0.8}, gamma = 1.7;
      mix.load_state_dict({{"gamma", full({1}, gamma, float64)},
                           {"scalar_parameters.0", full({1}, s[0], float64)},
                           {"scalar_parameters.1", full({1}, s[1], float64)}});
      const double total = std::exp(s[0]) + std::exp(s[1]);
      const Plain p(x), h(to(mask.defined() ? mask : zeros({2, 3}, boolean), float64));
      Plain y({2, 3, 4});
      for (std::int64_t j = 0; j < 2; ++j) {
        double n = 0, mean = 0, variance = 0;
        for_indices({2, 3, 4}, [&](const Dims& at) {
          if (h[{at[0], at[1]}] == 0) n += 1, mean += p[{j, at[0], at[1], at[2]}];
        });
        mean /= n;
        for_indices({2, 3, 4}, [&](const Dims& at) {
          if (h[{at[0], at[1]}] == 0) variance += std::pow(p[{j, at[0], at[1], at[2]}] - mean, 2) / n;
        });
        for_indices({2, 3, 4}, [&](const Dims& at) {
          const double value = p[{j, at[0], at[1], at[2]}];
          y[at] += gamma * std::exp(s[j]) / total * (norm ? (value - mean) / std::sqrt(variance + 1e-13) : value);
        });
      }
      CHECK(close(mix(x, mask), y));
    }
}

TEST_CASE("ScalarMix: gradients, and what is hidden has no part in the norm") {
  for (const bool norm : {false, true}) {
    nn::ScalarMix mix(2, {.layer_norm = norm});
    randomize(mix);
    const Tensor hidden = flags({0, 1, 0}, {1, 3});
    CHECK(check_gradients(mix, [&](const Tensors& in) { return Tensors{mix(in[0], hidden)}; },
                          {normal_leaf({2, 1, 3, 2})}) == "");
    const Tensor x = normal({2, 1, 3, 2}), other = masked_fill(x, reshape(hidden, {1, 1, 3, 1}), 1e6);
    CHECK(same(select(mix(x, hidden), 1, 0), Plain(select(mix(other, hidden), 1, 0))));
  }
}

TEST_CASE("ScalarMix refuses what does not fit") {
  CHECK(thrown([] { nn::ScalarMix mix(0); }) == "ValueError: ScalarMix: layers = 0 must be at least 1");
  const nn::ScalarMix mix(2);
  CHECK(thrown([&] { mix(zeros({3, 2, 4})); }) == "ShapeError: ScalarMix: x [3, 2, 4] must be [2, ..., d]");
  CHECK(thrown([&] {
          mix(zeros({2, 2, 4}), zeros({3}, boolean));
        }) == "ShapeError: ScalarMix: key_padding_mask [3] must be [2] for x [2, 2, 4]");
  CHECK(thrown([&] { mix(zeros({2, 2, 4}), zeros({2})); }).starts_with("DTypeError: ScalarMix: key_padding_mask"));
}

}  // namespace attune::tests
