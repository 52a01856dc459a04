// One side of an operator: a tensor, or a scalar that takes the other side's dtype. It brings the call site along,
// which an operator cannot take as a default argument.
#pragma once

#include <concepts>
#include <type_traits>

#include "autograd/runtime/scalar.h"
#include "autograd/tensor/tensor.h"

namespace attune {

class Saved;

/// The base of types that stand for a tensor and convert to `const Tensor&` (a module's parameters): operators take
/// them, and functions of this namespace are found for them.
struct StandsForTensor {};

class Operand {
 public:
  Operand(const Tensor& t, Here here = Here::current()) : tensor_(&t), here_(here) {}
  template <std::derived_from<StandsForTensor> T>
  Operand(const T& t, Here here = Here::current()) : Operand(static_cast<const Tensor&>(t), here) {}
  Operand(const Saved& t, Here here = Here::current());
  template <class T>
  requires(std::is_arithmetic_v<T> || std::is_enum_v<T>) && std::is_convertible_v<T, Scalar> Operand(
                                                                T v, Here here = Here::current())
      : scalar_(v),
  here_(here) {}
  Operand(const Scalar& v, Here here = Here::current()) : scalar_(v), here_(here) {}

  const Tensor* tensor() const { return tensor_; }  ///< null for a scalar
  const Scalar& scalar() const { return scalar_; }
  Here here() const { return here_; }

 private:
  const Tensor* tensor_ = nullptr;
  Scalar scalar_ = 0;
  Here here_;
};

}  // namespace attune
