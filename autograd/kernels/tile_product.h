// Products of tiles that stay in cache: a block of C is kept in registers over the whole inner size and nothing is
// packed, so that a call costs nothing beside its arithmetic. gemm() is for matrices of any size.
#pragma once

#include <cstdint>

namespace attune::kernels {

/// How op(A) [m, k] lies in memory: as it is, or as its transpose [k, m].
enum class Left { rows, columns };

/// C = op(A) B, or C += op(A) B where `add`, on the calling thread: op(A) [m, k], B [k, n], C [m, n], rows lda, ldb and
/// ldc apart. C overlaps neither A nor B. Sums over k run in order, for each element alone. T is float or double.
template <class T>
void tile_product(Left left, std::int64_t m, std::int64_t n, std::int64_t k, const T* a, std::int64_t lda, const T* b,
                  std::int64_t ldb, T* c, std::int64_t ldc, bool add);

}  // namespace attune::kernels
