// One side of an operator: a tensor, or a scalar that takes the other side's dtype. It brings the call site along,
// which an operator cannot take as a default argument.
#pragma once

#include <type_traits>

#include "autograd/tensor.h"

namespace attune {

class Saved;

class Operand {
 public:
  Operand(const Tensor& t, Here here = Here::current()) : tensor_(&t), here_(here) {}
  Operand(const Saved& t, Here here = Here::current());
  template <class T>
  requires std::is_arithmetic_v<T> Operand(T v, Here here = Here::current())
      : scalar_(static_cast<double>(v)), integral_(std::is_integral_v<T>), here_(here) {}

  const Tensor* tensor() const { return tensor_; }  ///< null for a scalar
  double scalar() const { return scalar_; }
  bool integral() const { return integral_; }
  Here here() const { return here_; }

 private:
  const Tensor* tensor_ = nullptr;
  double scalar_ = 0;
  bool integral_ = false;
  Here here_;
};

}  // namespace attune
