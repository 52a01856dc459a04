#include "autograd/tape/tape.h"

#include <algorithm>
#include <unordered_set>

namespace attune {

Tape Tape::of(const Tensor& root) {
  Tape tape;
  if (!root.node()) return tape;
  std::unordered_set<const Node*> seen;
  std::vector<Node*> open{root.node()};
  seen.insert(root.node());
  while (!open.empty()) {
    Node* n = open.back();
    open.pop_back();
    tape.nodes_.emplace_back(n);
    for (const Edge& e : n->edges())
      if (e.node && seen.insert(e.node.get()).second) open.push_back(e.node.get());
  }
  std::sort(tape.nodes_.begin(), tape.nodes_.end(),
            [](const Ref<Node>& a, const Ref<Node>& b) { return a->sequence() < b->sequence(); });
  return tape;
}

std::size_t Tape::index_of(const Node* node) const {
  if (!node) return nodes_.size();
  const auto at = std::lower_bound(nodes_.begin(), nodes_.end(), node->sequence(),
                                   [](const Ref<Node>& n, std::uint64_t s) { return n->sequence() < s; });
  return at != nodes_.end() && at->get() == node ? static_cast<std::size_t>(at - nodes_.begin()) : nodes_.size();
}

}  // namespace attune
