// Who uses what on a tape.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "autograd/tape/tape.h"

namespace attune {

/// The edges of a tape by position, both ways. Made in one pass over it; then every question costs what it answers.
class Graph {
 public:
  /// Input `input` of the node at `user` is output `slot` of the node that was asked about.
  struct Use {
    std::uint32_t user, input, slot;
  };

  explicit Graph(const Tape& tape);

  std::size_t size() const { return sequences_.size(); }
  /// Where the node of a sequence number stands; size() if it is not on the tape.
  std::size_t position(std::uint64_t sequence) const;
  /// The positions of a node's inputs, one an input; size() for a constant.
  std::span<const std::uint32_t> inputs(std::size_t position) const {
    return {inputs_.data() + first_input_[position], inputs_.data() + first_input_[position + 1]};
  }
  /// In order of execution: a backward pass comes to them last to first.
  std::span<const Use> users(std::size_t position) const {
    return {uses_.data() + first_use_[position], uses_.data() + first_use_[position + 1]};
  }
  /// How many inputs of nodes an output is.
  std::size_t fan_out(std::size_t position, std::uint32_t slot) const;
  /// The nodes on the ways that lead from `a` to `b`, both included, in order of execution; none if no way does.
  std::vector<std::size_t> between(std::size_t a, std::size_t b) const;

 private:
  std::vector<std::uint64_t> sequences_;
  std::vector<std::uint32_t> first_input_, inputs_, first_use_;
  std::vector<Use> uses_;
};

}  // namespace attune
