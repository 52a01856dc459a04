#include "autograd/kernels/gemm_packed.h"

#include <algorithm>
#include <array>
#include <memory>
#include <new>
#include <utility>

#include "autograd/kernels/simd_targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "autograd/kernels/gemm_packed.cpp"
#include "hwy/foreach_target.h"
// After foreach_target.h:
#include "autograd/kernels/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace attune::kernels::HWY_NAMESPACE {

#if HWY_TARGET <= HWY_AVX3

// A tile of C is tile_rows x 2 vectors: 24 of the 32 registers, and enough sums in flight for two FMA pipes.
constexpr Size tile_rows = 12;
// Along k, a slice of B's panel stays in the first-level cache and A's block in the second.
constexpr Size slice_k = 320, block_rows = 16 * tile_rows, block_columns = 1024;

/// c[0..R, 0..V vectors] = alpha a b + beta c + bias over packed panels a [k, tile_rows] and b [k, panel_columns]; the
/// last vector has `last` columns. bias may be null.
template <int R, int V, class T>
void tile(Size k, const T* HWY_RESTRICT a, const T* HWY_RESTRICT b, Size b_step, T alpha, T beta, const T* bias,
          T* HWY_RESTRICT c, Size ldc, Size last) {
  const hn::ScalableTag<T> d;
  const Size step = lanes(d);
  hn::Vec<decltype(d)> sum[R][V];
  for (int i = 0; i < R; ++i)
    for (int v = 0; v < V; ++v) sum[i][v] = hn::Zero(d);
  for (Size p = 0; p < k; ++p, a += tile_rows, b += b_step) {
    hn::Vec<decltype(d)> row[V];
    for (int v = 0; v < V; ++v) row[v] = hn::LoadU(d, b + v * step);
    for (int i = 0; i < R; ++i)
      for (int v = 0; v < V; ++v) sum[i][v] = hn::MulAdd(hn::Set(d, a[i]), row[v], sum[i][v]);
  }
  const auto scale = hn::Set(d, alpha), kept = hn::Set(d, beta);
  for (int v = 0; v < V; ++v) {
    const Step<decltype(d)> s{d, v + 1 < V ? step : last};
    const auto added = bias ? s.load(bias + v * step) : hn::Zero(d);
    for (int i = 0; i < R; ++i) {
      T* to = c + i * ldc + v * step;
      auto y = hn::Mul(scale, sum[i][v]);
      if (beta != T{0}) y = hn::MulAdd(kept, s.load(to), y);
      s.store(bias ? hn::Add(y, added) : y, to);
    }
  }
}

template <class T>
using Tile = void (*)(Size k, const T* a, const T* b, Size b_step, T alpha, T beta, const T* bias, T* c, Size ldc,
                      Size last);

/// tiles[rows - 1][vectors - 1]
template <class T, int... R>
constexpr auto all_tiles(std::integer_sequence<int, R...>) {
  return std::array<std::array<Tile<T>, 2>, sizeof...(R)>{{{&tile<R + 1, 1, T>, &tile<R + 1, 2, T>}...}};
}

// Packing puts `rows` x `columns` of op(A) (or of op(B) transposed) into panels of `width` rows: element (i, p) lies at
// (i - i % width) columns + p width + i % width. Rows beyond the last are left as they are, and their sums are dropped.

/// From a matrix with consecutive columns.
template <Size width, class T>
void pack_transposed(const T* HWY_RESTRICT x, Size stride, Size rows, Size columns, T* HWY_RESTRICT to) {
  constexpr Size n = 16 / sizeof(T);
  static_assert(width % n == 0);
  const hn::FixedTag<T, n> d;
  Size i = 0;
  for (; i + n <= rows; i += n) {
    const T* row = x + i * stride;
    T* panel = to + i / width * width * columns + i % width;
    Size p = 0;
    for (; p + n <= columns; p += n) {
      T* out = panel + p * width;
      const auto r0 = hn::LoadU(d, row + p), r1 = hn::LoadU(d, row + stride + p);
      const auto low = hn::InterleaveLower(d, r0, r1), high = hn::InterleaveUpper(d, r0, r1);
      if constexpr (n == 2) {
        hn::StoreU(low, d, out);
        hn::StoreU(high, d, out + width);
      } else {
        const auto r2 = hn::LoadU(d, row + 2 * stride + p), r3 = hn::LoadU(d, row + 3 * stride + p);
        const auto low2 = hn::InterleaveLower(d, r2, r3), high2 = hn::InterleaveUpper(d, r2, r3);
        hn::StoreU(hn::ConcatLowerLower(d, low2, low), d, out);
        hn::StoreU(hn::ConcatUpperUpper(d, low2, low), d, out + width);
        hn::StoreU(hn::ConcatLowerLower(d, high2, high), d, out + 2 * width);
        hn::StoreU(hn::ConcatUpperUpper(d, high2, high), d, out + 3 * width);
      }
    }
    for (; p < columns; ++p)
      for (Size r = 0; r < n; ++r) panel[p * width + r] = row[r * stride + p];
  }
  for (; i < rows; ++i)
    for (Size p = 0; p < columns; ++p) to[i / width * width * columns + i % width + p * width] = x[i * stride + p];
}

/// From a matrix with consecutive rows.
template <Size width, class T>
void pack_straight(const T* HWY_RESTRICT x, Size stride, Size rows, Size columns, T* HWY_RESTRICT to) {
  for (Size p = 0; p < columns; ++p, x += stride) {
    Size i = 0;
    T* out = to + p * width;
    for (; i + width <= rows; i += width, out += width * columns)
      for (Size r = 0; r < width; ++r) out[r] = x[i + r];
    for (Size r = 0; i + r < rows; ++r) out[r] = x[i + r];
  }
}

/// The calling thread's panels, which it keeps: at the most (block_rows + block_columns) slice_k elements. Like BLAS's
/// own buffers they are not the pool's.
template <class T>
T* workspace(Size n) {
  struct Delete {
    void operator()(T* p) const { ::operator delete (p, std::align_val_t{64}); }
  };
  thread_local std::unique_ptr<T, Delete> kept;
  thread_local Size size = 0;
  if (size < n) {
    kept.reset();
    size = 0;
    kept.reset(static_cast<T*>(::operator new (static_cast<std::size_t>(n) * sizeof(T), std::align_val_t{64})));
    size = n;
  }
  return kept.get();
}

/// k in slices of one length, but for the last.
Size slice_length(Size k) {
  const Size slices = (k + slice_k - 1) / slice_k;
  return (k + slices - 1) / slices;
}

/// n columns of op(B) from j on, k rows of it from p on.
template <class T>
void pack_right_part(const Gemm<T>& g, Size j, Size n, Size p, Size k, T* to) {
  if (g.trans_b)
    pack_transposed<panel_columns<T>>(g.b + j * g.ldb + p, g.ldb, n, k, to);
  else
    pack_straight<panel_columns<T>>(g.b + p * g.ldb + j, g.ldb, n, k, to);
}

/// Slice after slice of k, in each the panels.
template <class T>
T* panels_at(const RightPanels<T>& right, Size p, Size k) {
  return right.data + p * right.columns + right.first * k;
}

template <class T>
void pack(const Gemm<T>& g, const RightPanels<T>& to) {
  const Size k_most = slice_length(g.k);
  for (Size p = 0; p < g.k; p += k_most) {
    const Size k = std::min(k_most, g.k - p);
    pack_right_part(g, 0, g.n, p, k, panels_at(to, p, k));
  }
}

template <class T>
void product(const Gemm<T>& g, const RightPanels<T>& packed) {
  static constexpr auto tiles = all_tiles<T>(std::make_integer_sequence<int, tile_rows>());
  constexpr Size across = panel_columns<T>, vector = across / 2;
  const Size k_most = slice_length(g.k);
  const auto padded = [](Size n, Size to) { return (n + to - 1) / to * to; };
  const Size left_size = padded(padded(std::min(g.m, block_rows), tile_rows) * k_most, vector);
  const Size right_size = packed.data ? 0 : padded(std::min(g.n, block_columns), across) * k_most;
  T* left = workspace<T>(left_size + right_size);
  for (Size j0 = 0; j0 < g.n; j0 += block_columns) {
    const Size n = std::min(block_columns, g.n - j0);
    for (Size p0 = 0; p0 < g.k; p0 += k_most) {
      const Size k = std::min(k_most, g.k - p0);
      const T* bias = p0 + k == g.k ? g.bias : nullptr;  // after the last slice
      T* right = left + left_size;
      if (packed.data)
        right = panels_at(packed, p0, k) + j0 * k;
      else
        pack_right_part(g, j0, n, p0, k, right);
      for (Size i0 = 0; i0 < g.m; i0 += block_rows) {
        const Size m = std::min(block_rows, g.m - i0);
        if (g.trans_a)
          pack_straight<tile_rows>(g.a + p0 * g.lda + i0, g.lda, m, k, left);
        else
          pack_transposed<tile_rows>(g.a + i0 * g.lda + p0, g.lda, m, k, left);
        for (Size j = 0; j < n; j += across) {
          const Size columns = std::min(across, n - j), vectors = columns > vector ? 2 : 1;
          for (Size i = 0; i < m; i += tile_rows) {
            const auto rows = static_cast<std::size_t>(std::min(tile_rows, m - i));
            tiles[rows - 1][static_cast<std::size_t>(vectors - 1)](
                k, left + i * k, right + j * k, across, g.alpha, p0 == 0 ? g.beta : T{1},
                bias ? bias + j0 + j : nullptr, g.c + (i0 + i) * g.ldc + j0 + j, g.ldc,
                columns - (vectors - 1) * vector);
          }
        }
      }
    }
  }
}

bool available() { return true; }
void product_float(const Gemm<float>& g, const RightPanels<float>& right) { product(g, right); }
void product_double(const Gemm<double>& g, const RightPanels<double>& right) { product(g, right); }
void pack_float(const Gemm<float>& g, const RightPanels<float>& to) { pack(g, to); }
void pack_double(const Gemm<double>& g, const RightPanels<double>& to) { pack(g, to); }

#else

bool available() { return false; }
void product_float(const Gemm<float>&, const RightPanels<float>&) {}
void product_double(const Gemm<double>&, const RightPanels<double>&) {}
void pack_float(const Gemm<float>&, const RightPanels<float>&) {}
void pack_double(const Gemm<double>&, const RightPanels<double>&) {}

#endif

}  // namespace attune::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace attune::kernels {

HWY_EXPORT(available);
HWY_EXPORT(product_float);
HWY_EXPORT(product_double);
HWY_EXPORT(pack_float);
HWY_EXPORT(pack_double);

bool has_packed_gemm() { return HWY_DYNAMIC_DISPATCH(available)(); }

template <>
void pack_right<float>(const Gemm<float>& g, const RightPanels<float>& to) {
  HWY_DYNAMIC_DISPATCH(pack_float)(g, to);
}
template <>
void pack_right<double>(const Gemm<double>& g, const RightPanels<double>& to) {
  HWY_DYNAMIC_DISPATCH(pack_double)(g, to);
}

template <>
void packed_gemm<float>(const Gemm<float>& g, const RightPanels<float>& right) {
  HWY_DYNAMIC_DISPATCH(product_float)(g, right);
}
template <>
void packed_gemm<double>(const Gemm<double>& g, const RightPanels<double>& right) {
  HWY_DYNAMIC_DISPATCH(product_double)(g, right);
}

}  // namespace attune::kernels
#endif
