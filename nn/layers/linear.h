// Affine maps.
#pragma once

#include "autograd/ops/matmul.h"
#include "nn/module.h"

namespace attune::nn {

struct LinearOptions {
  bool bias = true;
  Activation activation = Activation::none;
};

/// y = activation(x W^T + b): x [..., in], weight [out, in], bias [out], both drawn from U(-1/sqrt(in), 1/sqrt(in)).
/// Throws ValueError for sizes below 1.
class Linear : public Module {
 public:
  using Options = LinearOptions;
  Linear(std::int64_t in, std::int64_t out, const LinearOptions& options = {}, Here here = Here::current());
  Tensor operator()(const Tensor& x, Here here = Here::current()) const;

  Parameter& weight;
  Parameter& bias() const { return bias_; }  ///< undefined if there is none

 private:
  Parameter& bias_;
  Activation activation_;
};
using Dense = Linear;

}  // namespace attune::nn
