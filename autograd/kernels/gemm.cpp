#include "autograd/kernels/gemm.h"

#include <cblas.h>

#include <algorithm>
#include <climits>
#include <string>
#include <vector>

#include "autograd/kernels/elementwise.h"
#include "autograd/runtime/parallel.h"

namespace attune::kernels {

namespace {

using Size = std::int64_t;

// A tile is this large at the most; smaller ones leave OpenBLAS's packing too little to do (rows x columns, see
// docs/performance.md).
constexpr Size tile_rows = 512, tile_columns = 1024;
constexpr Size least_tiles = 4;        // of a product that is worth sharing, however small its output
constexpr Size shared_work = 1 << 21;  // multiplications below which one thread does a product
constexpr Size tiny_work = 512;        // below this a loop beats a call
constexpr Size slice_k = 2048;         // a small output over a long k is computed in slices of k

/// One thread a call: the number of threads must not choose the kernel's blocking.
void use_one_blas_thread() {
  static const bool done = (openblas_set_num_threads(1), true);
  (void)done;
}

void call_blas(CBLAS_TRANSPOSE ta, CBLAS_TRANSPOSE tb, int m, int n, int k, float alpha, const float* a, int lda,
               const float* b, int ldb, float beta, float* c, int ldc) {
  cblas_sgemm(CblasRowMajor, ta, tb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
}
void call_blas(CBLAS_TRANSPOSE ta, CBLAS_TRANSPOSE tb, int m, int n, int k, double alpha, const double* a, int lda,
               const double* b, int ldb, double beta, double* c, int ldc) {
  cblas_dgemm(CblasRowMajor, ta, tb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
}

/// C = beta C, where beta = 0 does not read C.
template <class T>
void scale(const Gemm<T>& g) {
  for (Size i = 0; i < g.m; ++i)
    for (Size j = 0; j < g.n; ++j) {
      T& c = g.c[i * g.ldc + j];
      c = g.beta == T{0} ? T{0} : g.beta * c;
    }
}

template <class T>
void by_loops(const Gemm<T>& g) {
  scale(g);
  for (Size i = 0; i < g.m; ++i)
    for (Size p = 0; p < g.k; ++p) {
      const T a = g.alpha * (g.trans_a ? g.a[p * g.lda + i] : g.a[i * g.lda + p]);
      for (Size j = 0; j < g.n; ++j) g.c[i * g.ldc + j] += a * (g.trans_b ? g.b[j * g.ldb + p] : g.b[p * g.ldb + j]);
    }
}

/// A dense copy of a [rows, columns] matrix whose row stride BLAS's int cannot hold.
template <class T>
std::vector<T> packed(const T* x, Size rows, Size columns, Size stride) {
  std::vector<T> dense(static_cast<std::size_t>(rows * columns));
  for (Size i = 0; i < rows; ++i) std::copy_n(x + i * stride, columns, dense.data() + i * columns);
  return dense;
}

template <class T>
void by_blas(const Gemm<T>& g) {
  use_one_blas_thread();
  std::vector<T> a_copy, b_copy;
  const T *a = g.a, *b = g.b;
  // A leading dimension may be anything for a single row; BLAS wants at least the width.
  const Size a_rows = g.trans_a ? g.k : g.m, a_width = g.trans_a ? g.m : g.k;
  const Size b_rows = g.trans_b ? g.n : g.k, b_width = g.trans_b ? g.k : g.n;
  Size lda = a_rows == 1 ? a_width : g.lda, ldb = b_rows == 1 ? b_width : g.ldb;
  const Size ldc = g.m == 1 ? g.n : g.ldc;
  if (lda > INT_MAX || lda < a_width) {
    a_copy = packed(a, a_rows, a_width, g.lda);
    a = a_copy.data();
    lda = a_width;
  }
  if (ldb > INT_MAX || ldb < b_width) {
    b_copy = packed(b, b_rows, b_width, g.ldb);
    b = b_copy.data();
    ldb = b_width;
  }
  const CBLAS_TRANSPOSE ta = g.trans_a ? CblasTrans : CblasNoTrans, tb = g.trans_b ? CblasTrans : CblasNoTrans;
  const auto call = [&](T beta, T* c, Size c_stride) {
    call_blas(ta, tb, static_cast<int>(g.m), static_cast<int>(g.n), static_cast<int>(g.k), g.alpha, a,
              static_cast<int>(lda), b, static_cast<int>(ldb), beta, c, static_cast<int>(c_stride));
  };
  if (ldc <= INT_MAX) {
    call(g.beta, g.c, ldc);
    return;
  }
  std::vector<T> c_copy = packed(g.c, g.m, g.n, g.ldc);
  call(g.beta, c_copy.data(), g.n);
  for (Size i = 0; i < g.m; ++i) std::copy_n(c_copy.data() + i * g.n, g.n, g.c + i * g.ldc);
}

/// The part of op(A) from row i and column p on, and of op(B) from row p and column j on.
template <class T>
Gemm<T> part(const Gemm<T>& g, Size i, Size m, Size j, Size n, Size p, Size k) {
  Gemm<T> t = g;
  t.m = m;
  t.n = n;
  t.k = k;
  t.a = g.a + (g.trans_a ? p * g.lda + i : i * g.lda + p);
  t.b = g.b + (g.trans_b ? j * g.ldb + p : p * g.ldb + j);
  t.c = g.c + i * g.ldc + j;
  if (g.bias) t.bias = g.bias + j;
  if (g.pre) t.pre = g.pre + i * g.ldc + j;
  return t;
}

Unary function_of(Activation a) {
  switch (a) {
    case Activation::relu: return Unary::relu;
    case Activation::gelu: return Unary::gelu;
    case Activation::gelu_tanh: return Unary::gelu_tanh;
    case Activation::silu: return Unary::silu;
    case Activation::tanh: return Unary::tanh;
    default: return Unary::sigmoid;
  }
}

template <class T>
void epilogue(const Gemm<T>& g) {
  if (!g.bias && g.act == Activation::none && !g.pre) return;
  for (Size i = 0; i < g.m; ++i) {
    T* c = g.c + i * g.ldc;
    if (g.bias)
      for (Size j = 0; j < g.n; ++j) c[j] += g.bias[j];
    if (g.pre) std::copy_n(c, g.n, g.pre + i * g.ldc);
    if (g.act != Activation::none) {
      const Shape row{g.n};
      unary<T>(function_of(g.act), row, {c, Strides{1}}, c);
    }
  }
}

template <class T>
void one_product(const Gemm<T>& g) {
  gemm_single(g);
  epilogue(g);
}

struct Tiling {
  Size rows, columns;
};

/// From the shape alone, never from the number of threads.
Tiling tiling_of(Size m, Size n, Size k) {
  Tiling t{std::min(m, tile_rows), std::min(n, tile_columns)};
  const auto count = [&] { return ((m + t.rows - 1) / t.rows) * ((n + t.columns - 1) / t.columns); };
  while (count() < least_tiles && t.rows * t.columns * k > shared_work) {
    Size& longer = t.rows >= t.columns ? t.rows : t.columns;
    if (longer < 64) break;
    longer = (longer / 2 + 15) / 16 * 16;
  }
  return t;
}

/// A small output over a long k: slices of k side by side, added in order.
template <class T>
void by_slices(const Gemm<T>& g) {
  const Size slices = (g.k + slice_k - 1) / slice_k;
  std::vector<T> partial(static_cast<std::size_t>(slices * g.m * g.n));
  parallel_for(slices, 1, [&](Size begin, Size end) {
    for (Size s = begin; s < end; ++s) {
      Gemm<T> t = part(g, 0, g.m, 0, g.n, s * slice_k, std::min(slice_k, g.k - s * slice_k));
      t.beta = 0;
      t.c = partial.data() + s * g.m * g.n;
      t.ldc = g.n;
      gemm_single(t);
    }
  });
  scale(g);
  for (Size s = 0; s < slices; ++s)
    for (Size i = 0; i < g.m; ++i)
      for (Size j = 0; j < g.n; ++j) g.c[i * g.ldc + j] += partial[static_cast<std::size_t>((s * g.m + i) * g.n + j)];
  epilogue(g);
}

}  // namespace

template <class T>
void gemm_single(const Gemm<T>& g) {
  if (g.m == 0 || g.n == 0) return;
  if (g.k == 0 || g.alpha == T{0}) {
    scale(g);
  } else if (g.m * g.n <= tiny_work && g.m * g.n * g.k <= tiny_work) {
    by_loops(g);
  } else if (g.m > INT_MAX || g.n > INT_MAX || g.k > INT_MAX) {
    constexpr Size piece = Size{1} << 30;
    for (Size i = 0; i < g.m; i += piece)
      for (Size j = 0; j < g.n; j += piece)
        for (Size p = 0; p < g.k; p += piece) {
          Gemm<T> t = part(g, i, std::min(piece, g.m - i), j, std::min(piece, g.n - j), p, std::min(piece, g.k - p));
          if (p != 0) t.beta = 1;
          by_blas(t);
        }
  } else {
    by_blas(g);
  }
}

template <class T>
void gemm(const Gemm<T>& g) {
  if (g.m == 0 || g.n == 0) return;
  if (g.m * g.n <= 64 * 64 && g.k >= 2 * slice_k) return by_slices(g);
  const Tiling t = tiling_of(g.m, g.n, std::max<Size>(g.k, 1));
  const Size down = (g.m + t.rows - 1) / t.rows, across = (g.n + t.columns - 1) / t.columns;
  parallel_for(down * across, 1, [&](Size begin, Size end) {
    for (Size tile = begin; tile < end; ++tile) {
      const Size i = tile / across * t.rows, j = tile % across * t.columns;
      one_product(part(g, i, std::min(t.rows, g.m - i), j, std::min(t.columns, g.n - j), 0, g.k));
    }
  });
}

template <class T>
void gemm_batched(const Gemm<T>& g, Size batch, const Size* a_off, const Size* b_off, const Size* c_off) {
  const Size work = std::max<Size>(g.m * g.n * std::max<Size>(g.k, 1), 1);
  const auto product = [&](Size i) {
    Gemm<T> one = g;
    one.a += a_off[i];
    one.b += b_off[i];
    one.c += c_off[i];
    if (one.pre) one.pre += c_off[i];
    return one;
  };
  if (batch < least_tiles && work > shared_work) {
    for (Size i = 0; i < batch; ++i) gemm(product(i));
    return;
  }
  const Size grain = std::max<Size>(1, shared_work / 16 / work);
  parallel_for(batch, grain, [&](Size begin, Size end) {
    for (Size i = begin; i < end; ++i) one_product(product(i));
  });
}

const char* blas_description() {
  static const std::string text = std::string(openblas_get_config()) + " " + openblas_get_corename();
  return text.c_str();
}

template void gemm<float>(const Gemm<float>&);
template void gemm<double>(const Gemm<double>&);
template void gemm_batched<float>(const Gemm<float>&, Size, const Size*, const Size*, const Size*);
template void gemm_batched<double>(const Gemm<double>&, Size, const Size*, const Size*, const Size*);
template void gemm_single<float>(const Gemm<float>&);
template void gemm_single<double>(const Gemm<double>&);

}  // namespace attune::kernels
