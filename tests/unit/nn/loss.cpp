// Losses against PyTorch 1.13.1: values and gradients, computed once and written down here.

#include "tests/unit/nn_checks.h"

namespace attune::tests {
namespace {

Tensor matrix(const Values& v) { return tensor(v, {2, 3}, float64); }
Tensor a() { return matrix({0.5, -1.2, 0.3, 1.7, 0.4, -0.6}); }
Tensor b() { return matrix({-0.1, 0.8, 1.1, 0.9, -1.5, 0.2}); }
Tensor c() { return matrix({1.3, -0.4, 0.6, -0.7, 1.0, 0.9}); }
Tensor p() { return matrix({0.2, 0.9, 0.5, 0.7, 0.05, 0.6}); }
Tensor t() { return matrix({1, 0, 0.3, 0.6, 1, 0}); }
Tensor signs() { return matrix({1, -1, 1, -1, 1, -1}); }
Tensor counts() { return matrix({0, 1, 3, 2, 5, 1}); }
Tensor variance() { return matrix({0.5, 1.2, 0.9, 2.0, 0.3, 1e-9}); }
Tensor positive() { return matrix({0.5, 1.2, 0.3, 1.7, 0.4, 2.6}); }

struct Expected {
  std::function<Tensor(const Tensor&)> loss;
  Tensor at;
  double value;
  Values gradient;
};

}  // namespace

// Long: a table, one row a loss.
TEST_CASE("losses: values and gradients are PyTorch's") {
  const Expected rows[]{
      {[](const Tensor& x) { return smooth_l1_loss(x, b(), 0.7); },
       a(),
       0.80119047619048,
       {0.14285714285714, -0.16666666666667, -0.16666666666667, 0.16666666666667, 0.16666666666667, -0.16666666666667}},
      {[](const Tensor& x) { return huber_loss(x, b(), 0.7); },
       a(),
       0.56083333333333,
       {0.1, -0.11666666666667, -0.11666666666667, 0.11666666666667, 0.11666666666667, -0.11666666666667}},
      {[](const Tensor& x) { return mse_loss(x, b()); },
       a(),
       1.6483333333333,
       {0.2, -0.66666666666667, -0.26666666666667, 0.26666666666667, 0.63333333333333, -0.26666666666667}},
      {[](const Tensor& x) { return l1_loss(x, b(), Reduction::sum); }, a(), 6.9, {1, -1, -1, 1, 1, -1}},
      {[](const Tensor& x) { return kl_div(x, p(), false, Reduction::batch_mean); },
       a(),
       -0.74462004277662,
       {-0.1, -0.45, -0.25, -0.35, -0.025, -0.3}},
      {[](const Tensor& x) { return binary_cross_entropy(x, t(), variance()); },
       p(),
       1.0802602315806,
       {-0.41666666666667, 2, 0.12, 0.15873015873016, -1, 4.1666666666667e-10}},
      {[](const Tensor& x) {
         return binary_cross_entropy_with_logits(x, t(), {.positive_weight = tensor({2, 1, 3}, float64)});
       },
       a(),
       0.70122761279196,
       {-0.12584688959938, 0.038579202750164, 0.0031846711497757, 0.025475929311057, -0.066885389981258,
        0.059057282295701}},
      {[](const Tensor& x) {
         return nll_loss(log_softmax(x), index_tensor({2, 0}), {.weight = tensor({2, 1, 3}, float64)});
       },
       a(),
       0.66305069320599,
       {0.29978800833787, 0.054766329831913, -0.35455433816979, -0.10862272127308, 0.079409572220819,
        0.029213149052258}},
      {[](const Tensor& x) { return soft_margin_loss(x, signs()); },
       a(),
       0.68500065470979,
       {-0.062923444799691, 0.038579202750164, -0.070926247198057, 0.14092245581941, -0.066885389981258,
        0.059057282295701}},
      {[](const Tensor& x) { return hinge_embedding_loss(x, signs(), 0.8); },
       a(),
       0.76666666666667,
       {0.16666666666667, -0.16666666666667, 0.16666666666667, 0, 0.16666666666667, -0.16666666666667}},
      {[](const Tensor& x) { return margin_ranking_loss(x, b(), signs(), 0.3); },
       a(),
       0.36666666666667,
       {-0, 0, -0.16666666666667, 0.16666666666667, -0, 0}},
      {[](const Tensor& x) {
         return cosine_embedding_loss(x, b(), tensor({1, -1}, float64), 0.1);
       },
       a(),
       0.76142359543029,
       {-0.025009127652975, -0.093861417364432, -0.33376379003575, 0.076305869880022, -0.24528819519937,
        0.052674501193755}},
      {[](const Tensor& x) {
         return cosine_embedding_loss(x, c(), tensor({-1, 1}, float64), 0.1);
       },
       a(),
       1.0176987448892,
       {0.23495800719968, 0.12179860529926, 0.095597742531526, 0.0065969784129691, -0.20639118177608,
        -0.11890268234743}},
      {[](const Tensor& x) { return triplet_margin_loss(x, b(), c(), {.margin = 1.5, .swap = true}); },
       a(),
       1.691919295902,
       {0.47590747114721, -0.10547045880891, -0.050731894093018, -0.23389442736752, 0.53329990218047,
        0.078351785297893}},
      {[](const Tensor& x) {
         return triplet_margin_loss(x, b(), c(), {.margin = 2, .p = 3, .reduction = Reduction::sum});
       },
       a(),
       4.4403613234137,
       {0.70404831255378, -0.32446553812221, -0.063910165657383, -0.69573537562398, 0.9649901127592, 0.17330919402872}},
      {[](const Tensor& x) { return poisson_nll_loss(x, counts(), {.full = true}); },
       a(),
       2.2501821825651,
       {0.27478687845002, -0.11646763134797, -0.27502353207067, 0.57899123195453, -0.58469588372645,
        -0.075198060650996}},
      {[](const Tensor& x) { return poisson_nll_loss(x, counts(), {.log_input = false}); },
       positive(),
       2.1157137199098,
       {0.16666666666667, 0.027777778935185, -1.4999999444444, -0.02941176355248, -1.9166666145833, 0.10256410281065}},
      {[](const Tensor& x) { return gaussian_nll_loss(x, b(), variance(), {.full = true}); },
       a(),
       53334.433543155,
       {0.2, -0.27777777777778, -0.14814814814815, 0.066666666666667, 1.0555555555556, -133333.33333333}},
  };
  for (const Expected& row : rows) {
    Tensor x = row.at;
    x.requires_grad_();
    const Tensor y = row.loss(x);
    const std::string name = Tape::of(y).str();
    CAPTURE(name);
    CHECK(y.item() == doctest::Approx(row.value).epsilon(1e-10));
    const Values dx = grad({y}, {x})[0].to_vector<double>();
    for (std::size_t i = 0; i < dx.size(); ++i)
      CHECK(dx[i] == doctest::Approx(row.gradient[i]).epsilon(1e-9).scale(1e-3));
  }
}

TEST_CASE("losses: confident and impossible probabilities are bounded, without NaN") {
  const Tensor x = tensor({0, 1, 0, 1}, float64).requires_grad_();
  const Tensor y = binary_cross_entropy(x, tensor({1, 0, 0, 1}, float64), {}, Reduction::none);
  CHECK(same(y, {4}, {100, 100, 0, 0}));
  for (double v : grad({sum(y)}, {x})[0].to_vector<double>()) CHECK(std::isfinite(v));
}

TEST_CASE("losses: modules are the functions with fixed options") {
  const Tensor sign = tensor({1, -1}, float64);
  CHECK(same(nn::MSELoss(Reduction::sum)(a(), b()), mse_loss(a(), b(), Reduction::sum)));
  CHECK(same(nn::L1Loss()(a(), b()), l1_loss(a(), b())));
  CHECK(same(nn::SmoothL1Loss(0.3)(a(), b()), smooth_l1_loss(a(), b(), 0.3)));
  CHECK(same(nn::HuberLoss(0.3)(a(), b()), huber_loss(a(), b(), 0.3)));
  CHECK(same(nn::KLDivLoss(true)(a(), b()), kl_div(a(), b(), true)));
  CHECK(same(nn::NLLLoss({.ignore_index = 0})(a(), index_tensor({0, 2})),
             nll_loss(a(), index_tensor({0, 2}), {.ignore_index = 0})));
  CHECK(same(nn::BCELoss(variance())(p(), t()), binary_cross_entropy(p(), t(), variance())));
  CHECK(same(nn::BCEWithLogitsLoss()(a(), t()), binary_cross_entropy_with_logits(a(), t())));
  CHECK(same(nn::SoftMarginLoss()(a(), signs()), soft_margin_loss(a(), signs())));
  CHECK(same(nn::HingeEmbeddingLoss(0.4)(a(), signs()), hinge_embedding_loss(a(), signs(), 0.4)));
  CHECK(same(nn::MarginRankingLoss(0.4)(a(), b(), signs()), margin_ranking_loss(a(), b(), signs(), 0.4)));
  CHECK(same(nn::CosineEmbeddingLoss(0.4)(a(), b(), sign), cosine_embedding_loss(a(), b(), sign, 0.4)));
  CHECK(same(nn::TripletMarginLoss({.margin = 3})(a(), b(), c()), triplet_margin_loss(a(), b(), c(), {.margin = 3})));
  CHECK(same(nn::PoissonNLLLoss({.full = true})(a(), counts()), poisson_nll_loss(a(), counts(), {.full = true})));
  CHECK(same(nn::GaussianNLLLoss()(a(), b(), variance()), gaussian_nll_loss(a(), b(), variance())));
  // A refusal shows the line that called the module.
  std::string what;
  try {
    nn::MSELoss()(a(), zeros({2}, float64));
  } catch (const ShapeError& e) {
    what = e.what();
  }
  CHECK(what == "mse_loss: shapes differ: [2, 3] and [2]\n  at loss.cpp:" + std::to_string(__LINE__ - 4));
}

TEST_CASE("CrossEntropyLoss") {
  const Tensor logits = normal({4, 3});
  const std::int64_t targets[] = {2, -1, 0, 2};
  const Tensor target = index_tensor({2, -1, 0, 2});
  const Plain in(logits);
  for (const double smoothing : {0.0, 0.1}) {
    double total = 0;
    for (std::int64_t r = 0; r < 4; ++r) {
      if (targets[r] == -1) continue;
      double z = 0;
      for (std::int64_t c = 0; c < 3; ++c) z += std::exp(in[{r, c}]);
      for (std::int64_t c = 0; c < 3; ++c)
        total -= ((c == targets[r] ? 1 - smoothing : 0) + smoothing / 3) * (in[{r, c}] - std::log(z));
    }
    nn::CrossEntropyLoss mean({.ignore_index = -1, .label_smoothing = smoothing});
    nn::CrossEntropyLoss sum_of({.ignore_index = -1, .label_smoothing = smoothing, .reduction = Reduction::sum});
    CHECK(mean(logits, target).item() == doctest::Approx(total / 3).epsilon(1e-12));
    CHECK(sum_of(logits, target).item() == doctest::Approx(total).epsilon(1e-12));
    CHECK(check_gradients(mean, [&](const Tensors& x) { return Tensors{mean(x[0], target)}; }, {normal_leaf({4, 3})}) ==
          "");
  }
  CHECK(thrown([] { nn::CrossEntropyLoss({.label_smoothing = 1.5}); }) ==
        "ValueError: CrossEntropyLoss: label_smoothing = 1.500000 is not in [0, 1]");
}

}  // namespace attune::tests
