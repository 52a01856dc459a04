// Convolution over time, and what goes with it.
#pragma once

#include "autograd/ops/convolution.h"
#include "nn/module.h"

namespace attune::nn {

/// What lies beyond the ends: zeros, the row mirrored at its last element, its last element, or its other end.
enum class PaddingMode : std::uint8_t { zeros, reflect, replicate, circular };

struct Conv1dOptions {
  std::int64_t stride = 1;
  std::int64_t padding = valid_padding;  ///< elements on either side, or same_padding
  std::int64_t dilation = 1;
  std::int64_t groups = 1;
  bool bias = true;
  PaddingMode padding_mode = PaddingMode::zeros;
};

/// conv1d of x [N, in, L] or [in, L] with weight [out, in / groups, kernel] and bias [out], both drawn from
/// U(-1/sqrt(n), 1/sqrt(n)), n = kernel in / groups. Throws ValueError for options out of range; calls
/// throw ShapeError if a padding mode needs more elements than x has.
class Conv1d : public Module {
 public:
  using Options = Conv1dOptions;
  Conv1d(std::int64_t in, std::int64_t out, std::int64_t kernel, const Conv1dOptions& options = {},
         Here here = Here::current());
  Tensor operator()(const Tensor& x, Here here = Here::current()) const;

  Parameter& weight;
  Parameter& bias() const { return bias_; }  ///< undefined if there is none

 private:
  Parameter& bias_;
  Conv1dCall call_;
  PaddingMode mode_;
  std::int64_t before_ = 0, after_ = 0;  // what the layer adds itself if the mode is not zeros
};

/// The largest value of each feature over time (Collobert et al. 2011): x [..., C, L] to [..., C]. Throws ShapeError
/// for an L of 0.
class MaxOverTime : public Module {
 public:
  Tensor operator()(const Tensor& x, Here here = Here::current()) const;
};

}  // namespace attune::nn
