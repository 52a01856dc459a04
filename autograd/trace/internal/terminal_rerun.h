// Nodes that are run again, as they were recorded: under their names, lines and modules.
#pragma once

#include <memory>
#include <vector>

#include "autograd/runtime/frame.h"
#include "autograd/tape/tracing.h"

namespace attune::stepping {

/// The call stack of a node as it was, around what runs while this lives. `trace` must outlive it.
class StackAgain {
 public:
  explicit StackAgain(const Trace& trace);
  ~StackAgain();
  StackAgain(const StackAgain&) = delete;
  StackAgain& operator=(const StackAgain&) = delete;

 private:
  const Frame* before_;
  std::vector<std::unique_ptr<Frame>> frames_;
};

}  // namespace attune::stepping
