// Initialisers: their laws, their fans, and the state that layers start from.

#include "tests/unit/nn_checks.h"

using namespace attune;
using namespace attune::tests;
namespace init = attune::nn::init;

namespace {

struct Moments {
  double mean = 0, std = 0, low = inf, high = -inf;
};

Moments moments(const Tensor& x) {
  Moments m;
  const Values v = x.detach().to_vector<double>();
  const double n = static_cast<double>(v.size());
  for (double a : v) m.mean += a / n, m.low = std::min(m.low, a), m.high = std::max(m.high, a);
  for (double a : v) m.std += (a - m.mean) * (a - m.mean) / n;
  m.std = std::sqrt(m.std);
  return m;
}

/// Uniform in [-a, a]: no element outside, all of the interval used, a / sqrt(3) as the deviation.
void check_uniform(const Tensor& x, double a) {
  const Moments m = moments(x);
  const double n = static_cast<double>(x.numel());
  INFO("a ", a, ", low ", m.low, ", high ", m.high, ", std ", m.std);
  CHECK(m.low >= -a * (1 + 1e-6));
  CHECK(m.high <= a * (1 + 1e-6));
  CHECK(m.high - m.low > 2 * a * (1 - 20 / n));
  CHECK(std::abs(m.mean) < 5 * a / std::sqrt(3 * n));
  CHECK(std::abs(m.std / (a / std::sqrt(3.0)) - 1) < 5 / std::sqrt(n));
}

void check_normal(const Tensor& x, double mean, double std) {
  const Moments m = moments(x);
  const double n = static_cast<double>(x.numel());
  INFO("mean ", m.mean, ", std ", m.std, ", expected ", mean, " and ", std);
  CHECK(std::abs(m.mean - mean) < 5 * std / std::sqrt(n));
  CHECK(std::abs(m.std / std - 1) < 5 / std::sqrt(2 * n));
  CHECK(m.high > mean + 2.5 * std);
  CHECK(m.low < mean - 2.5 * std);
}

/// Largest difference of w w^T (or w^T w if w is tall) from gain^2 I.
double orthogonality_error(const Tensor& w, double gain) {
  const Tensor flat = reshape(w.detach(), {w.size(0), -1});
  const Tensor rows = flat.size(0) <= flat.size(1) ? flat : transpose(flat);
  const Tensor product = matmul(rows, transpose(rows));
  return amax(abs(product - gain * gain * eye(product.size(0), w.dtype()))).item();
}

}  // namespace

TEST_CASE("init: laws") {
  Generator g(3);
  Tensor w = zeros({60, 50, 4}).requires_grad_();  // fan_in 200, fan_out 240
  check_uniform(init::uniform_(w, -0.25, 0.25, g), 0.25);
  check_normal(init::normal_(w, 3, 0.5, g), 3, 0.5);
  check_uniform(init::xavier_uniform_(w, 2, g), 2 * std::sqrt(6.0 / 440));
  check_normal(init::xavier_normal_(w, 2, g), 0, 2 * std::sqrt(2.0 / 440));
  check_uniform(init::kaiming_uniform_(w, init::relu_gain, init::Fan::in, g), std::sqrt(2.0) * std::sqrt(3.0 / 200));
  check_uniform(init::kaiming_uniform_(w, 1, init::Fan::out, g), std::sqrt(3.0 / 240));
  check_normal(init::kaiming_normal_(w, init::relu_gain, init::Fan::in, g), 0, std::sqrt(2.0 / 200));
  check_normal(init::kaiming_normal_(w, 1, init::Fan::out, g), 0, 1 / std::sqrt(240.0));
  init::ones_(w);
  CHECK(same(w.detach(), Plain(w.shape(), 1)));
  init::constant_(w, -2.5);
  CHECK(same(w.detach(), Plain(w.shape(), -2.5)));
  init::zeros_(w);
  CHECK(same(w.detach(), Plain(w.shape(), 0)));
  CHECK(w.is_leaf());
  CHECK(w.requires_grad());
}

TEST_CASE("init: the truncated normal") {
  Generator g(4);
  Tensor w = zeros({200, 100}, float64);
  init::trunc_normal_(w, 1, 0.5, 0, 2, g);  // two deviations on either side: std 0.8796 of the whole one's
  const Moments m = moments(w);
  CHECK(m.low >= 0);
  CHECK(m.high <= 2);
  CHECK(m.low < 0.01);
  CHECK(m.high > 1.99);
  CHECK(std::abs(m.mean - 1) < 0.02);
  CHECK(std::abs(m.std / (0.5 * 0.87963) - 1) < 0.02);
  CHECK(thrown([&] { init::trunc_normal_(w, 0, 1, 2, 1); }) ==
        "ValueError: trunc_normal_: needs low < high and std > 0");
  CHECK(thrown([&] { init::trunc_normal_(w, 0, 0, -1, 1); }) ==
        "ValueError: trunc_normal_: needs low < high and std > 0");
  CHECK(thrown([&] { init::trunc_normal_(w, 0, 1, 10, 11); }) ==
        "ValueError: trunc_normal_: [10.000000, 11.000000] holds less than a thousandth of the normal distribution");
}

TEST_CASE("init: orthogonal matrices") {
  Generator g(5);
  for (const Shape& shape : std::vector<Shape>{{40, 40}, {10, 70}, {70, 10}, {1, 5}, {5, 1}, {6, 3, 2}, {4, 6, 2}}) {
    INFO(shape.str());
    Tensor w = zeros(shape, float64).requires_grad_(), single = zeros(shape);
    CHECK(orthogonality_error(init::orthogonal_(w, 1, g), 1) < 1e-14);
    CHECK(orthogonality_error(init::orthogonal_(w, 3, g), 3) < 1e-13);
    CHECK(orthogonality_error(init::orthogonal_(single, 1, g), 1) < 1e-6);
  }
  // Haar: no direction is preferred, so an element of a 2 x 2 rotation or reflection has mean 0 and mean square 1/2.
  Values corner;
  Tensor w = zeros({2, 2}, float64);
  for (int i = 0; i < 2000; ++i) corner.push_back(init::orthogonal_(w, 1, g).to_vector<double>()[0]);
  const Moments m = moments(tensor(corner, {2000}, float64));
  CHECK(std::abs(m.mean) < 5 * std::sqrt(0.5 / 2000));
  CHECK(std::abs(m.std - std::sqrt(0.5)) < 0.03);
}

TEST_CASE("init: a generator's seed decides, and errors") {
  Tensor a = zeros({4, 4}), b = zeros({4, 4});
  Generator g(7), h(7);
  CHECK(same(init::xavier_normal_(a, 1, g), init::xavier_normal_(b, 1, h)));
  CHECK(!same(init::xavier_normal_(a, 1, g), b));
  Tensor vector = zeros({4});
  CHECK(thrown([&] { init::xavier_uniform_(vector); }) ==
        "ShapeError: xavier_uniform_: fans need at least two axes, got [4]");
  CHECK(thrown([&] { init::kaiming_normal_(vector); }) ==
        "ShapeError: kaiming_normal_: fans need at least two axes, got [4]");
  CHECK(thrown([&] { init::orthogonal_(vector); }) == "ShapeError: orthogonal_: needs at least two axes, got [4]");
}

TEST_CASE("init: the state that layers start from") {
  manual_seed(11);
  const nn::Linear linear(100, 80);
  check_uniform(linear.weight, 0.1);
  check_uniform(linear.bias(), 0.1);
  const nn::Embedding embedding(100, 50, {.padding_index = 7});
  check_normal(slice(embedding.weight.detach(), 0, 8), 0, 1);
  CHECK(same(select(embedding.weight.detach(), 0, 7), Plain({50}, 0)));
  CHECK(embedding.weight.requires_grad());
  const nn::LayerNorm norm(Shape{3, 4});
  CHECK(same(norm.weight().detach(), Plain({3, 4}, 1)));
  CHECK(same(norm.bias().detach(), Plain({3, 4}, 0)));

  nn::MultiheadAttention attention(40, 4);
  for (const auto& entry : attention.named_parameters()) {
    const std::string& name = entry.first;
    const Tensor& p = entry.second;
    INFO(name);
    if (name == "in_proj_weight")
      check_uniform(p, std::sqrt(6.0 / 160));
    else if (name == "out_proj.weight")
      check_uniform(p, std::sqrt(1.0 / 40));
    else
      CHECK(same(p.detach(), Plain(p.shape(), 0)));
  }
  const nn::AdditiveAttention additive(50, 60, 70);
  check_normal(additive.query_weight, 0, 0.001);
  check_normal(additive.key_weight, 0, 0.001);
  CHECK(same(additive.score_weight.detach(), Plain({70}, 0)));
}

TEST_CASE("initialisers: identities and sparse matrices") {
  Tensor w = ones({2, 3});
  CHECK(same(init::eye_(w), {2, 3}, {1, 0, 0, 0, 1, 0}));
  Tensor conv = ones({4, 1, 3});
  CHECK(same(init::dirac_(conv, 2), {4, 1, 3}, {0, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0}));
  // A convolution with it hands its input on.
  Tensor same_size = ones({3, 3, 5}, float64);
  init::dirac_(same_size);
  const Tensor x = normal({2, 3, 7});
  CHECK(same(conv1d(x, same_size, {}, {.padding = same_padding}), x));
  Tensor sparse = ones({50, 40}, float64);
  Generator g(4);
  init::sparse_(sparse, 0.33, 2, g);
  CHECK(same(sum(to(eq(sparse, 0), float64), {0}), Plain({40}, 17)));
  check_normal(masked_select(sparse, ne(sparse, 0)), 0, 2);
  Tensor vector = ones({3});
  CHECK(thrown([&] { init::eye_(vector); }) == "ShapeError: eye_: needs a matrix, got [3]");
  CHECK(thrown([&] { init::dirac_(vector); }) ==
        "ShapeError: dirac_: needs the weight of a convolution, of 3 to 5 axes, got [3]");
  CHECK(thrown([&] { init::dirac_(conv, 3); }) ==
        "ValueError: dirac_: groups = 3 does not divide the first size of [4, 1, 3]");
  CHECK(thrown([&] { init::sparse_(w, 1.5); }) == "ValueError: sparse_: sparsity = 1.500000 is not in [0, 1]");
}
