// What a node keeps while a Tracing guard is alive, for those who look at how a result was made.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "autograd/tensor/tensor.h"

namespace attune {

/// One level of the call stack under which an operation was recorded, outermost first.
struct CallSite {
  std::string module;  ///< its path; "" outside of modules
  std::string name;    ///< the operation or the module's type
  Here here;
};

struct Trace {
  using Replay = std::function<Tensors(const Tensors& inputs)>;

  std::vector<CallSite> stack;
  /// The values it ran on, off the tape, and what it made of them.
  Tensors inputs, outputs;
  /// Runs the operation again, on inputs of either floating dtype; random operations draw the same numbers.
  Replay replay;
  /// For a fused operation: its plain composition; empty otherwise.
  Replay composed;
  /// The arguments that are not tensors, as text.
  std::vector<std::string> arguments;
};

}  // namespace attune
