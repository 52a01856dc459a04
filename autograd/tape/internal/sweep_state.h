// A running sweep. The algorithm is in sweep.cpp; what stands beside it has a place of its own: captures for grad(),
// hooks, accumulation, the search for NaN.
#pragma once

#include <optional>

#include "autograd/runtime/memory.h"
#include "autograd/tape/internal/captures.h"
#include "autograd/tape/internal/pending.h"
#include "autograd/tape/sweep.h"
#include "autograd/tape/tracing.h"

namespace attune {

struct Sweep::State {
  State(const BackwardOptions& options, bool watched, Here here);

  /// Lets a cotangent (undefined: one) set out from `root`. `what` names the caller in errors.
  void start(const Tensor& root, const Tensor& cotangent, const char* what);
  /// Runs the next node. There must be one.
  void step();
  void finish();
  /// Something failed: handles that got their first gradient from this sweep have none again.
  void take_back() noexcept;

  const bool retain, create;
  const bool in_place;       // gradients may be added to in place
  const bool watched;        // by somebody who steps: received and sent are kept until the next step
  const std::uint64_t pass;  // its number, if nodes keep what it does; otherwise 0
  std::uint64_t steps = 0;
  const Here here;
  PendingNodes pending;
  Tensors received, sent;
  std::optional<double> loss;    // where it began, in anomaly mode
  Captures* captures = nullptr;  // of grad(); grad() of the leaves stays untouched then

 private:
  pool::Vector<Ref<TensorImpl>> given;  // handles that had no gradient

  void collect(Node* node, std::uint32_t slot, Tensor g, const Node* from, std::size_t input);
  void arrive(Node& node, Pending& p);
  void run(Node& node, Pending& p);
  void hand_on(const Node& node);

  // In sweep_trace.cpp: what the nodes' traces keep of the pass.
  void collect_traced(Node& node, std::uint32_t slot, Collected& into, const Tensor& g, const Node* from,
                      std::size_t input);
  void trace_run(Node& node) const;
  void give_traced(Node& node, std::uint32_t slot, TensorImpl& handle, const Tensor& g);
  void trace_end(Node& node, Pending& p);
  BackwardStep& traced(Node& node) const;
  Tensor fitted(const Node& node, std::size_t input, Tensor dx) const;

  // In accumulate.cpp.
  void add(Collected& into, const Tensor& g) const;
  void give_to_handles(Node& node, Pending& p);
  void give(TensorImpl& handle, Tensor g);
};

/// In sweep_trace.cpp: the number of a pass that begins now; 0 unless it is traced.
std::uint64_t next_traced_pass();

/// In hooks.cpp: lets the hooks of a node see, and replace, its gradients.
void run_hooks(Node& node, Pending& p);

}  // namespace attune
