// Kernels over the rows of dense [rows, n] arrays: softmax, normalisation and cross-entropy. T is float or double.
// A row of all -inf gives zeros (softmax), -inf (log_softmax, logsumexp), and zero gradients; a NaN makes its row NaN.
// A row whose cotangent is 0 has no gradient and gives none, whatever it holds.
#pragma once

#include "autograd/kernels/size.h"

namespace attune::kernels {

template <class T>
void softmax(const T* x, T* y, Size rows, Size n);
/// dx = y (dy - sum(y dy))
template <class T>
void softmax_grad(const T* y, const T* dy, T* dx, Size rows, Size n);

template <class T>
void log_softmax(const T* x, T* y, Size rows, Size n);
/// dx = dy - exp(y) sum(dy)
template <class T>
void log_softmax_grad(const T* y, const T* dy, T* dx, Size rows, Size n);

template <class T>
void logsumexp(const T* x, T* y, Size rows, Size n);

/// y = (x - mean) rstd w + b; w and b may be null (1 and 0). mean and rstd receive [rows]; two passes, so that a large
/// mean does not cancel: rstd = 1 / sqrt(mean((x - mean)^2) + eps).
template <class T>
void layer_norm(const T* x, const T* w, const T* b, double eps, T* y, T* mean, T* rstd, Size rows, Size n);
/// dx, and dw, db if not null. Column sums run in a fixed tree.
template <class T>
void layer_norm_grad(const T* x, const T* w, const T* mean, const T* rstd, const T* dy, T* dx, T* dw, T* db, Size rows,
                     Size n);

/// y = x rrms w, rrms = 1 / sqrt(mean(x^2) + eps); w may be null. rrms receives [rows].
template <class T>
void rms_norm(const T* x, const T* w, double eps, T* y, T* rrms, Size rows, Size n);
template <class T>
void rms_norm_grad(const T* x, const T* w, const T* rrms, const T* dy, T* dx, T* dw, Size rows, Size n);

/// Cross-entropy with label smoothing s: loss[i] = -(1 - s) log p[target] - s mean_j log p[j]; 0 where target[i]
/// is `ignore`. shift and total receive [rows], of which sum exp(x) is total exp(shift). Targets must lie in [0, n)
/// or equal `ignore`.
template <class T>
void cross_entropy(const T* x, const std::int64_t* target, std::int64_t ignore, double smoothing, T* loss, T* shift,
                   T* total, Size rows, Size n);
/// dx = dloss[i] (softmax(x) - (1 - s) onehot - s / n).
template <class T>
void cross_entropy_grad(const T* x, const T* shift, const T* total, const std::int64_t* target, std::int64_t ignore,
                        double smoothing, const T* dloss, T* dx, Size rows, Size n);

}  // namespace attune::kernels
