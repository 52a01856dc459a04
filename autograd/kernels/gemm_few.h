// A product of a few rows, C = alpha A op(B) + beta C with m <= 8: what a step of decoding does with every weight. The
// time is that of reading op(B) once, as it lies in memory; nothing of it is packed or copied.
//
// An element of C is summed in an order that depends on k alone, so that a row has the same bits whichever rows are
// beside it.
#pragma once

#include "autograd/kernels/gemm.h"
#include "autograd/kernels/size.h"

namespace attune::kernels {

/// The most rows.
constexpr Size few_rows = 8;
/// Elements of op(B) that are worth a tile of their own: long enough for a thread, few enough to share.
constexpr Size few_tile = 65536;

/// Whether few_rows_gemm is compiled for this machine's vectors.
bool has_few_rows_gemm();

/// On the calling thread, 1 <= m <= few_rows, n, k > 0. The epilogue is the caller's.
template <class T>
void few_rows_gemm(const Gemm<T>& g);

}  // namespace attune::kernels
