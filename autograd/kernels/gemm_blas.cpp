#include "autograd/kernels/gemm_blas.h"

#include <cblas.h>

#include <algorithm>
#include <climits>
#include <string>

#include "autograd/kernels/buffer.h"
#include "autograd/kernels/one_blas_thread.h"

namespace attune::kernels {
namespace {

int narrow(Size n) { return static_cast<int>(n); }

/// A matrix as BLAS takes it: itself, or a dense copy if BLAS's int cannot hold the row stride or BLAS refuses it
/// (less than the width: 0 for a repeated row).
template <class T>
class Operand {
 public:
  Operand(const T* x, Size rows, Size columns, Size row_stride)
      : taken_(rows == 1 || (row_stride >= columns && row_stride <= INT_MAX)), copy_(taken_ ? 0 : rows * columns) {
    data = taken_ ? x : copy_.data();
    stride = narrow(taken_ && rows > 1 ? row_stride : columns);
    if (!taken_) copy_rows(x, row_stride, copy_.data(), columns, rows, columns);
  }
  const T* data;
  int stride;

 private:
  bool taken_;
  Buffer<T> copy_;
};

CBLAS_TRANSPOSE transposed(bool yes) { return yes ? CblasTrans : CblasNoTrans; }

void call_gemm(const Gemm<float>& g, const Operand<float>& a, const Operand<float>& b, float beta, float* c, int ldc) {
  cblas_sgemm(CblasRowMajor, transposed(g.trans_a), transposed(g.trans_b), narrow(g.m), narrow(g.n), narrow(g.k),
              g.alpha, a.data, a.stride, b.data, b.stride, beta, c, ldc);
}
void call_gemm(const Gemm<double>& g, const Operand<double>& a, const Operand<double>& b, double beta, double* c,
               int ldc) {
  cblas_dgemm(CblasRowMajor, transposed(g.trans_a), transposed(g.trans_b), narrow(g.m), narrow(g.n), narrow(g.k),
              g.alpha, a.data, a.stride, b.data, b.stride, beta, c, ldc);
}

void call_gemv(bool trans, Size rows, Size columns, float alpha, const Operand<float>& a, const float* x, float* y) {
  cblas_sgemv(CblasRowMajor, transposed(trans), narrow(rows), narrow(columns), alpha, a.data, a.stride, x, 1, 1.0F, y,
              1);
}
void call_gemv(bool trans, Size rows, Size columns, double alpha, const Operand<double>& a, const double* x,
               double* y) {
  cblas_dgemv(CblasRowMajor, transposed(trans), narrow(rows), narrow(columns), alpha, a.data, a.stride, x, 1, 1.0, y,
              1);
}

template <class T>
Operand<T> left(const Gemm<T>& g) {
  return {g.a, g.trans_a ? g.k : g.m, g.trans_a ? g.m : g.k, g.lda};
}
template <class T>
Operand<T> right(const Gemm<T>& g) {
  return {g.b, g.trans_b ? g.n : g.k, g.trans_b ? g.k : g.n, g.ldb};
}

/// m = 1 or n = 1, where gemm is several times slower than gemv. Dense copies of the vectors cost nothing beside the
/// matrix, and keep BLAS's increments and its beta out of it.
template <class T>
void by_gemv(const Gemm<T>& g) {
  const bool row = g.m == 1;  // c = a B, else c = A b
  const Size outputs = row ? g.n : g.m;
  const Buffer<T> x(g.k), y(outputs);
  const Size x_stride = row ? (g.trans_a ? g.lda : 1) : (g.trans_b ? 1 : g.ldb);
  copy_rows(row ? g.a : g.b, x_stride, x.data(), 1, g.k, 1);
  std::fill_n(y.data(), outputs, T{0});
  {
    const OneBlasThread one;
    if (row)
      call_gemv(!g.trans_b, g.trans_b ? g.n : g.k, g.trans_b ? g.k : g.n, g.alpha, right(g), x.data(), y.data());
    else
      call_gemv(g.trans_a, g.trans_a ? g.k : g.m, g.trans_a ? g.m : g.k, g.alpha, left(g), x.data(), y.data());
  }
  scale(g);
  const Size c_stride = row ? 1 : g.ldc;
  for (Size i = 0; i < outputs; ++i) g.c[i * c_stride] += y.data()[i];
}

}  // namespace

template <class T>
void blas_gemm(const Gemm<T>& g) {
  if (g.m == 1 || g.n == 1) return by_gemv(g);
  const Operand<T> a = left(g), b = right(g);
  const OneBlasThread one;
  if (g.ldc <= INT_MAX) return call_gemm(g, a, b, g.beta, g.c, narrow(g.ldc));
  const Buffer<T> c(g.m * g.n);
  copy_rows(g.c, g.ldc, c.data(), g.n, g.m, g.n);
  call_gemm(g, a, b, g.beta, c.data(), narrow(g.n));
  copy_rows(c.data(), g.n, g.c, g.ldc, g.m, g.n);
}

const char* blas_description() {
  static const std::string text = [] {
    const std::string config = openblas_get_config();  // "OpenBLAS 0.3.21 NO_LAPACKE DYNAMIC_ARCH ..."
    const std::size_t name = config.find(' ');
    return config.substr(0, config.find(' ', name == std::string::npos ? name : name + 1)) + ' ' +
           openblas_get_corename();
  }();
  return text.c_str();
}

template void blas_gemm<float>(const Gemm<float>&);
template void blas_gemm<double>(const Gemm<double>&);

}  // namespace attune::kernels
