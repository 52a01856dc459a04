// Dropout (Srivastava et al. 2014).
#pragma once

#include "autograd/runtime/philox.h"
#include "nn/module.h"

namespace attune::nn {

/// While training, zeroes each element with probability p and scales the others by 1 / (1 - p); the identity in
/// evaluation. Throws ValueError for p outside [0, 1].
class Dropout : public Module {
 public:
  /// `g` must outlive the module.
  explicit Dropout(double p, Generator& g = default_generator(), Here here = Here::current());
  Tensor operator()(const Tensor& x, Here here = Here::current()) const;
  double p() const { return p_; }

 private:
  double p_;
  Generator* generator_;
};

}  // namespace attune::nn
