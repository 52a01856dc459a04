// The row kernels of one instruction set, each for `rows` rows on the calling thread; rows.h says what they compute.
#pragma once

#include <algorithm>
#include <cstdint>

#include "autograd/kernels/size.h"
#include "autograd/runtime/parallel.h"

namespace attune::kernels {

template <class T>
struct SoftmaxKernels {
  void (*softmax)(const T* x, T* y, Size rows, Size n);
  void (*softmax_grad)(const T* y, const T* dy, T* dx, Size rows, Size n);
  void (*log_softmax)(const T* x, T* y, Size rows, Size n);
  void (*log_softmax_grad)(const T* y, const T* dy, T* dx, Size rows, Size n);
  void (*logsumexp)(const T* x, T* y, Size rows, Size n);
  void (*cross_entropy)(const T* x, const Size* target, Size ignore, double smoothing, T* loss, T* shift, T* total,
                        Size rows, Size n);
  void (*cross_entropy_grad)(const T* x, const T* shift, const T* total, const Size* target, Size ignore,
                             double smoothing, const T* dloss, T* dx, Size rows, Size n);
};

template <class T>
struct NormKernels {
  void (*layer_norm)(const T* x, const T* w, const T* b, double eps, T* y, T* mean, T* rstd, Size rows, Size n);
  void (*rms_norm)(const T* x, const T* w, double eps, T* y, T* rrms, Size rows, Size n);
  /// dw and db [n], if not null, receive the sums over these rows.
  void (*layer_norm_grad)(const T* x, const T* w, const T* mean, const T* rstd, const T* dy, T* dx, T* dw, T* db,
                          Size rows, Size n);
  void (*rms_norm_grad)(const T* x, const T* w, const T* rrms, const T* dy, T* dx, T* dw, Size rows, Size n);
};

/// body(first_row, rows) over pieces of about 8K elements, in parallel.
template <class F>
void for_rows(Size rows, Size n, F body) {
  parallel_for(rows, std::max<Size>(1, 8192 / std::max<Size>(1, n)),
               [=](Size begin, Size end) { body(begin, end - begin); });
}

}  // namespace attune::kernels
