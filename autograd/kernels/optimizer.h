// One optimiser step over all parameters of a group in a single pass: each element's parameter, gradient and state are
// read and written once. T is float or double; arithmetic is in T, coefficients come in as double.
#pragma once

#include <cstdint>
#include <vector>

namespace attune::kernels {

/// One parameter of n dense elements, its gradient and its state (null where the rule has none).
template <class T>
struct Updated {
  T* p;
  const T* g;
  T* s0;
  T* s1;
  std::int64_t n;
};

/// s0 = momentum s0 + (1 - dampening) g (g in the first step), p -= lr s0; with weight decay added to g.
struct SgdStep {
  double lr, momentum, dampening, weight_decay;
  bool nesterov, first;
};
template <class T>
void sgd(const std::vector<Updated<T>>& tensors, const SgdStep& step);

/// s0 = beta1 s0 + (1 - beta1) g, s1 = beta2 s1 + (1 - beta2) g^2, p -= lr (s0 / correction1) / (sqrt(s1 / correction2)
/// + eps).
struct AdamStep {
  double lr, beta1, beta2, eps, weight_decay;
  bool decoupled;                   // weight decay shrinks p itself (AdamW) instead of adding to g
  double correction1, correction2;  // 1 - beta^t
};
template <class T>
void adam(const std::vector<Updated<T>>& tensors, const AdamStep& step);

/// s0 = rho s0 + (1 - rho) g^2, d = sqrt((s1 + eps) / (s0 + eps)) g, s1 = rho s1 + (1 - rho) d^2, p -= lr d.
struct AdadeltaStep {
  double lr, rho, eps, weight_decay;
};
template <class T>
void adadelta(const std::vector<Updated<T>>& tensors, const AdadeltaStep& step);

/// Adafactor (Shazeer and Stern 2018) for one parameter of `matrices` matrices [rows, columns]; with rows = 0 a vector
/// of `columns`, whose second moment is not factored. row [matrices, rows] and column [matrices, columns] (or full
/// [columns]) are the moments, m [n] the first moment or null.
struct AdafactorStep {
  double lr, beta1, beta2, eps, clip, weight_decay;
};
template <class T>
void adafactor(T* p, const T* g, T* row, T* column, T* m, std::int64_t matrices, std::int64_t rows,
               std::int64_t columns, const AdafactorStep& step);

/// x *= factor over all tensors.
template <class T>
void scale_all(const std::vector<Updated<T>>& tensors, double factor);

}  // namespace attune::kernels
