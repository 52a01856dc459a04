#include "autograd/tape/tape.h"

#include <algorithm>
#include <unordered_set>

#include "autograd/tape/internal/node_access.h"
#include "autograd/tensor/named.h"

namespace attune {

std::string leaf_name(const Node& node) {
  if (!node.is_leaf() || !NodeAccess::has_extras(node)) return {};
  for (const auto& owner : NodeAccess::extras(const_cast<Node&>(node)).owners)
    if (std::string name = tensor_name(Tensor(Ref<TensorImpl>(owner.tensor))); !name.empty()) return name;
  return {};
}

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
