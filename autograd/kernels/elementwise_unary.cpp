#include "autograd/kernels/elementwise.h"
#include "autograd/kernels/elementwise_pieces.h"
#include "autograd/kernels/simd_targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "autograd/kernels/elementwise_unary.cpp"
#include "hwy/foreach_target.h"
// After foreach_target.h:
#include "autograd/kernels/simd_activation-inl.h"

HWY_BEFORE_NAMESPACE();
namespace attune::kernels::HWY_NAMESPACE {

/// y[i] = f(x[i]) over dense arrays.
template <class T>
void unary_dense(Unary f, const T* x, T* y, Size n) {
  switch (f) {
    case Unary::neg: return map(x, y, n, [](auto v) ATTUNE_SIMD { return hn::Neg(v); });
    case Unary::abs: return map(x, y, n, [](auto v) ATTUNE_SIMD { return hn::Abs(v); });
    // Where x is neither positive nor negative it is its own sign: 0 or NaN.
    case Unary::sign:
      return map(x, y, n, [](auto v) ATTUNE_SIMD {
        return hn::IfThenElse(hn::Gt(v, constant(v, 0)), constant(v, 1),
                              hn::IfThenElse(hn::Lt(v, constant(v, 0)), constant(v, -1), v));
      });
    case Unary::square: return map(x, y, n, [](auto v) ATTUNE_SIMD { return hn::Mul(v, v); });
    case Unary::sqrt: return map(x, y, n, [](auto v) ATTUNE_SIMD { return hn::Sqrt(v); });
    case Unary::rsqrt: return map(x, y, n, [](auto v) ATTUNE_SIMD { return hn::Div(constant(v, 1), hn::Sqrt(v)); });
    case Unary::reciprocal: return map(x, y, n, [](auto v) ATTUNE_SIMD { return hn::Div(constant(v, 1), v); });
    case Unary::exp: return map(x, y, n, [](auto v) ATTUNE_SIMD { return exp(v); });
    case Unary::exp2: return map(x, y, n, [](auto v) ATTUNE_SIMD { return exp2(v); });
    case Unary::expm1: return map(x, y, n, [](auto v) ATTUNE_SIMD { return expm1(v); });
    case Unary::log: return map(x, y, n, [](auto v) ATTUNE_SIMD { return log(v); });
    case Unary::log2: return map(x, y, n, [](auto v) ATTUNE_SIMD { return log2(v); });
    case Unary::log1p: return map(x, y, n, [](auto v) ATTUNE_SIMD { return log1p(v); });
    case Unary::sin: return map(x, y, n, [](auto v) ATTUNE_SIMD { return sin(v); });
    case Unary::cos: return map(x, y, n, [](auto v) ATTUNE_SIMD { return cos(v); });
    case Unary::tan:
      return map(x, y, n, [](auto v) ATTUNE_SIMD { return each_lane(v, [](T lane) { return std::tan(lane); }); });
    case Unary::tanh: return map(x, y, n, [](auto v) ATTUNE_SIMD { return tanh(v); });
    case Unary::sigmoid: return map(x, y, n, [](auto v) ATTUNE_SIMD { return sigmoid(v); });
    case Unary::log_sigmoid: return map(x, y, n, [](auto v) ATTUNE_SIMD { return hn::Neg(softplus(hn::Neg(v))); });
    case Unary::softplus: return map(x, y, n, [](auto v) ATTUNE_SIMD { return softplus(v); });
    case Unary::relu: return map(x, y, n, [](auto v) ATTUNE_SIMD { return at_least(v, 0); });
    case Unary::silu: return map(x, y, n, [](auto v) ATTUNE_SIMD { return silu(v); });
    case Unary::gelu: return map(x, y, n, [](auto v) ATTUNE_SIMD { return gelu(v); });
    case Unary::gelu_tanh: return map(x, y, n, [](auto v) ATTUNE_SIMD { return gelu_tanh(v); });
    case Unary::erf: return map(x, y, n, [](auto v) ATTUNE_SIMD { return erf(v); });
    case Unary::floor: return map(x, y, n, [](auto v) ATTUNE_SIMD { return hn::Floor(v); });
    case Unary::ceil: return map(x, y, n, [](auto v) ATTUNE_SIMD { return hn::Ceil(v); });
    case Unary::round: return map(x, y, n, [](auto v) ATTUNE_SIMD { return hn::Round(v); });
    case Unary::trunc: return map(x, y, n, [](auto v) ATTUNE_SIMD { return hn::Trunc(v); });
  }
}

void unary_f32(Unary f, const float* x, float* y, Size n) { unary_dense(f, x, y, n); }
void unary_f64(Unary f, const double* x, double* y, Size n) { unary_dense(f, x, y, n); }

}  // namespace attune::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace attune::kernels {

HWY_EXPORT(unary_f32);
HWY_EXPORT(unary_f64);

template <class T>
void unary(Unary f, const Shape& shape, Strided<T> x, T* y) {
  for_pieces<1>(shape, {Operand{x.data, sizeof(T), &x.strides}},
                [=](Size begin, Size n, const std::array<const void*, 1>& in) {
                  const T* p = static_cast<const T*>(in[0]);
                  if constexpr (sizeof(T) == 4)
                    HWY_DYNAMIC_DISPATCH(unary_f32)(f, p, y + begin, n);
                  else
                    HWY_DYNAMIC_DISPATCH(unary_f64)(f, p, y + begin, n);
                });
}

template void unary(Unary, const Shape&, Strided<float>, float*);
template void unary(Unary, const Shape&, Strided<double>, double*);

}  // namespace attune::kernels
#endif
