// Optimisers against their formulas.

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>

#include "optim/optim.h"
#include "tests/unit/plain.h"

namespace attune::tests {
namespace {

/// Runs `steps` steps on p = (1, -2, 3) with gradients g_t = t (0.5, -1, 0.25) and calls `expected(p, g, t)` for each
/// element beside it.
template <class Optimizer, class Options, class Expected>
void compare(const Options& options, Expected&& expected, DType dtype = float64) {
  Tensor p = tensor({1, -2, 3}, dtype).requires_grad_();
  Optimizer opt(std::vector<Tensor>{p}, options);
  std::vector<double> e{1, -2, 3};
  for (int t = 1; t <= 5; ++t) {
    const std::vector<double> g{0.5 * t, -1.0 * t, 0.25 * t};
    p.set_grad(tensor(g, {3}, dtype));
    opt.step();
    CHECK_FALSE(p.grad().defined());
    for (std::size_t i = 0; i < 3; ++i) expected(e[i], g[i], t, i);
    const std::vector<double> got = values(p);
    for (std::size_t i = 0; i < 3; ++i) CHECK(got[i] == doctest::Approx(e[i]).epsilon(dtype == float64 ? 1e-12 : 1e-5));
  }
}

}  // namespace

TEST_CASE("optim: SGD, with momentum, Nesterov and weight decay") {
  std::vector<double> v(3);
  compare<optim::SGD>(optim::SGDOptions{.lr = 0.1, .weight_decay = 0.01},
                      [](double& p, double g, int, std::size_t) { p -= 0.1 * (g + 0.01 * p); });
  compare<optim::SGD>(optim::SGDOptions{.lr = 0.1, .momentum = 0.9, .dampening = 0.5},
                      [&](double& p, double g, int t, std::size_t i) {
                        v[i] = t == 1 ? g : 0.9 * v[i] + 0.5 * g;
                        p -= 0.1 * v[i];
                      });
  compare<optim::SGD>(optim::SGDOptions{.lr = 0.1, .momentum = 0.9, .nesterov = true},
                      [&](double& p, double g, int t, std::size_t i) {
                        v[i] = t == 1 ? g : 0.9 * v[i] + g;
                        p -= 0.1 * (g + 0.9 * v[i]);
                      });
}

TEST_CASE("optim: Adam and AdamW") {
  std::vector<double> m(3), v(3);
  const auto moments = [&](double g, int t, std::size_t i) {
    if (t == 1) m[i] = v[i] = 0;
    m[i] = 0.8 * m[i] + 0.2 * g;
    v[i] = 0.95 * v[i] + 0.05 * g * g;
    return (m[i] / (1 - std::pow(0.8, t))) / (std::sqrt(v[i] / (1 - std::pow(0.95, t))) + 1e-6);
  };
  for (DType dtype : {float64, float32}) {
    compare<optim::Adam>(
        optim::AdamOptions{.lr = 0.1, .beta1 = 0.8, .beta2 = 0.95, .eps = 1e-6, .weight_decay = 0.1},
        [&](double& p, double g, int t, std::size_t i) { p -= 0.1 * moments(g + 0.1 * p, t, i); }, dtype);
    compare<optim::AdamW>(
        optim::AdamWOptions{.lr = 0.1, .beta1 = 0.8, .beta2 = 0.95, .eps = 1e-6, .weight_decay = 0.1},
        [&](double& p, double g, int t, std::size_t i) { p = p * (1 - 0.1 * 0.1) - 0.1 * moments(g, t, i); }, dtype);
  }
}

TEST_CASE("optim: AMSGrad divides by the largest second moment so far") {
  std::vector<double> m(3), v(3), most(3);
  const auto move = [&](double g, int t, std::size_t i) {
    if (t == 1) m[i] = v[i] = most[i] = 0;
    m[i] = 0.8 * m[i] + 0.2 * g;
    v[i] = 0.5 * v[i] + 0.5 * g * g;
    most[i] = std::max(most[i], v[i]);
    return (m[i] / (1 - std::pow(0.8, t))) / (std::sqrt(most[i]) / std::sqrt(1 - std::pow(0.5, t)) + 1e-6);
  };
  for (DType dtype : {float64, float32}) {
    compare<optim::Adam>(
        optim::AdamOptions{.lr = 0.1, .beta1 = 0.8, .beta2 = 0.5, .eps = 1e-6, .weight_decay = 0.1, .amsgrad = true},
        [&](double& p, double g, int t, std::size_t i) { p -= 0.1 * move(g + 0.1 * p, t, i); }, dtype);
    compare<optim::AdamW>(
        optim::AdamWOptions{.lr = 0.1, .beta1 = 0.8, .beta2 = 0.5, .eps = 1e-6, .weight_decay = 0.1, .amsgrad = true},
        [&](double& p, double g, int t, std::size_t i) { p = p * (1 - 0.1 * 0.1) - 0.1 * move(g, t, i); }, dtype);
  }
  // Gradients that fall, so that the largest is an old one.
  Tensor p = zeros({1}, float64).requires_grad_();
  optim::Adam opt({p}, {.lr = 1, .beta1 = 0, .beta2 = 0.5, .eps = 0, .amsgrad = true});
  double at = 0;
  for (const auto& [g, most_of] : {std::pair{4.0, 8.0}, {1.0, 8.0}, {0.5, 8.0}}) {
    const int t = static_cast<int>(opt.steps()) + 1;
    p.set_grad(tensor({g}, float64));
    opt.step();
    at -= g / (std::sqrt(most_of) / std::sqrt(1 - std::pow(0.5, t)));
    CHECK(p.item() == doctest::Approx(at).epsilon(1e-12));
  }
}

TEST_CASE("optim: RMSprop, with momentum, centered, and both") {
  for (DType dtype : {float64, float32})
    for (const bool centered : {false, true})
      for (const double momentum : {0.0, 0.9}) {
        CAPTURE(centered);
        CAPTURE(momentum);
        std::vector<double> v(3), mean(3), buffer(3);
        compare<optim::RMSprop>(
            optim::RMSpropOptions{
                .lr = 0.1, .alpha = 0.9, .eps = 1e-4, .momentum = momentum, .weight_decay = 0.01, .centered = centered},
            [&](double& p, double g, int, std::size_t i) {
              g += 0.01 * p;
              v[i] = 0.9 * v[i] + 0.1 * g * g;
              mean[i] = 0.9 * mean[i] + 0.1 * g;
              const double d = g / (std::sqrt(centered ? v[i] - mean[i] * mean[i] : v[i]) + 1e-4);
              buffer[i] = momentum * buffer[i] + d;
              p -= 0.1 * (momentum > 0 ? buffer[i] : d);
            },
            dtype);
      }
  // A spread that rounding takes below 0 is 0.
  Tensor p = zeros({64}).requires_grad_();
  optim::RMSprop opt({p}, {.alpha = 0.5, .centered = true});
  for (int t = 0; t < 60; ++t) {
    p.set_grad(full({64}, 0.1));
    opt.step();
  }
  for (double x : values(p)) CHECK(std::isfinite(x));
}

TEST_CASE("optim: Adagrad, its rate's decay and its start") {
  for (DType dtype : {float64, float32}) {
    std::vector<double> s(3, 0.25);
    compare<optim::Adagrad>(
        optim::AdagradOptions{
            .lr = 0.1, .lr_decay = 0.1, .eps = 1e-6, .initial_accumulator = 0.25, .weight_decay = 0.01},
        [&](double& p, double g, int t, std::size_t i) {
          g += 0.01 * p;
          s[i] += g * g;
          p -= 0.1 / (1 + (t - 1) * 0.1) * g / (std::sqrt(s[i]) + 1e-6);
        },
        dtype);
  }
  std::vector<double> s(3);
  compare<optim::Adagrad>(optim::AdagradOptions{}, [&](double& p, double g, int, std::size_t i) {
    s[i] += g * g;
    p -= 0.01 * g / (std::sqrt(s[i]) + 1e-10);
  });
}

TEST_CASE("optim: Adadelta") {
  std::vector<double> square(3), moved(3);
  compare<optim::Adadelta>(optim::AdadeltaOptions{.lr = 0.5, .rho = 0.9, .eps = 1e-4},
                           [&](double& p, double g, int, std::size_t i) {
                             square[i] = 0.9 * square[i] + 0.1 * g * g;
                             const double d = std::sqrt((moved[i] + 1e-4) / (square[i] + 1e-4)) * g;
                             moved[i] = 0.9 * moved[i] + 0.1 * d * d;
                             p -= 0.5 * d;
                           });
}

TEST_CASE("optim: Adafactor keeps a row and a column of a matrix's second moment") {
  Tensor p = tensor({1, -2, 3, 0.5, 1.5, -1}, {2, 3}, float64).requires_grad_();
  const std::vector<double> g{0.5, -1, 2, 0.1, 0.2, -0.3};
  optim::Adafactor opt({p}, {.lr = 0.02, .relative_step = false, .scale_parameter = false, .clip = 0.7});
  std::vector<double> e = values(p), row(2), column(3);
  for (int t = 1; t <= 3; ++t) {
    p.set_grad(tensor(g, {2, 3}, float64));
    opt.step();
    const double beta2 = 1 - std::pow(t, -0.8);
    for (std::size_t i = 0; i < 2; ++i) {
      double mean = 0;
      for (std::size_t j = 0; j < 3; ++j) mean += (g[3 * i + j] * g[3 * i + j] + 1e-30) / 3;
      row[i] = beta2 * row[i] + (1 - beta2) * mean;
    }
    for (std::size_t j = 0; j < 3; ++j) {
      double mean = 0;
      for (std::size_t i = 0; i < 2; ++i) mean += (g[3 * i + j] * g[3 * i + j] + 1e-30) / 2;
      column[j] = beta2 * column[j] + (1 - beta2) * mean;
    }
    std::vector<double> u(6);
    double rms = 0;
    for (std::size_t i = 0; i < 6; ++i) {
      u[i] = g[i] / std::sqrt(row[i / 3] * column[i % 3] / ((row[0] + row[1]) / 2));
      rms += u[i] * u[i] / 6;
    }
    rms = std::sqrt(rms);
    for (std::size_t i = 0; i < 6; ++i) e[i] -= 0.02 * u[i] / std::max(1.0, rms / 0.7);
    const std::vector<double> got = values(p);
    for (std::size_t i = 0; i < 6; ++i) CHECK(got[i] == doctest::Approx(e[i]).epsilon(1e-10));
  }
  CHECK(opt.state_dict().at("0.row").shape() == Shape{2});
  CHECK(opt.state_dict().at("0.column").shape() == Shape{3});
}

}  // namespace attune::tests
