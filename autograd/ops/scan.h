// Recurrences of one's own.
#pragma once

#include <functional>

#include "autograd/tensor/tensor.h"

namespace attune {

struct ScanResult {
  Tensors state;  ///< after the last step
  Tensors ys;     ///< the outputs of all steps, stacked along a new axis 0; empty if there was no step
};

/// One step: the state and the inputs at a step to the next state, as many tensors, and outputs, as many each time.
using ScanStep = std::function<ScanResult(const Tensors& state, const Tensors& xs)>;

/// step(state, xs[t]) for t = 0, 1, ... along axis 0 of each xs[i], which all have the same size, beginning with
/// `init`; with `reverse` from the end, each output staying at the step of its inputs. The steps are on the tape one by
/// one, so any step is differentiable to any order. Throws ShapeError if sizes differ, ValueError without inputs or
/// if a step changes the number of its results.
///
///     ScanResult r = scan([&](const Tensors& s, const Tensors& x) {
///       const Tensor h = tanh(x[0] + matmul(s[0], w));
///       return ScanResult{{h}, {h}};
///     }, {h0}, {xs});
ScanResult scan(const ScanStep& step, const Tensors& init, const Tensors& xs, bool reverse = false,
                Here here = Here::current());

}  // namespace attune
