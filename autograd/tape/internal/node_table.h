// Where the sweep finds what it holds for a node, and sets of nodes.
#pragma once

#include <cstddef>
#include <cstdint>

#include "autograd/runtime/memory.h"
#include "autograd/tape/node.h"

namespace attune {

/// From a node to the place of its pending gradients: open addressing, linear probing, no tombstones.
class NodeTable {
 public:
  static constexpr std::uint32_t none = ~0u;

  std::uint32_t find(const Node* n) const {
    for (std::size_t i = home(n);; i = (i + 1) & mask_) {
      if (slots_[i].node == n) return slots_[i].index;
      if (!slots_[i].node) return none;
    }
  }
  void insert(const Node* n, std::uint32_t index) {
    if (2 * ++count_ > mask_) grow();
    place({n, index});
  }
  bool contains(const Node* n) const { return find(n) != none; }
  /// As a set: whether n was new.
  bool add(const Node* n) {
    if (2 * (count_ + 1) > mask_) grow();
    std::size_t i = home(n);
    for (; slots_[i].node; i = (i + 1) & mask_)
      if (slots_[i].node == n) return false;
    slots_[i] = {n, 0};
    ++count_;
    return true;
  }
  void erase(const Node* n) {
    std::size_t i = home(n);
    while (slots_[i].node != n) i = (i + 1) & mask_;
    --count_;
    // Close the gap: later members of the run move back unless that would put them before their home.
    for (std::size_t j = (i + 1) & mask_; slots_[j].node; j = (j + 1) & mask_) {
      const std::size_t h = home(slots_[j].node);
      if (((j - h) & mask_) < ((j - i) & mask_)) continue;
      slots_[i] = slots_[j];
      i = j;
    }
    slots_[i] = {};
  }

 private:
  struct Slot {
    const Node* node = nullptr;
    std::uint32_t index = 0;
  };
  std::size_t home(const Node* n) const {
    return static_cast<std::size_t>((reinterpret_cast<std::uintptr_t>(n) >> 6) * 0x9E3779B97F4A7C15ull >> 20) & mask_;
  }
  void place(Slot s) {
    std::size_t i = home(s.node);
    while (slots_[i].node) i = (i + 1) & mask_;
    slots_[i] = s;
  }
  void grow() {
    pool::Vector<Slot> old(4 * (mask_ + 1));
    old.swap(slots_);
    mask_ = slots_.size() - 1;
    for (const Slot& s : old)
      if (s.node) place(s);
  }
  pool::Vector<Slot> slots_ = pool::Vector<Slot>(16);
  std::size_t mask_ = 15;
  std::size_t count_ = 0;
};

}  // namespace attune
