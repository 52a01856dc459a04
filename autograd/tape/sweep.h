// The reverse sweep: from a result back to the leaves.
#pragma once

#include <memory>

#include "autograd/tape/node.h"

namespace attune {

struct BackwardOptions {
  /// The root's cotangent; default: one, for a root of one element.
  Tensor gradient{};
  /// Keep saved tensors for another sweep.
  bool retain_graph = false;
  /// Record the sweep itself, for higher derivatives; keeps the graph too.
  bool create_graph = false;
  /// Never accumulate in place, so that handles from Sweep::pending() keep their values.
  bool keep_history = false;
};

/// A reverse sweep that can be run one node at a time. Leaves receive their gradient in their turn: step() returns
/// after each node or leaf.
///
///     Sweep sweep(loss);
///     while (const Node* node = sweep.next()) {
///       sweep.step();
///       std::cout << node->name() << ": " << sweep.received() << " -> " << sweep.sent() << '\n';
///     }
class Sweep {
 public:
  explicit Sweep(const Tensor& root, const BackwardOptions& options = {}, Here here = Here::current());
  ~Sweep();
  Sweep(const Sweep&) = delete;
  Sweep& operator=(const Sweep&) = delete;

  /// The node that step() will run: the highest sequence number among those a gradient has reached. Null at the end.
  const Node* next() const;
  /// The gradient collected so far for output `slot` of a pending node; undefined if there is none.
  Tensor pending(const Node* node, std::uint32_t slot = 0) const;
  /// Runs next(). Returns false, and does nothing, at the end.
  bool step();
  /// The gradients that the last step received, an output each (zeros if nothing had come), and sent, an input each
  /// (undefined where none was wanted). The lists are replaced by the next step; copied handles keep their values.
  const Tensors& received() const;
  const Tensors& sent() const;

  struct State;

 private:
  std::unique_ptr<State> state_;
};

}  // namespace attune
