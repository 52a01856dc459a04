// A matrix product of one thread in registers and caches (Goto and van de Geijn 2008): blocks of both operands are
// packed into panels, and a kernel of FMA instructions keeps a small tile of C in registers.
//
// OpenBLAS has kernels for every machine; this one is for machines with 512-bit vectors, where it is up to twice as
// fast as the kernel that OpenBLAS chooses for them (or that OPENBLAS_CORETYPE names), and for small products, where a
// call costs more than the arithmetic.
#pragma once

#include "autograd/kernels/gemm.h"

namespace attune::kernels {

/// Whether packed_gemm is compiled for this machine's vectors.
bool has_packed_gemm();

/// C = alpha op(A) op(B) + beta C on the calling thread, m, n, k > 0. No epilogue.
template <class T>
void packed_gemm(const Gemm<T>& g);

}  // namespace attune::kernels
