// What the functions of one operand should give, and the errors allowed: for the sampled test and the
// exhaustive program.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>

#include "autograd/kernels/elementwise.h"

namespace attune::tests {

using kernels::Unary;

template <class R>
R sigmoid_of(R x) {
  return x < 0 ? std::exp(x) / (1 + std::exp(x)) : 1 / (1 + std::exp(-x));
}
template <class R>
R softplus_of(R x) {
  return (x > 0 ? x : 0) + std::log1p(std::exp(-std::abs(x)));
}
template <class R>
R cdf_of(R x) {
  return std::erfc(-x / std::numbers::sqrt2_v<R>) / 2;
}
template <class R>
R tanh_argument(R x) {
  return 2 * std::sqrt(2 / std::numbers::pi_v<R>) * (x + R(0.044715L) * x * x * x);
}

/// A formula in long double, and in double, which is enough for float and ten times as fast.
struct Reference {
  template <class F>
  constexpr Reference(F f) : real_(f), fast_(f) {}
  long double operator()(long double x) const { return real_(x); }
  double operator()(double x) const { return fast_(x); }

 private:
  long double (*real_)(long double);
  double (*fast_)(double);
};

struct UnaryCase {
  Unary f;
  const char* name;
  Reference reference;
  double low, high;         // where accuracy is measured
  double ulp_f32, ulp_f64;  // the largest error allowed
};

inline const UnaryCase unary_cases[] = {
    {Unary::neg, "neg", [](auto x) { return -x; }, -10, 10, 0.5, 0.5},
    {Unary::abs, "abs", [](auto x) { return std::abs(x); }, -10, 10, 0.5, 0.5},
    {Unary::sign, "sign", [](auto x) { return decltype(x)(x > 0   ? 1
                                                          : x < 0 ? -1
                                                                  : x); }, -10, 10, 0.5, 0.5},
    {Unary::square, "square", [](auto x) { return x * x; }, -10, 10, 0.51, 0.51},
    {Unary::sqrt, "sqrt", [](auto x) { return std::sqrt(x); }, 0, 1e6, 0.51, 0.51},
    {Unary::rsqrt, "rsqrt", [](auto x) { return 1 / std::sqrt(x); }, 0, 1e6, 1.6, 1.6},
    {Unary::reciprocal, "reciprocal", [](auto x) { return 1 / x; }, -1e3, 1e3, 0.51, 0.51},
    {Unary::exp, "exp", [](auto x) { return std::exp(x); }, -110, 90, 1, 1},
    {Unary::exp2, "exp2", [](auto x) { return std::exp2(x); }, -155, 130, 2, 2},
    {Unary::expm1, "expm1", [](auto x) { return std::expm1(x); }, -90, 90, 4, 4},
    {Unary::log, "log", [](auto x) { return std::log(x); }, 0, 100, 2, 2},
    {Unary::log2, "log2", [](auto x) { return std::log2(x); }, 0, 100, 3, 3},
    {Unary::log1p, "log1p", [](auto x) { return std::log1p(x); }, -1, 100, 4, 4},
    {Unary::sin, "sin", [](auto x) { return std::sin(x); }, -1500, 1500, 4, 4},
    {Unary::cos, "cos", [](auto x) { return std::cos(x); }, -1500, 1500, 4, 4},
    {Unary::tan, "tan", [](auto x) { return std::tan(x); }, -100, 100, 2, 2},
    {Unary::tanh, "tanh", [](auto x) { return std::tanh(x); }, -20, 20, 4, 4},
    {Unary::sigmoid, "sigmoid", [](auto x) { return sigmoid_of(x); }, -110, 110, 4, 4},
    {Unary::log_sigmoid, "log_sigmoid", [](auto x) { return -softplus_of(-x); }, -110, 110, 4, 4},
    {Unary::softplus, "softplus", [](auto x) { return softplus_of(x); }, -110, 110, 4, 4},
    {Unary::relu, "relu", [](auto x) { return x < 0 ? decltype(x)(0) : x; }, -10, 10, 0.5, 0.5},
    // Down to where the results are 0.
    {Unary::silu, "silu", [](auto x) { return std::isinf(x) && x < 0 ? decltype(x)(0) : x * sigmoid_of(x); }, -110, 90,
     4, 4},
    {Unary::gelu, "gelu", [](auto x) { return std::isinf(x) && x < 0 ? decltype(x)(0) : x * cdf_of(x); }, -15, 15, 4,
     8},
    {Unary::gelu_tanh, "gelu_tanh",
     [](auto x) { return std::isinf(x) && x < 0 ? decltype(x)(0) : x * sigmoid_of(tanh_argument(x)); }, -11, 15, 4, 4},
    {Unary::erf, "erf", [](auto x) { return std::erf(x); }, -6, 6, 4, 4},
    {Unary::floor, "floor", [](auto x) { return std::floor(x); }, -100, 100, 0.5, 0.5},
    {Unary::ceil, "ceil", [](auto x) { return std::ceil(x); }, -100, 100, 0.5, 0.5},
    {Unary::round, "round", [](auto x) { return std::nearbyint(x); }, -100, 100, 0.5, 0.5},
    {Unary::trunc, "trunc", [](auto x) { return std::trunc(x); }, -100, 100, 0.5, 0.5},
};

/// |got - want| in units of the last place of want (of the smallest normal number below that).
template <class T, class Want>
double ulp_error(T got, Want want) {
  const T rounded = static_cast<T>(want);
  if (std::isnan(rounded)) return std::isnan(got) ? 0 : 1e30;
  if (std::isinf(rounded) || std::isinf(got)) return got == rounded ? 0 : 1e30;
  const Want magnitude = std::max<Want>(std::abs(want), std::numeric_limits<T>::min());
  const Want ulp = std::ldexp(Want{1}, std::ilogb(magnitude) - std::numeric_limits<T>::digits + 1);
  return got == rounded ? 0 : static_cast<double>(std::abs(static_cast<Want>(got) - want) / ulp);
}

}  // namespace attune::tests
