// Products of tiles that stay in cache: a block of C is kept in registers over the whole inner size and nothing is
// packed, so that a call costs nothing beside its arithmetic. gemm() is for matrices of any size.
#pragma once

#include "autograd/kernels/size.h"

namespace attune::kernels {

/// How op(A) [m, k] lies in memory: as it is, or as its transpose [k, m].
enum class Left { rows, columns };

/// C = op(A) B, or C += op(A) B if `add`, on the calling thread: op(A) [m, k], B [k, n], C [m, n], rows lda, ldb and
/// ldc apart. C overlaps neither A nor B. Sums over k run in order, for each element alone. T is float or double.
template <class T>
void tile_product(Left left, Size m, Size n, Size k, const T* a, Size lda, const T* b, Size ldb, T* c, Size ldc,
                  bool add);

}  // namespace attune::kernels
