// Gradients as values.
#pragma once

#include "autograd/tensor/tensor.h"

namespace attune {

struct GradOptions {
  /// One an output; default: ones, for outputs of one element.
  Tensors cotangents{};
  bool retain_graph = false;
  /// Records the sweep, for higher derivatives; keeps the graph too.
  bool create_graph = false;
  /// An input that no output depends on gives an undefined tensor instead of GradError.
  bool allow_unused = false;
  /// Takes the inputs as independent of each other: nothing flows through one of them into another.
  bool independent = false;
};

/// The gradients of `outputs` with respect to `inputs` (leaves or recorded tensors) without touching any grad(). Only
/// nodes between the two run.
Tensors grad(const Tensors& outputs, const Tensors& inputs, const GradOptions& options = {},
             Here here = Here::current());

}  // namespace attune
