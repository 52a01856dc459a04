// Comparing, choosing, converting and filling. These loops are plain C++, vectorised by the compiler for
// each instruction set.
#include <atomic>
#include <cmath>
#include <limits>

#include "autograd/kernels/elementwise.h"
#include "autograd/kernels/elementwise_pieces.h"
#include "autograd/kernels/simd_targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "autograd/kernels/elementwise_select.cpp"
#include "hwy/foreach_target.h"
// After foreach_target.h:
#include "autograd/kernels/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace attune::kernels::HWY_NAMESPACE {

template <class T>
void compare_typed(Compare f, const T* a, const T* b, bool* y, Size n) {
  switch (f) {
    case Compare::eq:
#pragma omp simd
      for (Size i = 0; i < n; ++i) y[i] = a[i] == b[i];
      return;
    case Compare::ne:
#pragma omp simd
      for (Size i = 0; i < n; ++i) y[i] = a[i] != b[i];
      return;
    case Compare::lt:
#pragma omp simd
      for (Size i = 0; i < n; ++i) y[i] = a[i] < b[i];
      return;
    case Compare::le:
#pragma omp simd
      for (Size i = 0; i < n; ++i) y[i] = a[i] <= b[i];
      return;
    case Compare::gt: return compare_typed(Compare::lt, b, a, y, n);
    case Compare::ge: return compare_typed(Compare::le, b, a, y, n);
  }
}

/// y = f(a, b) over dense arrays of type t.
void compare_dense(Compare f, DType t, const void* a, const void* b, bool* y, Size n) {
  const auto typed = [=](auto zero) {
    using T = decltype(zero);
    compare_typed(f, static_cast<const T*>(a), static_cast<const T*>(b), y, n);
  };
  switch (t) {
    case DType::float32: return typed(float{});
    case DType::float64: return typed(double{});
    case DType::int64: return typed(std::int64_t{});
    case DType::int32: return typed(std::int32_t{});
    case DType::boolean: return typed(bool{});
  }
}

void logical_dense(Logical f, const bool* a, const bool* b, bool* y, Size n) {
  switch (f) {
    case Logical::and_:
#pragma omp simd
      for (Size i = 0; i < n; ++i) y[i] = a[i] & b[i];
      return;
    case Logical::or_:
#pragma omp simd
      for (Size i = 0; i < n; ++i) y[i] = a[i] | b[i];
      return;
  }
}

template <std::size_t bytes>
void where_sized(const bool* c, const void* a, const void* b, void* y, Size n) {
  using U = typename BitsOf<bytes>::type;
  const U* p = static_cast<const U*>(a);
  const U* q = static_cast<const U*>(b);
  U* out = static_cast<U*>(y);
#pragma omp simd
  for (Size i = 0; i < n; ++i) {
    const U u = p[i], v = q[i];
    out[i] = c[i] ? u : v;
  }
}

/// y = c ? a : b over dense arrays of elements of `bytes` bytes.
void where_dense(std::size_t bytes, const bool* c, const void* a, const void* b, void* y, Size n) {
  if (bytes == 1) return where_sized<1>(c, a, b, y, n);
  if (bytes == 4) return where_sized<4>(c, a, b, y, n);
  where_sized<8>(c, a, b, y, n);
}

template <class To, class From>
HWY_INLINE To converted(From v) {
  if constexpr (std::is_same_v<To, bool>) {
    return v != From{0};
  } else if constexpr (std::is_floating_point_v<From> && std::is_integral_v<To>) {
    // The bounds are powers of two, exact in either floating type.
    constexpr From bound = sizeof(To) == 4 ? From(0x1p31) : From(0x1p63);
    if (v >= bound) return std::numeric_limits<To>::max();
    if (v < -bound) return std::numeric_limits<To>::min();
    return v == v ? static_cast<To>(v) : To{0};
  } else {
    return static_cast<To>(v);
  }
}

template <class From, class To>
void cast_typed(const From* x, To* y, Size n) {
#pragma omp simd
  for (Size i = 0; i < n; ++i) y[i] = converted<To>(x[i]);
}

template <class From>
void cast_from(const void* x, DType to, void* y, Size n) {
  const From* p = static_cast<const From*>(x);
  switch (to) {
    case DType::float32: return cast_typed(p, static_cast<float*>(y), n);
    case DType::float64: return cast_typed(p, static_cast<double*>(y), n);
    case DType::int64: return cast_typed(p, static_cast<std::int64_t*>(y), n);
    case DType::int32: return cast_typed(p, static_cast<std::int32_t*>(y), n);
    case DType::boolean: return cast_typed(p, static_cast<bool*>(y), n);
  }
}

/// y = x converted, over dense arrays.
void cast_dense(DType from, const void* x, DType to, void* y, Size n) {
  switch (from) {
    case DType::float32: return cast_from<float>(x, to, y, n);
    case DType::float64: return cast_from<double>(x, to, y, n);
    case DType::int64: return cast_from<std::int64_t>(x, to, y, n);
    case DType::int32: return cast_from<std::int32_t>(x, to, y, n);
    case DType::boolean: return cast_from<bool>(x, to, y, n);
  }
}

/// The first index whose value is not finite, or n.
template <class T>
Size non_finite_dense(const T* x, Size n) {
  const hn::ScalableTag<T> d;
  const auto largest = hn::Set(d, std::numeric_limits<T>::max());
  const Size step = lanes(d);
  Size i = 0;
  for (; i + step <= n; i += step)
    if (!hn::AllTrue(d, hn::Le(hn::Abs(hn::LoadU(d, x + i)), largest))) break;
  for (; i < n; ++i)
    if (!std::isfinite(x[i])) return i;
  return n;
}

Size non_finite_f32(const float* x, Size n) { return non_finite_dense(x, n); }
Size non_finite_f64(const double* x, Size n) { return non_finite_dense(x, n); }

}  // namespace attune::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace attune::kernels {

HWY_EXPORT(compare_dense);
HWY_EXPORT(logical_dense);
HWY_EXPORT(where_dense);
HWY_EXPORT(cast_dense);
HWY_EXPORT(non_finite_f32);
HWY_EXPORT(non_finite_f64);

template <class T>
void compare(Compare f, const Shape& shape, Strided<T> a, Strided<T> b, bool* y) {
  for_pieces<2>(shape, {Operand{a.data, sizeof(T), &a.strides}, Operand{b.data, sizeof(T), &b.strides}},
                [=](Size begin, Size n, const std::array<const void*, 2>& in) {
                  HWY_DYNAMIC_DISPATCH(compare_dense)(f, dtype_of<T>, in[0], in[1], y + begin, n);
                });
}

void logical(Logical f, const Shape& shape, Strided<bool> a, Strided<bool> b, bool* y) {
  for_pieces<2>(shape, {Operand{a.data, 1, &a.strides}, Operand{b.data, 1, &b.strides}},
                [=](Size begin, Size n, const std::array<const void*, 2>& in) {
                  HWY_DYNAMIC_DISPATCH(logical_dense)
                  (f, static_cast<const bool*>(in[0]), static_cast<const bool*>(in[1]), y + begin, n);
                });
}

template <class T>
void where(const Shape& shape, Strided<bool> c, Strided<T> a, Strided<T> b, T* y) {
  for_pieces<3>(
      shape,
      {Operand{c.data, 1, &c.strides}, Operand{a.data, sizeof(T), &a.strides}, Operand{b.data, sizeof(T), &b.strides}},
      [=](Size begin, Size n, const std::array<const void*, 3>& in) {
        HWY_DYNAMIC_DISPATCH(where_dense)
        (sizeof(T), static_cast<const bool*>(in[0]), in[1], in[2], y + begin, n);
      });
}

void cast(const Shape& shape, DType from, const void* src, const Strides& src_strides, DType to, void* dst) {
  for_pieces<1>(shape, {Operand{src, size_of(from), &src_strides}},
                [=](Size begin, Size n, const std::array<const void*, 1>& in) {
                  char* y = static_cast<char*>(dst) + begin * static_cast<Size>(size_of(to));
                  HWY_DYNAMIC_DISPATCH(cast_dense)(from, in[0], to, y, n);
                });
}

template <class T>
void fill(T value, T* y, Size n) {
  parallel_for(n, piece_grain, [=](Size begin, Size end) { copy_run<sizeof(T)>(&value, 0, end - begin, y + begin); });
}

template <class T>
Size first_non_finite(const T* x, Size n) {
  std::atomic<std::int64_t> first{n};
  parallel_for(n, piece_grain, [&](Size begin, Size end) {
    if (begin > first.load(std::memory_order_relaxed)) return;
    Size i = 0;
    if constexpr (sizeof(T) == 4)
      i = HWY_DYNAMIC_DISPATCH(non_finite_f32)(x + begin, end - begin);
    else
      i = HWY_DYNAMIC_DISPATCH(non_finite_f64)(x + begin, end - begin);
    if (begin + i == end) return;
    Size seen = first.load(std::memory_order_relaxed);
    while (begin + i < seen && !first.compare_exchange_weak(seen, begin + i, std::memory_order_relaxed)) {
    }
  });
  return first < n ? first.load() : -1;
}

#define ATTUNE_INSTANTIATE(T)                                                   \
  template void compare(Compare, const Shape&, Strided<T>, Strided<T>, bool*);  \
  template void where(const Shape&, Strided<bool>, Strided<T>, Strided<T>, T*); \
  template void fill(T, T*, std::int64_t);
ATTUNE_INSTANTIATE(float)
ATTUNE_INSTANTIATE(double)
ATTUNE_INSTANTIATE(std::int64_t)
ATTUNE_INSTANTIATE(std::int32_t)
ATTUNE_INSTANTIATE(bool)
#undef ATTUNE_INSTANTIATE
template Size first_non_finite(const float*, Size);
template Size first_non_finite(const double*, Size);

}  // namespace attune::kernels
#endif
