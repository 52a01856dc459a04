#include "autograd/kernels/gemm_few.h"

#include <algorithm>
#include <array>
#include <utility>

#include "autograd/kernels/buffer.h"
#include "autograd/kernels/simd_targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "autograd/kernels/gemm_few.cpp"
#include "hwy/foreach_target.h"
// After foreach_target.h:
#include "autograd/kernels/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace attune::kernels::HWY_NAMESPACE {

#if HWY_TARGET != HWY_SCALAR

template <class T>
HWY_INLINE void put(const Gemm<T>& g, T sum, T* to) {
  *to = g.beta == T{0} ? g.alpha * sum : g.alpha * sum + g.beta * *to;
}

// ---- op(B) = B^T: an element is the dot product of a row of A and a row of B

/// Rows of B side by side: as many as leave M sums each in registers.
template <int M>
constexpr int side_by_side() {
  constexpr int sums = HWY_TARGET <= HWY_AVX3 ? 24 : 12;
  return 4 * M <= sums ? 4 : 2 * M <= sums ? 2 : 1;
}

/// R columns of C from j on, M rows.
template <int M, int R, class T>
HWY_INLINE void dots(const Gemm<T>& g, const T* HWY_RESTRICT a, Size lda, Size j) {
  const hn::ScalableTag<T> d;
  const Size step = lanes(d), k = g.k;
  const T* HWY_RESTRICT b = g.b + j * g.ldb;
  hn::Vec<decltype(d)> sum[M][R];
  for (int i = 0; i < M; ++i)
    for (int r = 0; r < R; ++r) sum[i][r] = hn::Zero(d);
  Size p = 0;
  for (; p + step <= k; p += step) {
    hn::Vec<decltype(d)> row[R];
    for (int r = 0; r < R; ++r) {
      row[r] = hn::LoadU(d, b + r * g.ldb + p);
      __builtin_prefetch(b + (R + r) * g.ldb + p, 0, 2);  // the rows that come next; beyond the end it does nothing
    }
    for (int i = 0; i < M; ++i) {
      const auto x = hn::LoadU(d, a + i * lda + p);
      for (int r = 0; r < R; ++r) sum[i][r] = hn::MulAdd(x, row[r], sum[i][r]);
    }
  }
  if (p < k) {
    const Step<decltype(d)> rest{d, k - p};
    for (int i = 0; i < M; ++i) {
      const auto x = rest.load(a + i * lda + p);
      for (int r = 0; r < R; ++r) sum[i][r] = hn::MulAdd(x, rest.load(b + r * g.ldb + p), sum[i][r]);
    }
  }
  for (int i = 0; i < M; ++i)
    for (int r = 0; r < R; ++r) put(g, hn::GetLane(hn::SumOfLanes(d, sum[i][r])), g.c + i * g.ldc + j + r);
}

template <int M, class T>
void by_dots(const Gemm<T>& g, const T* a, Size lda) {
  constexpr int across = side_by_side<M>();
  Size j = 0;
  for (; j + across <= g.n; j += across) dots<M, across>(g, a, lda, j);
  for (; j < g.n; ++j) dots<M, 1>(g, a, lda, j);
}

// ---- op(B) = B: rows of B, each times an element of A, are added

constexpr int together = 8;       // rows of B that are added at once
constexpr Size kept_sums = 4096;  // of all rows of C, in the first-level cache

/// sums[M, columns] of stride `width` += a[M, P] b[P, columns]; at the first time they are not read.
template <int M, int P, class T>
HWY_INLINE void add_rows(const T* HWY_RESTRICT a, Size lda, const T* HWY_RESTRICT b, Size ldb, bool first,
                         T* HWY_RESTRICT sums, Size width, Size columns) {
  for_vectors(hn::ScalableTag<T>(), columns, [=](auto s, Size j) ATTUNE_SIMD {
    using V = typename decltype(s)::V;
    V sum[M];
    for (int i = 0; i < M; ++i) sum[i] = first ? hn::Zero(s.d) : hn::LoadU(s.d, sums + i * width + j);
    for (int p = 0; p < P; ++p) {
      const V row = s.load(b + p * ldb + j);
      __builtin_prefetch(b + (P + p) * ldb + j, 0, 2);
      for (int i = 0; i < M; ++i) sum[i] = hn::MulAdd(hn::Set(s.d, a[i * lda + p]), row, sum[i]);
    }
    for (int i = 0; i < M; ++i) hn::StoreU(sum[i], s.d, sums + i * width + j);
  });
}

template <int M, class T>
void by_rows(const Gemm<T>& g, const T* a, Size lda) {
  constexpr Size width = kept_sums / M / 64 * 64;  // a multiple of any vector
  constexpr Size apart = width + 64 / sizeof(T);   // rows of sums do not share a cache's sets
  alignas(64) T sums[M * apart];
  for (Size j = 0; j < g.n; j += width) {
    const Size columns = std::min(width, g.n - j);
    const T* b = g.b + j;
    Size p = 0;
    for (; p + together <= g.k; p += together)
      add_rows<M, together>(a + p, lda, b + p * g.ldb, g.ldb, p == 0, sums, apart, columns);
    for (; p < g.k; ++p) add_rows<M, 1>(a + p, lda, b + p * g.ldb, g.ldb, p == 0, sums, apart, columns);
    for (int i = 0; i < M; ++i)
      for (Size c = 0; c < columns; ++c) put(g, sums[i * apart + c], g.c + i * g.ldc + j + c);
  }
}

template <int M, class T>
void of_rows(const Gemm<T>& g, const T* a, Size lda) {
  if (g.trans_b)
    by_dots<M>(g, a, lda);
  else
    by_rows<M>(g, a, lda);
}

template <class T, int... M>
constexpr auto all_counts(std::integer_sequence<int, M...>) {
  return std::array{&of_rows<M + 1, T>...};
}

template <class T>
void few_product(const Gemm<T>& g) {
  static constexpr auto counts = all_counts<T>(std::make_integer_sequence<int, int{few_rows}>());
  const auto of = counts[static_cast<std::size_t>(g.m - 1)];
  if (!g.trans_a) return of(g, g.a, g.lda);
  const Buffer<T> a(g.m * g.k);
  for (Size i = 0; i < g.m; ++i)
    for (Size p = 0; p < g.k; ++p) a.data()[i * g.k + p] = g.a[p * g.lda + i];
  of(g, a.data(), g.k);
}

bool few_available() { return true; }
void few_float(const Gemm<float>& g) { few_product(g); }
void few_double(const Gemm<double>& g) { few_product(g); }

#else

bool few_available() { return false; }
void few_float(const Gemm<float>&) {}
void few_double(const Gemm<double>&) {}

#endif

}  // namespace attune::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace attune::kernels {

HWY_EXPORT(few_available);
HWY_EXPORT(few_float);
HWY_EXPORT(few_double);

bool has_few_rows_gemm() { return HWY_DYNAMIC_DISPATCH(few_available)(); }

template <>
void few_rows_gemm<float>(const Gemm<float>& g) {
  HWY_DYNAMIC_DISPATCH(few_float)(g);
}
template <>
void few_rows_gemm<double>(const Gemm<double>& g) {
  HWY_DYNAMIC_DISPATCH(few_double)(g);
}

}  // namespace attune::kernels
#endif
