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
#include <type_traits>

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

/// (e^r - 1 - r) / r^2, the relative error of e^r least (3e-9 and 2e-19); log(2) in two parts, of which the first has
/// few bits, so that its multiples are exact. What is rounded to n in x = n log(2) + r is x / log(2) - bias: r is in
/// [-0.288, 0.406] in float, where neither r nor e^r - 1 on the side of the smaller results have a rounding error of a
/// quarter of the result's; in double |r| <= log(2) / 2.
template <class T>
struct ExpFit;
template <>
struct ExpFit<float> {
  static constexpr float q[] = {0.500000191148f, 0.166665724656f, 0.0416582124091f, 0.00836012018845f,
                                0.00146512123695f};
  static constexpr double log2_high = 0.693145751953125, log2_low = 1.42860682030941723212e-6, bias = 0.085;
};
template <>
struct ExpFit<double> {
  static constexpr double q[] = {0.5,
                                 0.16666666666666671008,
                                 0.041666666666666669767,
                                 0.0083333333333261120526,
                                 0.0013888888888883731828,
                                 0.00019841269874901259234,
                                 0.000024801587325605322782,
                                 2.7557255297969644392e-6,
                                 2.7557273570102139673e-7,
                                 2.5105259538448493419e-8,
                                 2.0914717341716375952e-9};
  static constexpr double log2_high = 0.693147180369123816490, log2_low = 1.90821492927058770002e-10, bias = 0;
};

/// n, rounded to an integer, in the low bits of a sum with 1.5 x 2^(mantissa bits) and twice the exponent's bias: the
/// two factors of 2^n, either a normal number for any n that is in question, are taken from there.
template <class V>
struct PowerOfTwo {
  static constexpr int mantissa = sizeof(LaneOf<V>) == 4 ? 23 : 52;
  static constexpr double shift = sizeof(LaneOf<V>) == 4 ? 0x1.8p23 + 2 * 127 : 0x1.8p52 + 2 * 1023;
  V sum;

  HWY_INLINE V exponent() const { return hn::Sub(sum, constant(sum, shift)); }
  /// y 2^n, rounded once, also where that is subnormal.
  HWY_INLINE V scaled(V y) const {
#if HWY_TARGET == HWY_AVX3
    if constexpr (std::is_same_v<V, hn::Vec512<float>>) return V{_mm512_scalef_ps(y.raw, exponent().raw)};
    if constexpr (std::is_same_v<V, hn::Vec512<double>>) return V{_mm512_scalef_pd(y.raw, exponent().raw)};
#endif
    const auto half = hn::ShiftRight<1>(bits());
    return hn::Mul(hn::Mul(y, scale(half)), scale(hn::Sub(bits(), half)));
  }
  /// 2^n in one factor, for n within a normal number's exponents.
  HWY_INLINE V whole() const { return scale(hn::Sub(bits(), hn::Set(Bits(), sizeof(LaneOf<V>) == 4 ? 127 : 1023))); }

 private:
  using Bits = hn::Rebind<hwy::MakeUnsigned<LaneOf<V>>, hn::DFromV<V>>;
  HWY_INLINE hn::Vec<Bits> bits() const { return hn::BitCast(Bits(), sum); }
  HWY_INLINE V scale(hn::Vec<Bits> n) const { return hn::BitCast(hn::DFromV<V>(), hn::ShiftLeft<mantissa>(n)); }
};

/// e^x = (1 + t) 2^n with 1 + t in about [0.7, 1.5].
template <class V>
struct Exponential {
  V t;
  PowerOfTwo<V> n;

  HWY_INLINE V mantissa() const { return hn::Add(constant(t, 1), t); }
  HWY_INLINE V value() const { return n.scaled(mantissa()); }
  /// y e^x
  HWY_INLINE V times(V y) const { return n.scaled(hn::MulAdd(y, t, y)); }
};

/// e^r - 1 for a remainder r.
template <class V>
HWY_INLINE V exp_fraction(V r) {
  return hn::MulAdd(hn::Mul(r, r), polynomial(r, ExpFit<LaneOf<V>>::q), r);
}

/// The exponent n for a remainder of y - n.
template <class V>
HWY_INLINE PowerOfTwo<V> nearest_exponent(V y) {
  return {hn::Add(y, constant(y, PowerOfTwo<V>::shift))};
}
template <class V>
HWY_INLINE PowerOfTwo<V> exponent_of_exp(V x) {
  const V factor = constant(x, 1.44269504088896340736);
  constexpr double bias = ExpFit<LaneOf<V>>::bias;
  if constexpr (bias == 0)
    return {hn::MulAdd(x, factor, constant(x, PowerOfTwo<V>::shift))};
  else
    return nearest_exponent(hn::MulSub(x, factor, constant(x, bias)));
}
/// x - n log(2)
template <class V>
HWY_INLINE V exp_remainder(V x, PowerOfTwo<V> power) {
  using Fit = ExpFit<LaneOf<V>>;
  const V n = power.exponent();
  return hn::NegMulAdd(n, constant(x, Fit::log2_low), hn::NegMulAdd(n, constant(x, Fit::log2_high), x));
}

/// e^(x + rest), where neither overflows nor falls below 2^-250 (2^-2000 in double); rest is small beside 1.
template <class V>
HWY_INLINE Exponential<V> bounded_exp(V x, V rest) {
  const PowerOfTwo<V> n = exponent_of_exp(x);
  return {exp_fraction(hn::Add(exp_remainder(x, n), rest)), n};
}
template <class V>
HWY_INLINE Exponential<V> bounded_exp(V x) {
  const PowerOfTwo<V> n = exponent_of_exp(x);
  return {exp_fraction(exp_remainder(x, n)), n};
}

template <class V>
HWY_INLINE V exp(V x) {
  // What overflows does so through the remainder, which stays unbounded; NaN passes through it too.
  const V limit = constant(x, exp_limit<LaneOf<V>>);
  const PowerOfTwo<V> n = exponent_of_exp(hn::Min(x, limit));
  const V y = Exponential<V>{exp_fraction(exp_remainder(x, n)), n}.value();
  return hn::IfThenZeroElse(hn::Lt(x, hn::Neg(limit)), y);
}

template <class V>
HWY_INLINE V expm1(V x) {
  const hn::DFromV<V> d;
  const V y = hn::CopySign(hn::Expm1(d, at_most_or_nan(x, exp_limit<LaneOf<V>>)), x);
  return hn::IfThenElse(hn::IsNaN(x), x, y);
}

/// What log(x) is if x is not a positive finite number: -inf at 0, inf at inf, NaN elsewhere.
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

template <class V>
HWY_INLINE V exp2(V x) {
  const V limit = constant(x, sizeof(LaneOf<V>) == 4 ? 160 : 1100);
  const PowerOfTwo<V> n = nearest_exponent(hn::Sub(hn::Min(x, limit), constant(x, ExpFit<LaneOf<V>>::bias)));
  const V r = hn::Mul(hn::Sub(x, n.exponent()), constant(x, 0.693147180559945309417));
  return hn::IfThenZeroElse(hn::Lt(x, hn::Neg(limit)), Exponential<V>{exp_fraction(r), n}.value());
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

/// The larger (smaller) of two; NaN if either is.
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
