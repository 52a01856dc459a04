#include "autograd/kernels/tile_product.h"

#include "autograd/kernels/simd_targets.h"
#include "autograd/runtime/watch.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "autograd/kernels/tile_product.cpp"
#include "hwy/foreach_target.h"
// After foreach_target.h:
#include "autograd/kernels/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace attune::kernels::HWY_NAMESPACE {

/// Vectors of a block's row: 6 x 4 sums fill the 32 registers of AVX-512, 6 x 2 the 16 of AVX2.
inline constexpr int block_vectors = HWY_TARGET <= HWY_AVX3 ? 4 : 2;

/// C [rows, n] of one block. `n` reaches into the last of `vectors` vectors; if `whole`, up to its end.
template <Left left, int rows, int vectors, bool whole, class T>
HWY_NOINLINE void product_block(Size n, Size k, const T* HWY_RESTRICT a, Size lda, const T* HWY_RESTRICT b, Size ldb,
                                T* HWY_RESTRICT c, Size ldc, bool add) {
  const hn::ScalableTag<T> d;
  using V = hn::Vec<decltype(d)>;
  const Size step = lanes(d);
  const auto last = hn::FirstN(d, static_cast<std::size_t>(whole ? step : n - (vectors - 1) * step));
  const auto load = [&](const T* row, int j) ATTUNE_SIMD {
    return whole || j + 1 < vectors ? hn::LoadU(d, row + j * step) : hn::MaskedLoad(last, d, row + j * step);
  };
  V sums[rows][vectors];
  for (int i = 0; i < rows; ++i)
    for (int j = 0; j < vectors; ++j) sums[i][j] = hn::Zero(d);
  for (Size p = 0; p < k; ++p) {
    V row[vectors];
    for (int j = 0; j < vectors; ++j) row[j] = load(b, j);
    for (int i = 0; i < rows; ++i) {
      const V factor = hn::Set(d, left == Left::columns ? a[i] : a[i * lda]);
      for (int j = 0; j < vectors; ++j) sums[i][j] = hn::MulAdd(factor, row[j], sums[i][j]);
    }
    a += left == Left::columns ? lda : 1;
    b += ldb;
  }
  for (int i = 0; i < rows; ++i) {
    T* y = c + i * ldc;
    for (int j = 0; j < vectors; ++j) {
      const V sum = add ? hn::Add(load(y, j), sums[i][j]) : sums[i][j];
      if (whole || j + 1 < vectors)
        hn::StoreU(sum, d, y + j * step);
      else
        hn::BlendedStore(sum, last, d, y + j * step);
    }
  }
}

/// C [m, n] for n within `vectors` vectors.
template <Left left, int vectors, bool whole, class T>
void product_panel(Size m, Size n, Size k, const T* a, Size lda, const T* b, Size ldb, T* c, Size ldc, bool add) {
  const Size next = left == Left::columns ? 1 : lda;
  Size i = 0;
  if constexpr (2 * vectors <= block_vectors)  // narrow blocks are twice as tall, so that enough sums are in flight
    for (; i + 12 <= m; i += 12)
      product_block<left, 12, vectors, whole>(n, k, a + i * next, lda, b, ldb, c + i * ldc, ldc, add);
  for (; i + 6 <= m; i += 6)
    product_block<left, 6, vectors, whole>(n, k, a + i * next, lda, b, ldb, c + i * ldc, ldc, add);
  if (i + 4 <= m) {
    product_block<left, 4, vectors, whole>(n, k, a + i * next, lda, b, ldb, c + i * ldc, ldc, add);
    i += 4;
  }
  if (i + 2 <= m) {
    product_block<left, 2, vectors, whole>(n, k, a + i * next, lda, b, ldb, c + i * ldc, ldc, add);
    i += 2;
  }
  if (i < m) product_block<left, 1, vectors, whole>(n, k, a + i * next, lda, b, ldb, c + i * ldc, ldc, add);
}

template <Left left, class T>
void product(Size m, Size n, Size k, const T* a, Size lda, const T* b, Size ldb, T* c, Size ldc, bool add) {
  const Size step = lanes(hn::ScalableTag<T>()), panel = block_vectors * step;
  for (; n >= panel; n -= panel, b += panel, c += panel)
    product_panel<left, block_vectors, true>(m, n, k, a, lda, b, ldb, c, ldc, add);
  if (n == 0) return;
  if constexpr (block_vectors == 4) {
    if (n > 3 * step) return product_panel<left, 4, false>(m, n, k, a, lda, b, ldb, c, ldc, add);
    if (n > 2 * step) return product_panel<left, 3, false>(m, n, k, a, lda, b, ldb, c, ldc, add);
  }
  if (n > step) return product_panel<left, 2, false>(m, n, k, a, lda, b, ldb, c, ldc, add);
  product_panel<left, 1, false>(m, n, k, a, lda, b, ldb, c, ldc, add);
}

template <class T>
void either(Left left, Size m, Size n, Size k, const T* a, Size lda, const T* b, Size ldb, T* c, Size ldc, bool add) {
  if (left == Left::rows)
    product<Left::rows>(m, n, k, a, lda, b, ldb, c, ldc, add);
  else
    product<Left::columns>(m, n, k, a, lda, b, ldb, c, ldc, add);
}

void product_f32(Left left, Size m, Size n, Size k, const float* a, Size lda, const float* b, Size ldb, float* c,
                 Size ldc, bool add) {
  either(left, m, n, k, a, lda, b, ldb, c, ldc, add);
}
void product_f64(Left left, Size m, Size n, Size k, const double* a, Size lda, const double* b, Size ldb, double* c,
                 Size ldc, bool add) {
  either(left, m, n, k, a, lda, b, ldb, c, ldc, add);
}

}  // namespace attune::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace attune::kernels {

HWY_EXPORT(product_f32);
HWY_EXPORT(product_f64);

template <>
void tile_product(Left left, Size m, Size n, Size k, const float* a, Size lda, const float* b, Size ldb, float* c,
                  Size ldc, bool add) {
  watch::multiplied(m, n, k);
  HWY_DYNAMIC_DISPATCH(product_f32)(left, m, n, k, a, lda, b, ldb, c, ldc, add);
}
template <>
void tile_product(Left left, Size m, Size n, Size k, const double* a, Size lda, const double* b, Size ldb, double* c,
                  Size ldc, bool add) {
  watch::multiplied(m, n, k);
  HWY_DYNAMIC_DISPATCH(product_f64)(left, m, n, k, a, lda, b, ldb, c, ldc, add);
}

}  // namespace attune::kernels
#endif
