// Sums, products, extremes and dot products in fixed trees.
//
// The middle axis is cut into chunks of a size that follows from `inner` alone; each chunk of each row, or of each tile
// of columns, is one leaf, reduced by SIMD on one thread. Where there are several chunks their results are reduced
// again the same way.
#include "autograd/kernels/reduce.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>

#include "autograd/kernels/simd_targets.h"
#include "autograd/runtime/parallel.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "autograd/kernels/reduce.cpp"
#include "hwy/foreach_target.h"
// After foreach_target.h:
#include "autograd/kernels/simd_math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace attune::kernels::HWY_NAMESPACE {

// A reduction is its identity and its operation on vectors and scalars. NaN wins in max and min.
template <class T>
struct Sum {
  static constexpr T identity = 0;
  template <class V>
  HWY_INLINE V operator()(V a, V b) const {
    if constexpr (std::is_integral_v<V>)
      return static_cast<V>(static_cast<std::make_unsigned_t<V>>(a) + static_cast<std::make_unsigned_t<V>>(b));
    else if constexpr (std::is_floating_point_v<V>)
      return a + b;
    else
      return hn::Add(a, b);
  }
};
template <class T>
struct Product {
  static constexpr T identity = 1;
  template <class V>
  HWY_INLINE V operator()(V a, V b) const {
    if constexpr (std::is_integral_v<V>)
      return static_cast<V>(static_cast<std::make_unsigned_t<V>>(a) * static_cast<std::make_unsigned_t<V>>(b));
    else if constexpr (std::is_floating_point_v<V>)
      return a * b;
    else
      return hn::Mul(a, b);
  }
};
template <class T>
struct Max {
  static constexpr T identity =
      std::is_floating_point_v<T> ? -std::numeric_limits<T>::infinity() : std::numeric_limits<T>::lowest();
  template <class V>
  HWY_INLINE V operator()(V a, V b) const {
    if constexpr (std::is_arithmetic_v<V>)
      return a > b || a != a ? a : b;
    else
      return maximum(a, b);
  }
};
template <class T>
struct Min {
  static constexpr T identity =
      std::is_floating_point_v<T> ? std::numeric_limits<T>::infinity() : std::numeric_limits<T>::max();
  template <class V>
  HWY_INLINE V operator()(V a, V b) const {
    if constexpr (std::is_arithmetic_v<V>)
      return a < b || a != a ? a : b;
    else
      return minimum(a, b);
  }
};

/// Whether rows and columns go by whole vectors of T; integers are left to the compiler's vectoriser.
template <class T>
inline constexpr bool by_vectors = std::is_floating_point_v<T>;

/// One dense row, pairwise: leaves of at most 64 vectors in each of four chains.
template <class T, class Op>
T reduce_row(Op op, const T* x, Size n) {
  if constexpr (by_vectors<T>) {
    const hn::ScalableTag<T> d;
    const Size step = lanes(d), leaf = 256 * step;
    if (n > leaf) {
      const Size half = (n / leaf + 1) / 2 * leaf;
      return op(reduce_row(op, x, half), reduce_row(op, x + half, n - half));
    }
    const auto identity = hn::Set(d, Op::identity);
    auto a0 = identity, a1 = identity, a2 = identity, a3 = identity;
    Size i = 0;
    for (; i + 4 * step <= n; i += 4 * step) {
      a0 = op(hn::LoadU(d, x + i), a0);
      a1 = op(hn::LoadU(d, x + i + step), a1);
      a2 = op(hn::LoadU(d, x + i + 2 * step), a2);
      a3 = op(hn::LoadU(d, x + i + 3 * step), a3);
    }
    for (; i < n; i += step) {
      const Step<decltype(d)> s{d, n - i};
      a0 = op(s.keep(s.load(x + i), identity), a0);
    }
    a0 = op(op(a0, a1), op(a2, a3));
    HWY_ALIGN T lane[hn::MaxLanes(d)];
    hn::Store(a0, d, lane);
    for (Size width = step / 2; width > 0; width /= 2)
      for (Size k = 0; k < width; ++k) lane[k] = op(lane[k], lane[k + width]);
    return lane[0];
  } else {
    T y = Op::identity;
    for (Size i = 0; i < n; ++i) y = op(x[i], y);
    return y;
  }
}

/// The widest tile of columns.
inline constexpr Size tile_width = 256;

/// y[width] = x[n, width] over n, rows `stride` apart, pairwise above 32 rows; width <= tile_width.
template <class T, class Op>
void reduce_columns(Op op, const T* x, Size n, Size stride, Size width, T* y) {
  if (n > 32) {
    const Size half = (n / 32 + 1) / 2 * 32;
    HWY_ALIGN T upper[tile_width];
    reduce_columns(op, x, half, stride, width, y);
    reduce_columns(op, x + half * stride, n - half, stride, width, upper);
    if constexpr (by_vectors<T>)
      map(upper, y, y, width, op);
    else
      for (Size i = 0; i < width; ++i) y[i] = op(upper[i], y[i]);
    return;
  }
  if constexpr (by_vectors<T>) {
    const hn::ScalableTag<T> d;
    const Size step = lanes(d);
    const auto identity = hn::Set(d, Op::identity);
    Size i = 0;
    for (; i + 4 * step <= width; i += 4 * step) {
      auto a0 = identity, a1 = identity, a2 = identity, a3 = identity;
      const T* p = x + i;
      for (Size k = 0; k < n; ++k, p += stride) {
        a0 = op(hn::LoadU(d, p), a0);
        a1 = op(hn::LoadU(d, p + step), a1);
        a2 = op(hn::LoadU(d, p + 2 * step), a2);
        a3 = op(hn::LoadU(d, p + 3 * step), a3);
      }
      hn::StoreU(a0, d, y + i);
      hn::StoreU(a1, d, y + i + step);
      hn::StoreU(a2, d, y + i + 2 * step);
      hn::StoreU(a3, d, y + i + 3 * step);
    }
    for (; i < width; i += step) {
      const Step<decltype(d)> s{d, width - i};
      auto a = identity;
      for (Size k = 0; k < n; ++k) a = op(s.load(x + k * stride + i), a);
      s.store(a, y + i);
    }
  } else {
    std::fill_n(y, width, Op::identity);
    for (Size k = 0; k < n; ++k)
#pragma omp simd
      for (Size i = 0; i < width; ++i) y[i] = op(x[k * stride + i], y[i]);
  }
}

/// One leaf: width = 0 means a dense row of n elements, else n rows of `width` columns, `stride` apart.
template <class T>
void leaf(Reduce f, const T* x, Size n, Size stride, Size width, T* y) {
  const auto run = [=](auto op) {
    if (width == 0)
      *y = reduce_row(op, x, n);
    else
      reduce_columns(op, x, n, stride, width, y);
  };
  switch (f) {
    case Reduce::sum: return run(Sum<T>());
    case Reduce::prod: return run(Product<T>());
    case Reduce::max: return run(Max<T>());
    case Reduce::min: return run(Min<T>());
  }
}

void leaf_f32(Reduce f, const float* x, Size n, Size stride, Size width, float* y) { leaf(f, x, n, stride, width, y); }
void leaf_f64(Reduce f, const double* x, Size n, Size stride, Size width, double* y) {
  leaf(f, x, n, stride, width, y);
}
void leaf_i64(Reduce f, const std::int64_t* x, Size n, Size stride, Size width, std::int64_t* y) {
  leaf(f, x, n, stride, width, y);
}
void leaf_i32(Reduce f, const std::int32_t* x, Size n, Size stride, Size width, std::int32_t* y) {
  leaf(f, x, n, stride, width, y);
}

double dot_f32(const float* a, const float* b, Size n) {
  const hn::ScalableTag<double> d;
  const hn::Rebind<float, decltype(d)> half;
  return sum<4>(d, n, [=](auto s, Size i) ATTUNE_SIMD {
    const Step<decltype(half)> h{half, s.left};
    return hn::Mul(hn::PromoteTo(d, h.load(a + i)), hn::PromoteTo(d, h.load(b + i)));
  });
}
double dot_f64(const double* a, const double* b, Size n) {
  return sum<4>(hn::ScalableTag<double>(), n,
                [=](auto s, Size i) ATTUNE_SIMD { return hn::Mul(s.load(a + i), s.load(b + i)); });
}

}  // namespace attune::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace attune::kernels {

HWY_EXPORT(leaf_f32);
HWY_EXPORT(leaf_f64);
HWY_EXPORT(leaf_i64);
HWY_EXPORT(leaf_i32);
HWY_EXPORT(dot_f32);
HWY_EXPORT(dot_f64);

namespace {

constexpr Size chunk_elements = 65536;  // a leaf's largest size, roughly

/// The width that cuts `inner` columns into the fewest tiles of about the same size, all but the last a multiple of 16.
Size even_tile(Size inner) {
  constexpr Size widest = 256;
  const Size tiles = std::max<Size>(1, (inner + widest - 1) / widest);
  return std::clamp<Size>(((inner + tiles - 1) / tiles + 15) / 16 * 16, 1, std::max<Size>(1, inner));
}

auto leaf_of(float) { return HWY_DYNAMIC_DISPATCH(leaf_f32); }
auto leaf_of(double) { return HWY_DYNAMIC_DISPATCH(leaf_f64); }
auto leaf_of(std::int64_t) { return HWY_DYNAMIC_DISPATCH(leaf_i64); }
auto leaf_of(std::int32_t) { return HWY_DYNAMIC_DISPATCH(leaf_i32); }

}  // namespace

template <class T>
void reduce(Reduce f, const T* x, Size outer, Size n, Size inner, T* y) {
  const auto leaf = leaf_of(T{});
  const bool rows = inner == 1;
  const Size width = rows ? 1 : even_tile(inner);
  const Size chunk = std::max<Size>(64, chunk_elements / width);
  const Size chunks = std::max<Size>(1, (n + chunk - 1) / chunk);
  const Size tiles = (inner + width - 1) / width;

  std::unique_ptr<T[]> partial;
  if (chunks > 1) partial.reset(new T[static_cast<std::size_t>(outer * chunks * inner)]);
  T* out = partial ? partial.get() : y;

  const Size elements = std::max<Size>(1, std::min(n, chunk) * width);
  parallel_for(outer * chunks * tiles, std::max<Size>(1, 16384 / elements), [=](Size begin, Size end) {
    for (Size job = begin; job < end; ++job) {
      const Size tile = job % tiles, piece = job / tiles, column = tile * width;
      const Size o = piece / chunks, first = piece % chunks * chunk;
      const Size columns = rows ? 0 : std::min(width, inner - column);
      leaf(f, x + (o * n + first) * inner + column, std::min(chunk, n - first), inner, columns,
           out + piece * inner + column);
    }
  });
  if (chunks > 1) reduce(f, out, outer, chunks, inner, y);
}

template <class T>
double dot(const T* a, const T* b, Size n) {
  const Size chunks = (n + chunk_elements - 1) / chunk_elements;
  double single = 0;
  std::unique_ptr<double[]> several;
  if (chunks > 1) several.reset(new double[static_cast<std::size_t>(chunks)]);
  double* partial = several ? several.get() : &single;
  parallel_for(n, chunk_elements, [=](Size begin, Size end) {
    double& sum = partial[begin / chunk_elements];
    if constexpr (sizeof(T) == 4)
      sum = HWY_DYNAMIC_DISPATCH(dot_f32)(a + begin, b + begin, end - begin);
    else
      sum = HWY_DYNAMIC_DISPATCH(dot_f64)(a + begin, b + begin, end - begin);
  });
  if (chunks > 1) reduce(Reduce::sum, partial, 1, chunks, 1, &single);
  return single;
}

template <class T>
double norm(const T* x, Size n) {
  const double squares = dot(x, x, n);
  // A float's square is a normal double; a double's may be beyond the range.
  if (sizeof(T) == 4 || (squares > 1e-280 && squares < std::numeric_limits<double>::infinity()))
    return std::sqrt(squares);
  double most = 0;
  for (Size i = 0; i < n; ++i) {
    if (std::isnan(x[i])) return std::numeric_limits<double>::quiet_NaN();
    most = std::max(most, std::abs(static_cast<double>(x[i])));
  }
  if (most == 0 || std::isinf(most)) return most;
  const int exponent = std::clamp(std::ilogb(most), -1000, 1000);
  const double unit = std::ldexp(1.0, -exponent);
  constexpr Size piece = 1024;
  double total = 0;
  for (Size i = 0; i < n; i += piece) {
    double part = 0;
    for (Size j = i; j < std::min(i + piece, n); ++j) {
      const double v = static_cast<double>(x[j]) * unit;
      part += v * v;
    }
    total += part;
  }
  return std::ldexp(std::sqrt(total), exponent);
}

template <class T>
void norms(const T* x, Size rows, Size n, T* y) {
  if (n > chunk_elements) {  // each in parallel
    for (Size r = 0; r < rows; ++r) y[r] = static_cast<T>(norm(x + r * n, n));
    return;
  }
  parallel_for(rows, std::max<Size>(1, 16384 / std::max<Size>(1, n)), [=](Size begin, Size end) {
    for (Size r = begin; r < end; ++r) y[r] = static_cast<T>(norm(x + r * n, n));
  });
}

template double norm(const float*, Size);
template double norm(const double*, Size);
template void norms(const float*, Size, Size, float*);
template void norms(const double*, Size, Size, double*);
template void reduce(Reduce, const float*, Size, Size, Size, float*);
template void reduce(Reduce, const double*, Size, Size, Size, double*);
template void reduce(Reduce, const std::int64_t*, Size, Size, Size, std::int64_t*);
template void reduce(Reduce, const std::int32_t*, Size, Size, Size, std::int32_t*);
template double dot(const float*, const float*, Size);
template double dot(const double*, const double*, Size);

}  // namespace attune::kernels
#endif
