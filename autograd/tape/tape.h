// The tape as a value to look at.
#pragma once

#include <string>
#include <vector>

#include "autograd/tape/node.h"

namespace attune {

/// The nodes that a tensor depends on, in order of execution. It keeps the nodes, not their saved tensors' freedom to
/// go.
///
///     Tensor x = tensor({1, 2, 3}).requires_grad_();
///     std::cout << Tape::of(sum(x * x)).str();
class Tape {
 public:
  static Tape of(const Tensor& root);
  std::size_t size() const { return nodes_.size(); }
  const Node& operator[](std::size_t i) const { return *nodes_[i]; }
  /// The position of a node, or size() if it is not on this tape.
  std::size_t index_of(const Node* node) const;
  /// A line a node, in columns: position and name, the call, its shape, its rule, and the lines that made it, the
  /// user's and the one inside the innermost module. Parameters have their paths, other leaves the variables of their
  /// lines. Nodes that were recorded under Tracing are grouped by module, and show their constants and arguments. A
  /// tape of more than `most_lines` lines is folded: runs of modules' nodes into a line each, and then its middle; 0:
  /// all lines. (Defined in trace/, where names come from.)
  std::string str(std::size_t most_lines = 100) const;

 private:
  std::vector<Ref<Node>> nodes_;
};

}  // namespace attune
