// Optimisers against their formulas, schedules, clipping, state.

#include <doctest/doctest.h>

#include <cmath>
#include <limits>

#include "nn/nn.h"
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

TEST_CASE("optim: groups have their own rates; parameters without a gradient stay") {
  Tensor a = tensor({1}, float64).requires_grad_(), b = tensor({1}, float64).requires_grad_(),
         c = tensor({1}, float64).requires_grad_();
  optim::SGD opt(std::vector<optim::Group>{{.parameters = {a}, .lr = 1.0}, {.parameters = {b, c}, .weight_decay = 0.5}},
                 {.lr = 0.1});
  a.set_grad(tensor({0.25}, float64));
  b.set_grad(tensor({0.25}, float64));
  opt.step(true);
  CHECK(a.item() == 0.75);
  CHECK(b.item() == doctest::Approx(1 - 0.1 * (0.25 + 0.5)));
  CHECK(c.item() == 1);
  CHECK(a.grad().defined());
  opt.zero_grad();
  CHECK_FALSE(a.grad().defined());
}

TEST_CASE("optim: several backward passes accumulate before a step") {
  Tensor p = tensor({1}, float64).requires_grad_();
  optim::SGD opt({p}, {.lr = 0.1});
  for (int i = 0; i < 4; ++i) (sum(p * p) * 0.25).backward();
  opt.step();
  CHECK(p.item() == doctest::Approx(0.8));
}

TEST_CASE("optim: a step counts as an in-place change") {
  Tensor p = tensor({1}, float64).requires_grad_();
  optim::SGD opt({p}, {.lr = 0.1});
  const Tensor y = sum(p * p);
  p.set_grad(tensor({1}, float64));
  opt.step();
  CHECK_THROWS_AS(y.backward(), GradError);
}

TEST_CASE("optim: schedules") {
  const auto warm = optim::warmup(4);
  CHECK(warm(1) == 0.25);
  CHECK(warm(4) == 1);
  CHECK(warm(100) == 1);
  const auto cos = optim::cosine(100, 10, 0.1);
  CHECK(cos(5) == 0.5);
  CHECK(cos(10) == 1);
  CHECK(cos(55) == doctest::Approx(0.55));
  CHECK(cos(100) == doctest::Approx(0.1));
  CHECK(cos(1000) == doctest::Approx(0.1));
  const auto line = optim::linear(110, 10, 0.2);
  CHECK(line(5) == 0.5);
  CHECK(line(10) == 1);
  CHECK(line(60) == doctest::Approx(0.6));
  CHECK(line(110) == doctest::Approx(0.2));
  CHECK(line(1000) == doctest::Approx(0.2));
  CHECK(optim::linear(4)(1) == 0.75);
  CHECK(optim::inverse_sqrt(16)(64) == 0.5);
  const auto noam = optim::noam(512, 4000);
  CHECK(noam(4000) == doctest::Approx(std::pow(512, -0.5) * std::pow(4000, -0.5)));
  CHECK(noam(100) == doctest::Approx(std::pow(512, -0.5) * 100 * std::pow(4000, -1.5)));
  CHECK(noam(16000) == doctest::Approx(std::pow(512, -0.5) * std::pow(16000, -0.5)));
  const auto steps = optim::step_decay(10, 0.5);
  CHECK(steps(10) == 1);
  CHECK(steps(11) == 0.5);
  CHECK(steps(21) == 0.25);
  Tensor p = tensor({1}, float64).requires_grad_();
  optim::SGD opt({p}, {.lr = 2, .schedule = optim::warmup(4)});
  CHECK(opt.lr() == 0.5);
  p.set_grad(tensor({1}, float64));
  opt.step();
  CHECK(p.item() == 0.5);
  CHECK(opt.lr() == 1);
}

TEST_CASE("optim: clipping by norm and by value") {
  Tensor a = zeros({2}, float64).requires_grad_(), b = zeros({}, float64).requires_grad_();
  a.set_grad(tensor({3, 0}, float64));
  b.set_grad(scalar(-4, float64));
  CHECK(optim::clip_grad_norm({a, b}, 10) == 5);
  CHECK(b.grad().item() == -4);
  CHECK(optim::clip_grad_norm({a, b}, 1) == 5);
  CHECK(values(a.grad())[0] == doctest::Approx(0.6));
  CHECK(b.grad().item() == doctest::Approx(-0.8));
  optim::clip_grad_value({a, b}, 0.7);
  CHECK(values(a.grad())[0] == doctest::Approx(0.6));
  CHECK(b.grad().item() == -0.7);
  a.set_grad(tensor({std::numeric_limits<double>::infinity(), 1}, float64));
  CHECK(std::isinf(optim::clip_grad_norm({a, b}, 1)));
  CHECK(values(a.grad())[1] == 1);
}

TEST_CASE("optim: clipping by norm scales in place, each gradient once") {
  Tensor a = zeros({2}).requires_grad_(), b = zeros({2}).requires_grad_(), c = zeros({2, 3}).requires_grad_();
  const Tensor shared = tensor({3, 4});
  a.set_grad(shared);
  b.set_grad(shared);
  CHECK(optim::clip_grad_norm({a, b, a}, 0.5) == doctest::Approx(std::sqrt(50)));
  CHECK(values(a.grad())[0] == doctest::Approx(3 * 0.5 / std::sqrt(50)));
  CHECK(values(b.grad()) == values(a.grad()));
  const Tensor mine = tensor({3, 4});
  a.set_grad(mine);
  optim::clip_grad_norm({a}, 1);
  CHECK(values(mine)[1] == doctest::Approx(0.8));
  CHECK(mine.version() == 1);
  c.set_grad(transpose(ones({3, 2}), 0, 1));  // strided
  CHECK(optim::clip_grad_norm({c}, 1) == doctest::Approx(std::sqrt(6)));
  for (double g : values(c.grad())) CHECK(g == doctest::Approx(1 / std::sqrt(6)));
}

TEST_CASE("optim: bad settings and states are refused with their names") {
  Tensor p = zeros({2}).requires_grad_();
  CHECK(refusal<ValueError>([&] { optim::AdamW opt({p}, {.lr = -1}); }) == "AdamW: lr = -1.000000 is out of range");
  CHECK(refusal<ValueError>([&] { optim::Adam opt({p}, {.beta1 = 1}); }) == "Adam: beta1 = 1.000000 is out of range");
  CHECK(refusal<ValueError>([&] { optim::SGD opt(std::vector<Tensor>{}); }) == "SGD: there are no parameters");
  CHECK(refusal<ValueError>([&] { optim::SGD opt({p, p}); }) == "SGD: the parameter [2] is given twice");
  CHECK(refusal<ValueError>([&] { optim::SGD opt({p, Tensor()}); }) == "SGD: parameter 1 is undefined");
  CHECK(refusal<ValueError>([&] { optim::SGD opt({zeros({2}, int64)}); }) == "SGD: the parameter [2] is int64");
  CHECK(refusal<ValueError>([&] { optim::SGD opt({2 * p}); }) ==
        "SGD: the parameter [2] is no leaf: it was recorded by mul");
  CHECK(refusal<ValueError>([&] {
          optim::SGD opt({zeros({2, 3}).detach(), transpose(zeros({2, 3}), 0, 1)});
        }) == "SGD: the parameter [3, 2] is not dense");
  const double nan = std::numeric_limits<double>::quiet_NaN();
  CHECK(refusal<ValueError>([&] { optim::SGD opt({p}, {.weight_decay = nan}); }) ==
        "SGD: weight_decay = nan is out of range");
  CHECK(refusal<ValueError>([&] { optim::cosine(10, 20); }) == "cosine: warmup = 20 is out of range");
  CHECK(refusal<ValueError>([&] { optim::linear(10, -1); }) == "linear: warmup = -1 is out of range");
  CHECK(refusal<ValueError>([&] { optim::clip_grad_norm({p}, 0); }) ==
        "clip_grad_norm: the limit 0.000000 must be positive");
  CHECK(refusal<ValueError>([&] { optim::clip_grad_value({p}, nan); }) ==
        "clip_grad_value: the limit nan must be positive");
}

}  // namespace attune::tests
