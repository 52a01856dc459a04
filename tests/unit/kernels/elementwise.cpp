// The elementwise kernels against long double formulas, on every instruction set.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <numbers>
#include <random>
#include <string>
#include <vector>

#include "autograd/kernels/elementwise.h"
#include "autograd/runtime/parallel.h"
#include "tests/unit/accuracy.h"
#include "tests/unit/kernel_checks.h"

using namespace attune;
using namespace attune::kernels;
using namespace attune::tests;

namespace {

template <class T>
void dense(Unary f, const std::vector<T>& x, std::vector<T>& y) {
  unary(f, Shape{static_cast<std::int64_t>(x.size())}, Strided<T>{x.data(), {1}}, y.data());
}

template <class T>
std::vector<T> samples(double low, double high, std::size_t n) {
  std::mt19937_64 random(7);
  std::uniform_real_distribution<double> uniform(low, high), exponent(-30, 0);
  std::vector<T> x(n);
  for (std::size_t i = 0; i < n; ++i) {
    const double v = uniform(random);
    x[i] = static_cast<T>(i % 2 ? v : v * std::exp2(exponent(random)));  // half of them small
  }
  return x;
}

template <class T>
const std::vector<T> special_values = {std::numeric_limits<T>::quiet_NaN(),
                                       std::numeric_limits<T>::infinity(),
                                       -std::numeric_limits<T>::infinity(),
                                       T{0},
                                       -T{0},
                                       std::numeric_limits<T>::denorm_min(),
                                       -std::numeric_limits<T>::denorm_min(),
                                       std::numeric_limits<T>::max(),
                                       std::numeric_limits<T>::lowest(),
                                       T{1},
                                       T{-1},
                                       T{0.5},
                                       T{2.5},
                                       T{-1000}};

}  // namespace

TEST_CASE_TEMPLATE("unary kernels are accurate over their domains", T, float, double) {
  for (const UnaryCase& c : unary_cases) {
    INFO(std::string(c.name));
    const double stretch = sizeof(T) == 4 ? 1 : c.f == Unary::gelu ? 2.9 : c.high >= 90 && c.high <= 130 ? 7.8 : 1;
    const std::vector<T> x = samples<T>(c.low * stretch, c.high * stretch, 20001);
    std::vector<Real> want(x.size());
    for (std::size_t i = 0; i < x.size(); ++i) want[i] = c.reference(static_cast<Real>(x[i]));
    for_each_target([&] {
      std::vector<T> y(x.size());
      dense(c.f, x, y);
      double worst = 0, at = 0;
      for (std::size_t i = 0; i < x.size(); ++i)
        if (const double e = ulp_error(y[i], want[i]); e > worst) worst = e, at = static_cast<double>(x[i]);
      CAPTURE(at);
      CHECK(worst <= (sizeof(T) == 4 ? c.ulp_f32 : c.ulp_f64));
    });
  }
}

TEST_CASE("gelu is within 4 ULP where the run over all float32 numbers found its largest errors") {
  const std::vector<float> x{-0.0320649818F, -0.0658793375F, -0.00777512789F};
  for_each_target([&] {
    std::vector<float> y(x.size());
    dense(Unary::gelu, x, y);
    for (std::size_t i = 0; i < x.size(); ++i) {
      const Real at = x[i];
      CAPTURE(at);
      CHECK(ulp_error(y[i], at * std::erfc(-at * std::sqrt(Real{0.5})) / 2) <= 4);
    }
  });
}

TEST_CASE_TEMPLATE("unary kernels give IEEE answers at every position of every tail", T, float, double) {
  for (const UnaryCase& c : unary_cases) {
    INFO(std::string(c.name));
    for_each_target([&] {
      int wrong = 0;
      const T guard = 12345;
      for (const T special : special_values<T>) {
        const Real want = c.reference(special);
        for (std::size_t n = 1; n <= 33; ++n) {
          std::vector<T> plain(n, T{0.75}), plain_y(n);
          dense(c.f, plain, plain_y);
          for (std::size_t at = 0; at < n; ++at) {
            std::vector<T> x = plain, y(n + 1, guard);
            x[at] = special;
            dense(c.f, x, y);
            bool ok = ulp_error(y[at], want) <= 4 && y[n] == guard;
            for (std::size_t i = 0; i < n; ++i) ok = ok && (i == at || y[i] == plain_y[0]);
            wrong += !ok;
          }
        }
        CAPTURE(special);
        CHECK(wrong == 0);
        wrong = 0;
      }
    });
  }
}

TEST_CASE_TEMPLATE("exact values and signs of zero", T, float, double) {
  const auto one = [](Unary f, T x) {
    T y;
    unary(f, Shape{}, Strided<T>{&x, {}}, &y);
    return y;
  };
  for_each_target([&] {
    for (int k = -20; k <= 20; ++k) {
      CHECK(one(Unary::log2, std::ldexp(T{1}, k)) == k);
      CHECK(one(Unary::exp2, static_cast<T>(k)) == std::ldexp(T{1}, k));
    }
    for (Unary f : {Unary::neg, Unary::sin, Unary::tan, Unary::tanh, Unary::expm1, Unary::log1p, Unary::erf})
      CHECK(std::signbit(one(f, -T{0})) == (f != Unary::neg));
    CHECK(one(Unary::round, T{0.5}) == 0);
    CHECK(one(Unary::round, T{1.5}) == 2);
    CHECK(one(Unary::round, T{-2.5}) == -2);
    CHECK(one(Unary::exp, T{0}) == 1);
    CHECK(one(Unary::sigmoid, T{0}) == T{0.5});
  });
}

namespace {

Real gelu_derivative(Real x) {
  if (std::isinf(x)) return x > 0;
  return cdf_of(x) + x * std::exp(-x * x / 2) / std::sqrt(2 * std::numbers::pi_v<Real>);
}
Real silu_derivative(Real x) {
  if (std::isinf(x)) return x > 0;
  return sigmoid_of(x) * (1 + x * sigmoid_of(-x));
}
Real gelu_tanh_derivative(Real x) {
  if (std::isinf(x)) return x > 0;
  const Real s = sigmoid_of(tanh_argument(x)), t = sigmoid_of(-tanh_argument(x));
  const Real slope = 2 * std::sqrt(2 / std::numbers::pi_v<Real>) * (1 + 3 * 0.044715L * x * x);
  return s + (t == 0 ? 0 : x * s * t * slope);
}

template <class T>
std::vector<T> dense(Binary f, const std::vector<T>& a, const std::vector<T>& b) {
  std::vector<T> y(a.size());
  const Shape shape{static_cast<std::int64_t>(a.size())};
  binary(f, shape, Strided<T>{a.data(), {1}}, Strided<T>{b.data(), {1}}, y.data());
  return y;
}

}  // namespace

TEST_CASE_TEMPLATE("binary kernels", T, float, double) {
  struct Case {
    Binary f;
    const char* name;
    Real (*reference)(Real, Real);
    double absolute;  // tolerance, in epsilons, relative to max(1, |want|)
  };
  const Case cases[] = {
      {Binary::add, "add", [](Real a, Real b) { return a + b; }, 0.51},
      {Binary::sub, "sub", [](Real a, Real b) { return a - b; }, 0.51},
      {Binary::mul, "mul", [](Real a, Real b) { return a * b; }, 0.51},
      {Binary::div, "div", [](Real a, Real b) { return a / b; }, 0.51},
      {Binary::pow, "pow", [](Real a, Real b) { return std::pow(a, b); }, 1},
      {Binary::maximum, "maximum", [](Real a, Real b) { return std::isnan(a) || a > b ? a : b; }, 0},
      {Binary::minimum, "minimum", [](Real a, Real b) { return std::isnan(a) || a < b ? a : b; }, 0},
      {Binary::atan2, "atan2", [](Real a, Real b) { return std::atan2(a, b); }, 1},
      {Binary::fmod, "fmod", [](Real a, Real b) { return std::fmod(a, b); }, 0.51},
      {Binary::relu_grad, "relu_grad", [](Real a, Real b) { return a <= 0 ? 0 : b; }, 0},
      {Binary::silu_grad, "silu_grad", [](Real a, Real b) { return silu_derivative(a) * b; }, 8},
      {Binary::gelu_grad, "gelu_grad", [](Real a, Real b) { return gelu_derivative(a) * b; }, 8},
      {Binary::gelu_tanh_grad, "gelu_tanh_grad", [](Real a, Real b) { return gelu_tanh_derivative(a) * b; }, 32},
      {Binary::tanh_grad, "tanh_grad", [](Real a, Real b) { return b * (1 - a * a); }, 200},
      {Binary::sigmoid_grad, "sigmoid_grad", [](Real a, Real b) { return b * a * (1 - a); }, 8},
  };
  std::vector<T> a = samples<T>(-12, 12, 3001), b = samples<T>(-3, 3, 3001);
  std::shuffle(b.begin(), b.end(), std::mt19937(1));
  for (const T u : special_values<T>)
    for (const T v : {T{1}, T{-2}, T{0}, std::numeric_limits<T>::quiet_NaN()}) a.push_back(u), b.push_back(v);
  for (const Case& c : cases) {
    INFO(std::string(c.name));
    for_each_target([&] {
      const std::vector<T> y = dense(c.f, a, b);
      double worst = 0, at = 0;
      for (std::size_t i = 0; i < a.size(); ++i) {
        const bool output = c.f == Binary::tanh_grad || c.f == Binary::sigmoid_grad;  // a is the saved output
        if (output && std::isfinite(a[i]) && std::abs(a[i]) > 1e4) continue;
        const Real want = c.reference(a[i], b[i]);
        const T rounded = static_cast<T>(want);
        double e = std::isnan(rounded) ? (std::isnan(y[i]) ? 0 : 1e30) : y[i] == rounded ? 0 : 1e30;
        if (std::isfinite(rounded) && std::isfinite(y[i]))
          e = static_cast<double>(std::abs(static_cast<Real>(y[i]) - want) / std::max<Real>(1, std::abs(want))) /
              static_cast<double>(std::numeric_limits<T>::epsilon());
        if (e > worst) worst = e, at = static_cast<double>(a[i]);
      }
      CAPTURE(at);
      CHECK(worst <= c.absolute);
    });
  }
}

TEST_CASE_TEMPLATE("integer kernels wrap around, and divide towards zero", T, std::int64_t, std::int32_t) {
  const T least = std::numeric_limits<T>::min(), most = std::numeric_limits<T>::max();
  const std::vector<T> a = {7, -7, 7, -7, 5, 0, least, most, least, most, 3};
  const std::vector<T> b = {2, 2, -2, -2, 0, 0, -1, 1, 1, 2, least};
  for_each_target([&] {
    CHECK(dense(Binary::div, a, b) == std::vector<T>{3, -3, -3, 3, 0, 0, least, most, least, most / 2, 0});
    CHECK(dense(Binary::add, a, b)[7] == least);
    CHECK(dense(Binary::sub, a, b)[8] == most);
    CHECK(dense(Binary::mul, a, b)[9] == -2);
    CHECK(dense(Binary::maximum, a, b)[10] == 3);
    CHECK(dense(Binary::minimum, a, b)[10] == least);
  });
  CHECK_THROWS(dense(Binary::pow, a, b));
}

TEST_CASE_TEMPLATE("dense helpers", T, float, double) {
  for_each_target([&] {
    for (std::int64_t n : {0, 1, 7, 33, 70001}) {
      std::vector<T> x(static_cast<std::size_t>(n)), y(x.size() + 1, T{-5});
      for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<T>(i % 100);
      fill(T{3}, y.data(), n);
      axpy(T{-2}, x.data(), y.data(), n);
      bool ok = y.back() == T{-5};
      for (std::size_t i = 0; i < x.size(); ++i) ok = ok && y[i] == 3 - 2 * x[i];
      fill(T{9}, y.data(), n);
      for (std::size_t i = 0; i < x.size(); ++i) ok = ok && y[i] == 9;
      CHECK((ok && y.back() == T{-5}));
      CHECK(first_non_finite(y.data(), n) == -1);
      if (n == 0) continue;
      y[x.size() - 1] = std::numeric_limits<T>::quiet_NaN();
      CHECK(first_non_finite(y.data(), n) == n - 1);
      y[x.size() / 2] = -std::numeric_limits<T>::infinity();
      CHECK(first_non_finite(y.data(), n) == n / 2);
    }
  });
}
