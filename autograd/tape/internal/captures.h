// What grad() wants of a sweep.
#pragma once

#include <vector>

#include "autograd/tape/internal/node_table.h"
#include "autograd/tape/internal/pending.h"

namespace attune {

/// Which gradients to keep, and which nodes lie on a way to them: the sweep runs no others.
class Captures {
 public:
  /// `inputs` require gradients. With `independent`, nothing flows through one of them into another.
  Captures(const Tensors& outputs, const Tensors& inputs, bool independent);

  bool wants(const Node* n) const { return wanted_.contains(n); }
  /// Whether no way leads on from here: the node's rules need not run.
  bool end_at(const Node& node) const;
  void take(const Node& node, Pending& p);

  Tensors results;  // an input each; undefined if no gradient came

 private:
  struct Capture {
    const Node* node;
    std::uint32_t slot;
  };
  std::vector<Capture> captures_;  // an input each
  bool independent_;
  NodeTable wanted_;
};

}  // namespace attune
