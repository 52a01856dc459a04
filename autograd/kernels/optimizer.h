// One optimiser step over all parameters in a single pass: each element's parameter, gradient and state are read and
// written once. T is float or double; arithmetic is in T, coefficients come in as double.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "autograd/kernels/size.h"

namespace attune::kernels {

/// n dense elements, worked on in pieces.
template <class T>
struct Piecewise {
  T* p;
  Size n;
};

/// One parameter with its gradient, its state (null if the rule has none), its settings, and which update this is of
/// the parameter, from 1.
template <class T>
struct Updated : Piecewise<T> {
  const T* g;
  T* s0;
  T* s1;
  T* s2;
  double lr, weight_decay;
  Size step;
};

/// s0 = momentum s0 + (1 - dampening) g (g in the first step), p -= lr s0; with weight decay added to g.
struct SgdRule {
  double momentum, dampening;
  bool nesterov;
};
template <class T>
void sgd(const std::vector<Updated<T>>& tensors, const SgdRule& rule);

/// s0 = beta1 s0 + (1 - beta1) g, s1 = beta2 s1 + (1 - beta2) g^2,
/// p -= lr (s0 / (1 - beta1^step)) / (sqrt(s1 / (1 - beta2^step)) + eps); with s2, that is max(s2, s1) takes the place
/// of s1 in the last.
struct AdamRule {
  double beta1, beta2, eps;
  bool decoupled;  // weight decay shrinks p itself (AdamW) instead of adding to g
};
template <class T>
void adam(const std::vector<Updated<T>>& tensors, const AdamRule& rule);

/// s0 = rho s0 + (1 - rho) g^2, d = sqrt((s1 + eps) / (s0 + eps)) g, s1 = rho s1 + (1 - rho) d^2, p -= lr d.
struct AdadeltaRule {
  double rho, eps;
};
template <class T>
void adadelta(const std::vector<Updated<T>>& tensors, const AdadeltaRule& rule);

/// s0 = alpha s0 + (1 - alpha) g^2, d = g / (sqrt(s0) + eps), p -= lr d; centered, the next state is m = alpha m +
/// (1 - alpha) g, and s0 - m^2 takes the place of s0; with momentum, the next state is b = momentum b + d, p -= lr b.
struct RmspropRule {
  double alpha, eps, momentum;
  bool centered;
};
template <class T>
void rmsprop(const std::vector<Updated<T>>& tensors, const RmspropRule& rule);

/// s0 += g^2 (from `initial` in the first step), p -= lr / (1 + (step - 1) lr_decay) g / (sqrt(s0) + eps).
struct AdagradRule {
  double lr_decay, eps, initial;
};
template <class T>
void adagrad(const std::vector<Updated<T>>& tensors, const AdagradRule& rule);

/// The index of the first tensor that has an element which is not finite; tensors.size() if none has.
template <class T>
std::size_t first_nonfinite(const std::vector<Piecewise<T>>& tensors);

/// sqrt of the sum of all elements' squares, each tensor in a fixed tree; squares neither overflow nor vanish.
template <class T>
double norm(const std::vector<Piecewise<T>>& tensors);

/// p *= factor over all tensors.
template <class T>
void scale(const std::vector<Piecewise<T>>& tensors, double factor);

}  // namespace attune::kernels
