// The functions of neural layers, on top of simd_math-inl.h. Compiled once per instruction set.
//
// With a = |x|, silu and both forms of gelu are max(x, 0) - a s(-a), s their gate: a difference that never cancels, and
// a tail that keeps its digits down to the subnormal numbers, since it is scaled by its power of two last.
#if defined(ATTUNE_KERNELS_SIMD_ACTIVATION_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef ATTUNE_KERNELS_SIMD_ACTIVATION_INL_H_
#undef ATTUNE_KERNELS_SIMD_ACTIVATION_INL_H_
#else
#define ATTUNE_KERNELS_SIMD_ACTIVATION_INL_H_
#endif

#include "autograd/kernels/simd_math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace attune::kernels::HWY_NAMESPACE {

/// |x|, at most `limit`.
template <class V>
HWY_INLINE V magnitude(V x, double limit) {
  return at_most(hn::Abs(x), limit);
}
/// `below` where x is negative, `above` elsewhere.
template <class V>
HWY_INLINE V by_sign(V x, V below, V above) {
  return hn::IfThenElse(hn::Lt(x, hn::Zero(hn::DFromV<V>())), below, above);
}
/// max(x, 0) - tail
template <class V>
HWY_INLINE V above_tail(V x, V tail) {
  return hn::Sub(at_least(x, 0), tail);
}
/// A derivative from that at -|x|: the two add up to 1.
template <class V>
HWY_INLINE V derivative_from_tail(V x, V tail) {
  return by_sign(x, tail, hn::Sub(constant(x, 1), tail));
}

/// tanh(a) = (e^2a - 1) / (e^2a + 1), with e^2a - 1 = (2^n - 1) + 2^n t.
template <class V>
HWY_INLINE V tanh(V x) {
  const V a = magnitude(x, sizeof(LaneOf<V>) == 4 ? 10 : 20);
  const Exponential<V> e = bounded_exp(hn::Add(a, a));
  const V power = e.n.whole();
  const V minus_one = hn::MulAdd(power, e.t, hn::Sub(power, constant(x, 1)));
  return hn::CopySign(hn::Div(minus_one, hn::Add(minus_one, constant(x, 2))), x);
}

/// e^-|x|, which counts as 0 beyond the limit.
template <class V>
HWY_INLINE Exponential<V> exp_minus_magnitude(V x) {
  return bounded_exp(hn::Neg(magnitude(x, exp_limit<LaneOf<V>>)));
}

template <class V>
HWY_INLINE V sigmoid(V x) {
  const V one = constant(x, 1), e = exp_minus_magnitude(x).value();
  return hn::Div(by_sign(x, e, one), hn::Add(one, e));
}

/// log(1 + e^x)
template <class V>
HWY_INLINE V softplus(V x) {
  return hn::Add(at_least(x, 0), hn::Log1p(hn::DFromV<V>(), exp_minus_magnitude(x).value()));
}

/// a / (1 + 1 / e), the tail of x sigmoid(..) at sigmoid's argument -log(1 / e).
template <class V>
HWY_INLINE V logistic_tail(V a, Exponential<V> e) {
  const V m = e.mantissa(), full = hn::Add(e.n.scaled(m), constant(a, 1));
  return e.n.scaled(hn::Div(hn::Mul(a, m), full));
}

template <class V>
HWY_INLINE V silu(V x) {
  const V a = magnitude(x, exp_limit<LaneOf<V>> + 10);
  return above_tail(x, logistic_tail(a, bounded_exp(hn::Neg(a))));
}
template <class V>
HWY_INLINE V silu_derivative(V x) {
  const V one = constant(x, 1), a = magnitude(x, exp_limit<LaneOf<V>> + 10);
  const V e = bounded_exp(hn::Neg(a)).value(), s = hn::Div(one, hn::Add(one, e));
  return derivative_from_tail(x, hn::Mul(hn::Mul(e, s), hn::NegMulAdd(a, s, one)));
}

/// high + low, low a rounding error or two.
template <class V>
struct TwoParts {
  V high, low;
};

#if !HWY_NATIVE_FMA
/// v without the lower half of its digits.
template <class V>
HWY_INLINE V upper_digits(V v) {
  constexpr int low_bits = sizeof(LaneOf<V>) == 4 ? 12 : 27;
  const hn::DFromV<V> d;
  const hn::Rebind<hwy::MakeUnsigned<LaneOf<V>>, decltype(d)> du;
  return hn::BitCast(d, hn::ShiftLeft<low_bits>(hn::ShiftRight<low_bits>(hn::BitCast(du, v))));
}
#endif

/// x y, exactly where it is far from the smallest numbers.
template <class V>
HWY_INLINE TwoParts<V> product(V x, V y) {
  const V high = hn::Mul(x, y);
#if HWY_NATIVE_FMA
  return {high, hn::MulSub(x, y, high)};
#else
  const V xu = upper_digits(x), yu = upper_digits(y), xl = hn::Sub(x, xu), yl = hn::Sub(y, yu);  // Dekker 1971
  const V rest = hn::Add(hn::Add(hn::Sub(hn::Mul(xu, yu), high), hn::Mul(xu, yl)), hn::Mul(xl, yu));
  return {high, hn::Add(rest, hn::Mul(xl, yl))};
#endif
}

/// e^(-scale a^2) for scale = 1 or 1/2. The rounding error of a^2, large beside 1, is carried along.
template <class V>
HWY_INLINE Exponential<V> exp_minus_square(V a, double scale) {
  const TwoParts<V> square = product(a, a);
  const V c = constant(a, -scale);
  return bounded_exp(hn::Mul(square.high, c), hn::Mul(square.low, c));
}

/// The normal distribution's upper tail Phi(-x) for x >= 0 is exp(-x^2 / 2) m(x), with Mills' ratio m.
///
/// In float m = p / (1 + x (sqrt(2 pi) p + r)) with polynomials of positive coefficients (relative error 1.7e-8 up to x
/// = 15): where x is small p and r are nearly constants, where it is large an error of p cancels. In double m(x) = g(u)
/// / (x + 4), u = (x - 4) / (x + 4), g smooth and nearly constant, interpolated at Chebyshev nodes (2e-16 up to x =
/// 39). Beyond, Phi underflows.
template <class T>
struct TailFit;
template <>
struct TailFit<float> {
  static constexpr float p[] = {0.500000008459f, 0.458063566673f, 0.198131121592f, 0.0457222476487f, 0.0048889573532f};
  static constexpr float r[] = {0.460698658896f, 0.115639632246f, 0.0122020308638f, 1.14132059378e-6f};
  /// erf(t) / t in powers of t^2 up to t = 1/2
  static constexpr float erf[] = {1.128379166f, -0.3761260901f, 0.1128283143f, -0.02675773274f, 0.004719082567f};
  static constexpr double limit = 15;
};
template <>
struct TailFit<double> {
  static constexpr double g[] = {
      0.75528513041575153,     -0.607896641971890996,    0.387137400742204486,    -0.186521857959773594,
      0.0603965748913753224,   -0.00754018896310586992,  -0.00347969237441025512, 0.00163081840559192281,
      0.000133344363477230146, -0.000231094523496992027, -1.90841762551207413e-6, 0.000035142728742335487,
      7.16615481914774718e-7,  -5.91438008103476593e-6,  -6.27742234169765333e-7, 1.01091564220746048e-6,
      2.65435914596597502e-7,  -1.43500740677583072e-7,  -7.54840879453070122e-8, 7.27581936567948405e-9,
      1.17784925816340517e-8,  2.19763309259734662e-9};
  static constexpr double erf[] = {1.12837916709551257,     -0.376126389031834735,     0.112837916709253531,
                                   -0.0268661706328879294,  0.00522397737302147002,    -0.000854829775367496688,
                                   0.000120533351243537407, -0.0000148458492597078698, 1.47258654805567439e-6};
  static constexpr double limit = 40;
};

/// Phi(-x) / exp(-x^2 / 2) for x >= 0.
template <class V>
HWY_INLINE V mills_ratio(V x) {
  using Fit = TailFit<LaneOf<V>>;
  if constexpr (sizeof(LaneOf<V>) == 4) {
    const V p = horner<0, 1>(x, Fit::p);
    const V sum = hn::MulAdd(constant(x, 2.50662827463100050242), p, horner<0, 1>(x, Fit::r));
    return hn::Div(p, hn::MulAdd(x, sum, constant(x, 1)));
  } else {
    const V r = hn::Div(constant(x, 1), hn::Add(x, constant(x, 4)));
    return hn::Mul(polynomial(hn::Mul(hn::Sub(x, constant(x, 4)), r), Fit::g), r);
  }
}

template <class V>
HWY_INLINE V erf(V t) {
  using Fit = TailFit<LaneOf<V>>;
  const V a = magnitude(t, Fit::limit * 0.707106781186547524401);
  const V near = hn::Mul(a, polynomial(hn::Mul(a, a), Fit::erf));
  const Exponential<V> e = exp_minus_square(a, 1);
  const V tail = e.times(mills_ratio(hn::Mul(a, constant(a, 1.41421356237309504880))));
  const V far = hn::NegMulAdd(tail, constant(a, 2), constant(a, 1));
  return hn::CopySign(hn::IfThenElse(hn::Lt(a, constant(a, 0.5)), near, far), t);
}

template <class V>
HWY_INLINE V gelu(V x) {
  const V a = magnitude(x, TailFit<LaneOf<V>>::limit);
  const Exponential<V> e = exp_minus_square(a, 0.5);
  return above_tail(x, e.times(hn::Mul(a, mills_ratio(a))));
}
/// Phi(x) + x phi(x), phi the density
template <class V>
HWY_INLINE V gelu_derivative(V x) {
  const V a = magnitude(x, TailFit<LaneOf<V>>::limit), c = constant(x, 0.398942280401432677940);
  const Exponential<V> e = exp_minus_square(a, 0.5);
  return derivative_from_tail(x, e.times(hn::NegMulAdd(a, c, mills_ratio(a))));
}

/// gelu in the tanh form is x sigmoid(z) with z = 2 sqrt(2/pi) (x + 0.044715 x^3) = c x (x^2 + d).
inline constexpr double gelu_tanh_c = 0.0713548162726002487764, gelu_tanh_d = 22.3638600022363860002;

template <class V>
HWY_INLINE V gelu_tanh(V x) {
  // z up to 100 needs an absolute error far below 1: each product and sum comes with its error. d in two parts, the
  // first of few digits, which makes x^2 + d - d exact.
  constexpr double d_high = 22.359375, d_low = 0.0044850022363860002236;
  constexpr double c_low = sizeof(LaneOf<V>) == 4 ? 2.3988323959931356e-9 : -6.1751499181553155e-19;  // beyond c
  const V a = magnitude(x, sizeof(LaneOf<V>) == 4 ? 12 : 23), d = constant(x, d_high);
  const TwoParts<V> square = product(a, a);
  const V sum = hn::Add(square.high, d), error = hn::Sub(square.high, hn::Sub(sum, d));
  const V sum_low = hn::Add(hn::Add(error, square.low), constant(x, d_low));
  const TwoParts<V> cubic = product(a, sum);
  const V cubic_low = hn::MulAdd(a, sum_low, cubic.low);
  const V c = constant(x, gelu_tanh_c);
  const TwoParts<V> z = product(c, cubic.high);
  const V z_low = hn::MulAdd(c, cubic_low, hn::MulAdd(constant(x, c_low), cubic.high, z.low));
  return above_tail(x, logistic_tail(a, bounded_exp(hn::Neg(z.high), hn::Neg(z_low))));
}
template <class V>
HWY_INLINE V gelu_tanh_derivative(V x) {
  const V one = constant(x, 1), c = constant(x, gelu_tanh_c), cd = constant(x, gelu_tanh_c * gelu_tanh_d);
  const V a = magnitude(x, sizeof(LaneOf<V>) == 4 ? 12 : 23), square = hn::Mul(a, a);
  const V e = bounded_exp(hn::Neg(hn::Mul(a, hn::MulAdd(c, square, cd)))).value();
  const V s = hn::Div(one, hn::Add(one, e));
  const V slope = hn::MulAdd(hn::Mul(c, constant(x, 3)), square, cd);
  return derivative_from_tail(x, hn::Mul(hn::Mul(e, s), hn::NegMulAdd(hn::Mul(a, s), slope, one)));
}

}  // namespace attune::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
