// A backward pass in words and numbers.
#pragma once

#include <string>

#include "autograd/tensor/tensor.h"

namespace attune {

/// A line a node of what the last backward pass from `loss` did, in its order: the node's call with the values it ran
/// on, its line, the gradient that reached it, and for each input the rule with numbers, where the result went, which
/// of how many contributions it was there, and what they sum to:
///
///     %3 mul(a = -4, b = 2) = -8  learn.cpp:53 | dy = 2 | da = b dy = 2 * 2 = 4, to a (1 of 2, sum 2)
///
/// Large tensors are shown by their shape and norm. Both passes must have run under Tracing; throws ValueError if they
/// did not, and GradError if loss requires no gradient. Of more than `most_lines` nodes the middle is left out; 0:
/// nothing is.
std::string explain(const Tensor& loss, std::size_t most_lines = 200, Here here = Here::current());

}  // namespace attune
