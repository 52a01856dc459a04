// A matrix product of one thread in registers and caches (Goto and van de Geijn 2008): blocks of both operands are
// packed into panels, and a kernel of FMA instructions keeps a small tile of C in registers.
//
// OpenBLAS has kernels for every machine; this one is for machines with 512-bit vectors, where it is up to twice as
// fast as the kernel that OpenBLAS chooses for them (or that OPENBLAS_CORETYPE names), and for small products, where a
// call costs more than the arithmetic.
#pragma once

#include "autograd/kernels/gemm.h"
#include "autograd/kernels/size.h"

namespace attune::kernels {

/// Whether packed_gemm is compiled for this machine's vectors.
bool has_packed_gemm();

/// Columns of op(B) that lie together when it is packed.
template <class T>
constexpr Size panel_columns = 2 * 64 / sizeof(T);

/// op(B) of many products, packed once: [k, columns], columns a multiple of panel_columns, of which a product takes
/// those from `first` on.
template <class T>
struct RightPanels {
  T* data = nullptr;
  Size columns = 0, first = 0;
};

/// Packs op(B) of a product, [k, n] from column `to.first` on.
template <class T>
void pack_right(const Gemm<T>& g, const RightPanels<T>& to);

/// C = alpha op(A) op(B) + beta C + bias on the calling thread, m, n, k > 0. The rest of the epilogue is the caller's.
/// Where op(B) is packed already, b is not read.
template <class T>
void packed_gemm(const Gemm<T>& g, const RightPanels<T>& right = {});

}  // namespace attune::kernels
