// Adafactor (Shazeer and Stern 2018): needs means over rows and columns before it can update, so three passes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "autograd/kernels/size.h"

namespace attune::kernels {

/// One parameter of `matrices` matrices [rows, columns], none of them 0, with its gradient g; row [matrices, rows] and
/// column [matrices, columns] are the factors of the second moment. If row is null the parameter is one vector of
/// `columns` elements and column is its whole second moment. m, of p's size, is the first moment or null.
template <class T>
struct Factored {
  T* p;
  const T* g;
  T* row;
  T* column;
  T* m;
  Size matrices, rows, columns;
  double lr, weight_decay, beta2;
};

/// V = beta2 V + (1 - beta2) (g^2 + eps1) in its factors, u = g / sqrt(V) scaled down to a root mean square of at most
/// `clip`, p = (1 - step weight_decay) p - step u (with beta1, the running mean of step u), where step = lr, or
/// lr max(eps2, rms(p)) with `relative`.
struct AdafactorRule {
  double beta1, eps1, eps2, clip;
  bool relative;
};
/// `scratch` grows to what the sums need; giving the same one again saves making it.
template <class T>
void adafactor(const std::vector<Factored<T>>& tensors, const AdafactorRule& rule, std::vector<std::byte>& scratch);

}  // namespace attune::kernels
