// Highway layers (Srivastava, Greff and Schmidhuber 2015).
#pragma once

#include "nn/layers/linear.h"

namespace attune::nn {

struct HighwayOptions {
  std::int64_t layers = 1;
  Activation activation = Activation::relu;
  double gate_bias = -2;  ///< where the gate's bias starts: below 0, so that a layer first carries its input through
};

/// y = t f(W x + b) + (1 - t) x, t = sigmoid(W_t x + b_t), `layers` times: x [..., d]. A layer's W and W_t are the rows
/// of one weight [2 d, d], in this order. Throws ValueError for sizes below 1.
class Highway : public Module {
 public:
  using Options = HighwayOptions;
  explicit Highway(std::int64_t d, const HighwayOptions& options = {}, Here here = Here::current());
  Tensor operator()(const Tensor& x, Here here = Here::current()) const;

 private:
  Activation activation_;
  std::vector<Linear*> layers_;
};

}  // namespace attune::nn
