// The gradients that a sweep has on their way, by the node that they have reached.
#pragma once

#include <algorithm>
#include <utility>
#include <vector>

#include "autograd/runtime/memory.h"
#include "autograd/tape/internal/node_table.h"
#include "autograd/tape/node.h"

namespace attune {

/// A gradient, and whether the sweep made the buffer itself, so that it may add to it in place.
struct Collected {
  Tensor value;
  bool owned = false;
};

struct Pending {
  Ref<Node> node;
  Collected first;
  std::vector<Collected> more;  // outputs 1, 2, ...
  Collected& at(std::uint32_t slot) {
    if (slot == 0) return first;
    if (more.size() < slot) more.resize(slot);
    return more[slot - 1];
  }
};

/// One entry a node, that of the highest sequence number first.
class PendingNodes {
 public:
  /// Null at the end.
  const Node* next() const { return heap_.empty() ? nullptr : entries_[heap_.front().second].node.get(); }

  /// The entry of a node, or null.
  Pending* find(const Node* node) {
    const std::uint32_t at = table_.find(node);
    return at == NodeTable::none ? nullptr : &entries_[at];
  }

  /// The entry of a node, a new one if there was none.
  Pending& of(Node* node) {
    if (Pending* known = find(node)) return *known;
    auto at = static_cast<std::uint32_t>(entries_.size());
    if (free_.empty()) {
      entries_.emplace_back();
    } else {
      at = free_.back();
      free_.pop_back();
    }
    entries_[at].node = Ref<Node>(node);
    table_.insert(node, at);
    heap_.emplace_back(node->sequence(), at);
    std::push_heap(heap_.begin(), heap_.end());
    return entries_[at];
  }

  Pending take_next() {
    std::pop_heap(heap_.begin(), heap_.end());
    const std::uint32_t at = heap_.back().second;
    heap_.pop_back();
    Pending p = std::exchange(entries_[at], {});
    free_.push_back(at);
    table_.erase(p.node.get());
    return p;
  }

 private:
  pool::Vector<Pending> entries_;
  pool::Vector<std::uint32_t> free_;  // entries that are not in use
  NodeTable table_;
  pool::Vector<std::pair<std::uint64_t, std::uint32_t>> heap_;  // sequence number, entry
};

}  // namespace attune
