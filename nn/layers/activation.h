// Activations as modules, for containers; elsewhere the functions do.
#pragma once

#include "autograd/runtime/activation.h"
#include "nn/module.h"

namespace attune::nn {

/// The function behind an activation's name; the identity for none.
Tensor activate(const Tensor& x, Activation f, Here here = Here::current());

/// activate() as a module.
class Activate : public Module {
 public:
  explicit Activate(Activation f) : f_(f) {}
  Tensor operator()(const Tensor& x, Here here = Here::current()) const;

 private:
  Activation f_;
};
/// relu() as a module.
struct ReLU : Activate {
  ReLU() : Activate(Activation::relu) {}
};
/// gelu() as a module.
struct GELU : Activate {
  GELU() : Activate(Activation::gelu) {}
};
/// gelu_tanh() as a module.
struct GELUTanh : Activate {
  GELUTanh() : Activate(Activation::gelu_tanh) {}
};
/// silu() as a module.
struct SiLU : Activate {
  SiLU() : Activate(Activation::silu) {}
};
/// tanh() as a module.
struct Tanh : Activate {
  Tanh() : Activate(Activation::tanh) {}
};
/// sigmoid() as a module.
struct Sigmoid : Activate {
  Sigmoid() : Activate(Activation::sigmoid) {}
};

/// softmax() along an axis as a module.
class Softmax : public Module {
 public:
  explicit Softmax(std::int64_t axis = -1) : axis_(axis) {}
  Tensor operator()(const Tensor& x, Here here = Here::current()) const;

 private:
  std::int64_t axis_;
};

}  // namespace attune::nn
