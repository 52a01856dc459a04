// Vector mathematics with IEEE answers. Highway's own functions are fast but ignore domain errors (Exp(NaN) = 0, Log(0)
// = -105, ...); everything the kernels need is wrapped or built here once. Compiled once per instruction set.
//
// Errors are a few ULP over the whole range, subnormal results included; a NaN argument gives NaN.
#if defined(ATTUNE_KERNELS_SIMD_MATH_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef ATTUNE_KERNELS_SIMD_MATH_INL_H_
#undef ATTUNE_KERNELS_SIMD_MATH_INL_H_
#else
#define ATTUNE_KERNELS_SIMD_MATH_INL_H_
#endif

#include <cmath>
#include <limits>

#include "autograd/kernels/simd-inl.h"
#include "hwy/contrib/math/math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace attune::kernels::HWY_NAMESPACE {

template <class V>
using LaneOf = hn::TFromD<hn::DFromV<V>>;

/// The constant c in every lane of a vector like v.
template <class V>
HWY_INLINE V constant(V /*v*/, double c) {
  return hn::Set(hn::DFromV<V>(), static_cast<LaneOf<V>>(c));
}

template <class V>
HWY_INLINE V infinity(V /*v*/) {
  return hn::Set(hn::DFromV<V>(), std::numeric_limits<LaneOf<V>>::infinity());
}

/// min(x, c) and max(x, c) that let NaN pass.
template <class V>
HWY_INLINE V at_most(V x, double c) {
  const V bound = constant(x, c);
  return hn::IfThenElse(hn::Gt(x, bound), bound, x);
}
template <class V>
HWY_INLINE V at_least(V x, double c) {
  const V bound = constant(x, c);
  return hn::IfThenElse(hn::Lt(x, bound), bound, x);
}

/// min(x, c), and c for NaN: what Highway's functions convert to integers must be in range.
template <class V>
HWY_INLINE V at_most_or_nan(V x, double c) {
  const V bound = constant(x, c);
  return hn::IfThenElse(hn::Lt(x, bound), x, bound);
}

/// f(lane) for every lane, in scalar code.
template <class V, class F>
HWY_INLINE V each_lane(V x, F f) {
  const hn::DFromV<V> d;
  HWY_ALIGN LaneOf<V> lane[hn::MaxLanes(d)];
  hn::Store(x, d, lane);
  for (std::size_t i = 0; i < hn::Lanes(d); ++i) lane[i] = f(lane[i]);
  return hn::Load(d, lane);
}

/// c[first] + c[first + step] x + c[first + 2 step] x^2 + ...
template <std::size_t first, std::size_t step, class V, class T, std::size_t n>
HWY_INLINE V horner(V x, const T (&c)[n]) {
  const V c0 = hn::Set(hn::DFromV<V>(), c[first]);
  if constexpr (first + step < n)
    return hn::MulAdd(horner<first + step, step>(x, c), x, c0);
  else
    return c0;
}

/// c[0] + c[1] x + c[2] x^2 + ..., in two chains, of the even and the odd powers.
template <class V, class T, std::size_t n>
HWY_INLINE V polynomial(V x, const T (&c)[n]) {
  const V square = hn::Mul(x, x);
  return hn::MulAdd(horner<1, 2>(square, c), x, horner<0, 2>(square, c));
}

/// Beyond this, exp overflows and exp(-x) is 0.
template <class T>
inline constexpr double exp_limit = sizeof(T) == 4 ? 105 : 750;

template <class V>
HWY_INLINE V exp(V x) {
  const hn::DFromV<V> d;
  const V y = hn::Exp(d, at_most_or_nan(x, exp_limit<LaneOf<V>>));
  return hn::IfThenElse(hn::IsNaN(x), x, y);
}

template <class V>
HWY_INLINE V expm1(V x) {
  const hn::DFromV<V> d;
  const V y = hn::CopySign(hn::Expm1(d, at_most_or_nan(x, exp_limit<LaneOf<V>>)), x);
  return hn::IfThenElse(hn::IsNaN(x), x, y);
}

/// What log(x) is where x is not a positive finite number: -inf at 0, inf at inf, NaN elsewhere.
template <class V>
HWY_INLINE V log_edge(V x) {
  const V nan = constant(x, std::numeric_limits<double>::quiet_NaN());
  return hn::IfThenElse(hn::Eq(x, hn::Zero(hn::DFromV<V>())), hn::Neg(infinity(x)),
                        hn::IfThenElse(hn::Eq(x, infinity(x)), x, nan));
}

template <class V>
HWY_INLINE auto is_positive_finite(V x) {
  return hn::And(hn::Gt(x, hn::Zero(hn::DFromV<V>())), hn::Lt(x, infinity(x)));
}

template <class V>
HWY_INLINE V log(V x) {
  const hn::DFromV<V> d;
  return hn::IfThenElse(is_positive_finite(x), hn::Log(d, x), log_edge(x));
}

template <class V>
HWY_INLINE V log1p(V x) {
  const hn::DFromV<V> d;
  const V x1 = hn::Add(x, constant(x, 1));
  return hn::IfThenElse(is_positive_finite(x1), hn::Log1p(d, x), log_edge(x1));
}

/// x 2^n for integral n; also where the result is subnormal or overflows.
template <class V>
HWY_INLINE V scale_by_power_of_two(V x, V n) {
  using T = LaneOf<V>;
  const hn::DFromV<V> d;
  // Adding 1.5 x 2^(mantissa bits) leaves the integer in the low bits of the sum; shifted into the exponent it is 2^n.
  constexpr int mantissa = sizeof(T) == 4 ? 23 : 52;
  const hn::Rebind<hwy::MakeUnsigned<T>, decltype(d)> du;
  const V shift = constant(x, sizeof(T) == 4 ? 0x1.8p23 + 127 : 0x1.8p52 + 1023);
  const V half = hn::Floor(hn::Mul(n, constant(n, 0.5)));
  const auto power = [&](V k) ATTUNE_SIMD {
    return hn::BitCast(d, hn::ShiftLeft<mantissa>(hn::BitCast(du, hn::Add(k, shift))));
  };
  return hn::Mul(hn::Mul(x, power(half)), power(hn::Sub(n, half)));
}

template <class V>
HWY_INLINE V exp2(V x) {
  const hn::DFromV<V> d;
  constexpr double limit = sizeof(LaneOf<V>) == 4 ? 160 : 1100;
  const V bounded = at_least(at_most_or_nan(x, limit), -limit);
  const V n = hn::Round(bounded);
  const V y = hn::Exp(d, hn::Mul(hn::Sub(bounded, n), constant(x, 0.693147180559945309417)));
  return hn::IfThenElse(hn::IsNaN(x), x, scale_by_power_of_two(y, n));
}

template <class V>
HWY_INLINE V log2(V x) {
  using T = LaneOf<V>;
  const hn::DFromV<V> d;
  const hn::Rebind<hwy::MakeSigned<T>, decltype(d)> di;
  constexpr int mantissa = sizeof(T) == 4 ? 23 : 52;
  // x = m 2^n with m in [sqrt(1/2), sqrt(2)), so that powers of two are exact and nothing cancels near 1.
  const auto subnormal = hn::Lt(x, hn::Set(d, std::numeric_limits<T>::min()));
  const V normal = hn::IfThenElse(subnormal, hn::Mul(x, constant(x, sizeof(T) == 4 ? 0x1p25 : 0x1p54)), x);
  const V root = constant(x, 0.707106781186547524401);
  const auto bits = hn::Sub(hn::BitCast(di, normal), hn::BitCast(di, root));
  const auto exponent = hn::ShiftRight<mantissa>(bits);
  const V m = hn::BitCast(d, hn::Sub(hn::BitCast(di, normal), hn::ShiftLeft<mantissa>(exponent)));
  const V n = hn::Sub(hn::ConvertTo(d, exponent), hn::IfThenElseZero(subnormal, constant(x, sizeof(T) == 4 ? 25 : 54)));
  const V y = hn::MulAdd(hn::Log(d, m), constant(x, 1.44269504088896340736), n);
  return hn::IfThenElse(is_positive_finite(x), y, log_edge(x));
}

/// Highway's reduction loses accuracy for large angles, which go to the C library.
template <class V>
HWY_INLINE V sin(V x) {
  const hn::DFromV<V> d;
  if (!hn::AllTrue(d, hn::Le(hn::Abs(x), constant(x, 1000)))) return each_lane(x, [](auto v) { return std::sin(v); });
  return hn::IfThenElse(hn::Eq(x, hn::Zero(d)), x, hn::Sin(d, x));  // keeps the sign of -0
}

template <class V>
HWY_INLINE V cos(V x) {
  const hn::DFromV<V> d;
  if (!hn::AllTrue(d, hn::Le(hn::Abs(x), constant(x, 1000)))) return each_lane(x, [](auto v) { return std::cos(v); });
  return hn::Cos(d, x);
}

template <class V>
HWY_INLINE V tanh(V x) {
  return hn::IfThenElse(hn::IsNaN(x), x, hn::Tanh(hn::DFromV<V>(), at_most_or_nan(x, 20)));
}

/// sigmoid(x) and sigmoid(-x), both to full relative accuracy.
template <class V>
struct SigmoidPair {
  V s, t;
};
template <class V>
HWY_INLINE SigmoidPair<V> sigmoid_pair(V x) {
  const V one = constant(x, 1);
  const V z = exp(hn::Neg(hn::Abs(x)));
  const V large = hn::Div(one, hn::Add(one, z)), small = hn::Mul(z, large);
  const auto negative = hn::Lt(x, hn::Zero(hn::DFromV<V>()));
  return {hn::IfThenElse(negative, small, large), hn::IfThenElse(negative, large, small)};
}

template <class V>
HWY_INLINE V sigmoid(V x) {
  const V one = constant(x, 1);
  const V z = exp(hn::Neg(hn::Abs(x)));
  return hn::Div(hn::IfThenElse(hn::Lt(x, hn::Zero(hn::DFromV<V>())), z, one), hn::Add(one, z));
}

/// log(1 + e^x)
template <class V>
HWY_INLINE V softplus(V x) {
  const hn::DFromV<V> d;
  return hn::Add(at_least(x, 0), hn::Log1p(d, exp(hn::Neg(hn::Abs(x)))));
}

/// x s, and 0 where s is 0, also for an infinite x.
template <class V>
HWY_INLINE V gated(V x, V s) {
  return hn::IfThenZeroElse(hn::Eq(s, hn::Zero(hn::DFromV<V>())), hn::Mul(x, s));
}

/// exp(-scale x^2) for scale = 1 or 1/2 and |x| <= 40. The rounding error of x^2, large beside 1, is carried along.
template <class V>
HWY_INLINE V exp_minus_square(V x, double scale) {
  const V c = constant(x, -scale);
#if HWY_NATIVE_FMA
  const V square = hn::Mul(x, x);
  const V error = hn::MulSub(x, x, square);
  const V y = exp(hn::Mul(square, c));
  return hn::MulAdd(y, hn::Mul(error, c), y);
#else
  using T = LaneOf<V>;
  const hn::DFromV<V> d;
  const hn::Rebind<hwy::MakeUnsigned<T>, decltype(d)> du;
  constexpr int low_bits = sizeof(T) == 4 ? 12 : 27;
  const V high = hn::BitCast(d, hn::ShiftLeft<low_bits>(hn::ShiftRight<low_bits>(hn::BitCast(du, x))));
  const V rest = hn::Mul(hn::Sub(x, high), hn::Add(x, high));  // x^2 = high^2 + rest, and high^2 is exact
  return hn::Mul(exp(hn::Mul(hn::Mul(high, high), c)), exp(hn::Mul(rest, c)));
#endif
}

/// The normal distribution's upper tail Phi(-x) for x >= 0 is exp(-x^2 / 2) m(x), with Mills' ratio m(x) = g(u) / (x +
/// 4), u = (x - 4) / (x + 4). g is smooth and nearly constant; the coefficients interpolate it at Chebyshev nodes
/// (relative error 1.3e-8 up to x = 14.5 for float, 2e-16 up to x = 39 for double, where Phi underflows).
template <class T>
struct TailFit;
template <>
struct TailFit<float> {
  static constexpr float g[] = {0.755285139f,    -0.607896606f,   0.38713668f,    -0.186523006f,   0.0604064697f,
                                -0.00752721291f, -0.00352357406f, 0.00156931365f, 0.000194801851f, -0.000122983157f};
  /// erf(t) / t in powers of t^2 up to t = 1/2
  static constexpr float erf[] = {1.128379166f, -0.3761260901f, 0.1128283143f, -0.02675773274f, 0.004719082567f};
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
};

/// Phi(-x) / exp(-x^2 / 2) for x >= 0.
template <class V>
HWY_INLINE V mills_ratio(V x) {
  const V r = hn::Div(constant(x, 1), hn::Add(x, constant(x, 4)));
  return hn::Mul(polynomial(hn::Mul(hn::Sub(x, constant(x, 4)), r), TailFit<LaneOf<V>>::g), r);
}

template <class V>
HWY_INLINE V erf(V t) {
  const V a = at_most(hn::Abs(t), 28);
  const V near = hn::Mul(a, polynomial(hn::Mul(a, a), TailFit<LaneOf<V>>::erf));
  const V tail = hn::Mul(exp_minus_square(a, 1.0), mills_ratio(hn::Mul(a, constant(a, 1.41421356237309504880))));
  const V far = hn::NegMulAdd(tail, constant(a, 2), constant(a, 1));
  return hn::CopySign(hn::IfThenElse(hn::Lt(a, constant(a, 0.5)), near, far), t);
}

/// The normal distribution function Phi(x) and its density phi(x); `x` comes back bounded to [-40, 40], where both are
/// constant.
template <class V>
struct Normal {
  V x, cdf, density;
};
template <class V>
HWY_INLINE Normal<V> normal(V x) {
  const V a = at_most(hn::Abs(x), 40);
  const V e = exp_minus_square(a, 0.5);
  const V tail = hn::Mul(e, mills_ratio(a));
  const V cdf = hn::IfThenElse(hn::Lt(x, hn::Zero(hn::DFromV<V>())), tail, hn::Sub(constant(x, 1), tail));
  return {hn::CopySign(a, x), cdf, hn::Mul(e, constant(x, 0.398942280401432677940))};
}

template <class V>
HWY_INLINE V gelu(V x) {
  return gated(x, normal(x).cdf);
}

/// gelu in the tanh form is x sigmoid(2 v) with v = sqrt(2/pi) (x + 0.044715 x^3).
template <class V>
HWY_INLINE V gelu_tanh_argument(V x) {
  constexpr double two_c = 1.59576912160573071176;
  return hn::Mul(x, hn::MulAdd(hn::Mul(x, x), constant(x, two_c * 0.044715), constant(x, two_c)));
}
template <class V>
HWY_INLINE V gelu_tanh(V x) {
  return gated(x, sigmoid(gelu_tanh_argument(x)));
}

template <class V>
HWY_INLINE V silu(V x) {
  const V y = gated(x, sigmoid(x));
  // Where the sigmoid comes near the subnormal numbers it loses digits; as two factors it does not.
  const V limit = constant(x, sizeof(LaneOf<V>) == 4 ? -86 : -707);
  const auto tail = hn::Lt(x, limit);
  if (hn::AllFalse(hn::DFromV<V>(), tail)) return y;
  const V half = exp(hn::Mul(x, constant(x, 0.5)));
  return hn::IfThenElse(tail, gated(hn::Mul(x, half), half), y);
}

/// The derivatives; 0 at -inf and 1 at inf.
template <class V>
HWY_INLINE V gelu_derivative(V x) {
  const Normal<V> f = normal(x);
  return hn::MulAdd(f.x, f.density, f.cdf);
}
template <class V>
HWY_INLINE V gelu_tanh_derivative(V x) {
  constexpr double two_c = 1.59576912160573071176;
  const V b = at_least(at_most(x, 100), -100);
  const SigmoidPair<V> p = sigmoid_pair(gelu_tanh_argument(b));
  const V slope = hn::MulAdd(hn::Mul(b, b), constant(x, 3 * two_c * 0.044715), constant(x, two_c));
  return hn::MulAdd(hn::Mul(hn::Mul(b, slope), p.t), p.s, p.s);
}
template <class V>
HWY_INLINE V silu_derivative(V x) {
  const V b = at_least(at_most(x, 2000), -2000);
  const SigmoidPair<V> p = sigmoid_pair(b);
  return hn::MulAdd(hn::Mul(b, p.t), p.s, p.s);
}

/// The larger (smaller) of two; NaN where either is.
template <class V>
HWY_INLINE V maximum(V a, V b) {
  return hn::IfThenElse(hn::Or(hn::Gt(a, b), hn::IsNaN(a)), a, b);
}
template <class V>
HWY_INLINE V minimum(V a, V b) {
  return hn::IfThenElse(hn::Or(hn::Lt(a, b), hn::IsNaN(a)), a, b);
}

}  // namespace attune::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
