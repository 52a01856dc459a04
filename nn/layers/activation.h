// Activations as modules, for containers; elsewhere the functions do.
#pragma once

#include "autograd/runtime/activation.h"
#include "nn/module.h"

namespace attune::nn {

/// The function behind an activation's name; the identity for none.
Tensor activate(const Tensor& x, Activation f, Here here = Here::current());

class Activate : public Module {
 public:
  explicit Activate(Activation f) : f_(f) {}
  Tensor operator()(const Tensor& x, Here here = Here::current()) const;

 private:
  Activation f_;
};
struct ReLU : Activate {
  ReLU() : Activate(Activation::relu) {}
};
struct GELU : Activate {
  GELU() : Activate(Activation::gelu) {}
};
struct GELUTanh : Activate {
  GELUTanh() : Activate(Activation::gelu_tanh) {}
};
struct SiLU : Activate {
  SiLU() : Activate(Activation::silu) {}
};
struct Tanh : Activate {
  Tanh() : Activate(Activation::tanh) {}
};
struct Sigmoid : Activate {
  Sigmoid() : Activate(Activation::sigmoid) {}
};

class Softmax : public Module {
 public:
  explicit Softmax(std::int64_t axis = -1) : axis_(axis) {}
  Tensor operator()(const Tensor& x, Here here = Here::current()) const;

 private:
  std::int64_t axis_;
};

}  // namespace attune::nn
