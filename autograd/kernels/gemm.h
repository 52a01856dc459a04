// The one door to BLAS: C = alpha op(A) op(B) + beta C, row-major, T is float or double.
//
// The product is cut into tiles chosen from the shape alone and each tile is one single-threaded BLAS call, so the same
// inputs give the same bits at any thread count. Zero sizes, 64-bit sizes, leading dimensions and beta = 0 (C is not
// read) behave as the formula says.
#pragma once

#include <cstdint>

#include "autograd/kernels/buffer.h"
#include "autograd/kernels/size.h"
#include "autograd/runtime/activation.h"

namespace attune::kernels {

/// op(A) is [m, k]: A is [m, k] with row stride lda, or [k, m] if trans_a; B alike as [k, n].
template <class T>
struct Gemm {
  bool trans_a = false, trans_b = false;
  Size m = 0, n = 0, k = 0;
  T alpha = 1;
  const T* a = nullptr;
  Size lda = 0;
  const T* b = nullptr;
  Size ldb = 0;
  T beta = 0;
  T* c = nullptr;
  Size ldc = 0;
  // Epilogue, applied to a tile while it is in cache: C = act(C + bias), bias [n] or null. If `pre` is not null it
  // receives C + bias (row stride ldc), which the backward pass of the activation wants.
  const T* bias = nullptr;
  Activation act = Activation::none;
  T* pre = nullptr;
};

template <class T>
void gemm(const Gemm<T>& g);

/// `batch` products of one shape; the pointers of product i are a + a_off[i], b + b_off[i], c + c_off[i] (elements).
/// Parallel over the batch; a large product alone in its batch is tiled like gemm(). Outputs must not overlap.
template <class T>
void gemm_batched(const Gemm<T>& g, Size batch, const std::int64_t* a_off, const std::int64_t* b_off,
                  const std::int64_t* c_off);

/// The right operand of many products, packed once for all of them in the order in which the kernel reads it: a
/// recurrent layer's weights, step after step. If that would not pay (a single product, products of a single row,
/// products that are BLAS's) it is the operand as it is.
template <class T>
class PackedRight {
 public:
  /// m, trans_b, n, k, b and ldb of `g` count; b stays alive and as it is. `products`: how many there will be.
  PackedRight(const Gemm<T>& g, Size products);
  /// gemm() of trans_a, a, lda, alpha, beta, c, ldc and the epilogue of `g`.
  void multiply(Gemm<T> g) const;

 private:
  Gemm<T> of_;
  bool packed_;
  Size columns_;
  Buffer<T> panels_;
};

/// One product on the calling thread, no tiling or epilogue: the building block of kernels that are parallel outside.
template <class T>
void gemm_single(const Gemm<T>& g);

/// "OpenBLAS 0.3.21 SkylakeX": library, version and the kernel family in use.
const char* blas_description();

}  // namespace attune::kernels
