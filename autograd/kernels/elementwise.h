// Elementwise kernels over raw pointers, SIMD through Highway with runtime dispatch; T is float or double unless said.
//
// Inputs are strided (strides in elements, 0 along broadcast axes), outputs dense row-major over `shape`. Inputs may
// not overlap an output unless they are the same dense range (in place). NaN, infinities and out-of-range values
// get IEEE answers for every element, also in the tail of a vector.
#pragma once

#include "autograd/kernels/size.h"
#include "autograd/runtime/dtype.h"
#include "autograd/runtime/shape.h"

namespace attune::kernels {

/// y = f(x).
enum class Unary : std::uint8_t {
  neg,
  abs,
  sign,
  square,
  sqrt,
  rsqrt,
  reciprocal,
  exp,
  exp2,
  expm1,
  log,
  log2,
  log1p,
  sin,
  cos,
  tan,
  tanh,
  sigmoid,
  log_sigmoid,
  softplus,
  relu,
  silu,
  gelu,
  gelu_tanh,
  erf,
  floor,
  ceil,
  round,
  trunc  // round: half to even
};

/// y = f(a, b). The `_grad` functions are fused backward passes: (saved, dy) -> dx.
enum class Binary : std::uint8_t {
  add,
  sub,
  mul,
  div,
  pow,
  maximum,
  minimum,
  atan2,
  fmod,
  hypot,
  relu_grad,       // (x, dy): 0 where x <= 0, else dy
  silu_grad,       // (x, dy)
  gelu_grad,       // (x, dy), erf form
  gelu_tanh_grad,  // (x, dy), tanh form
  tanh_grad,       // (y, dy): dy (1 - y^2)
  sigmoid_grad     // (y, dy): dy y (1 - y)
};

enum class Compare : std::uint8_t { eq, ne, lt, le, gt, ge };
enum class Logical : std::uint8_t { and_, or_ };

template <class T>
struct Strided {
  const T* data;
  Strides strides;  // of the iteration's rank
};

template <class T>
void unary(Unary f, const Shape& shape, Strided<T> x, T* y);

/// T may also be int64 or int32 for add, sub, mul, div (towards zero; a zero divisor gives 0), maximum, minimum.
template <class T>
void binary(Binary f, const Shape& shape, Strided<T> a, Strided<T> b, T* y);

/// T is any dtype's element type.
template <class T>
void compare(Compare f, const Shape& shape, Strided<T> a, Strided<T> b, bool* y);
void logical(Logical f, const Shape& shape, Strided<bool> a, Strided<bool> b, bool* y);

/// y = c ? a : b. T is any dtype's element type.
template <class T>
void where(const Shape& shape, Strided<bool> c, Strided<T> a, Strided<T> b, T* y);

/// y += alpha * x over n dense elements.
template <class T>
void axpy(T alpha, const T* x, T* y, Size n);

template <class T>
void fill(T value, T* y, Size n);

/// dst[i...] = src[i...] over `shape`, both strided, any dtype; no overlap.
void copy(DType t, const Shape& shape, const void* src, const Strides& src_strides, void* dst,
          const Strides& dst_strides);

/// Converts between any two dtypes, strided to dense. Floating to integer truncates towards zero and saturates (NaN
/// gives 0); to bool is != 0.
void cast(const Shape& shape, DType from, const void* src, const Strides& src_strides, DType to, void* dst);

/// The index of the first NaN or infinity in n dense elements, or -1.
template <class T>
Size first_non_finite(const T* x, Size n);

}  // namespace attune::kernels
