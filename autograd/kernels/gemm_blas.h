// A matrix product as one call of BLAS on the calling thread, and what gemm's files share.
#pragma once

#include <algorithm>

#include "autograd/kernels/gemm.h"
#include "autograd/kernels/size.h"

namespace attune::kernels {

template <class T>
void copy_rows(const T* from, Size from_stride, T* to, Size to_stride, Size rows, Size columns) {
  for (Size i = 0; i < rows; ++i) std::copy_n(from + i * from_stride, columns, to + i * to_stride);
}

/// C = beta C; beta = 0 does not read C.
template <class T>
void scale(const Gemm<T>& g) {
  if (g.beta == T{1}) return;
  for (Size i = 0; i < g.m; ++i)
    for (Size j = 0; j < g.n; ++j) {
      T& c = g.c[i * g.ldc + j];
      c = g.beta == T{0} ? T{0} : g.beta * c;
    }
}

/// alpha op(A) op(B) + beta C, m, n, k > 0. Sizes fit in int, strides need not. The epilogue is the caller's.
template <class T>
void blas_gemm(const Gemm<T>& g);

}  // namespace attune::kernels
