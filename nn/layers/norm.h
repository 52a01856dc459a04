// Normalisation over the last axes.
#pragma once

#include "nn/module.h"

namespace attune::nn {

struct LayerNormOptions {
  double eps = 1e-5;
  bool affine = true;  ///< a weight (ones) and a bias (zeros)
  bool bias = true;    ///< false: only the weight
};

/// (x - mean) / sqrt(var + eps) * weight + bias over the last axes, which have the sizes `shape` (Ba et al. 2016).
/// Throws ValueError for no sizes, sizes below 1 and a bad eps; calls throw ShapeError if x does not end in `shape`.
class LayerNorm : public Module {
 public:
  using Options = LayerNormOptions;
  LayerNorm(const Shape& shape, const LayerNormOptions& options = {}, Here here = Here::current());
  LayerNorm(std::int64_t d, const LayerNormOptions& options = {}, Here here = Here::current())
      : LayerNorm(Shape{d}, options, here) {}
  Tensor operator()(const Tensor& x, Here here = Here::current()) const;

  Parameter& weight() const { return weight_; }  ///< undefined if there is none
  Parameter& bias() const { return bias_; }

 private:
  Shape shape_;
  double eps_;
  Parameter &weight_, &bias_;
};

/// x / sqrt(mean(x^2) + eps) * weight over the last axis, of size d; the weight starts as ones (Zhang and Sennrich
/// 2019).
class RMSNorm : public Module {
 public:
  explicit RMSNorm(std::int64_t d, double eps = 1e-6, Here here = Here::current());
  Tensor operator()(const Tensor& x, Here here = Here::current()) const;

  Parameter& weight;

 private:
  double eps_;
};

}  // namespace attune::nn
