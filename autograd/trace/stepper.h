// Stepper: a backward pass that runs node by node, and back again.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "autograd/tape/sweep.h"
#include "autograd/tape/tape.h"
#include "autograd/tape/tracing.h"

namespace attune {

/// A backward pass whose steps can be taken, undone and taken again. Going back, every gradient (grad() of leaves and
/// of tensors that retain_grad()) becomes bit for bit what it was: nothing is subtracted, the earlier tensor returns. A
/// step that was taken before is not run again: its results come back. What each step received and sent stands in the
/// node's trace()->step. Nodes that were recorded under Tracing also show their inputs and replay.
///
///     Stepper s(loss);
///     while (s.forward()) std::cout << s.last()->name() << '\n';
///     while (s.back()) {}                       // every gradient is what it was before
class Stepper {
 public:
  /// Throws as Tensor::backward does, before anything has happened.
  explicit Stepper(const Tensor& root, const BackwardOptions& options = {}, Here here = Here::current());
  ~Stepper();
  Stepper(const Stepper&) = delete;
  Stepper& operator=(const Stepper&) = delete;

  const Tape& tape() const { return tape_; }
  /// The node that forward() takes; null at the end.
  const Node* next() const;
  /// The node whose step was taken last; null at the beginning.
  const Node* last() const { return at_ ? order_[at_ - 1].node.get() : nullptr; }
  /// How many steps are taken, and how many have ever been: those beyond `taken` come back without running.
  std::size_t taken() const { return at_; }
  std::size_t known() const { return order_.size(); }
  /// The node of a step that is known, counted from 0.
  const Node* step(std::size_t i) const { return order_[i].node.get(); }
  /// When a node's step was, counted from 0; -1 if it is not known yet.
  std::int64_t step_of(const Node* node) const;

  /// Takes the next step; false at the end. An exception of a rule leaves everything as before that step, but the pass
  /// cannot go on past it.
  bool forward();
  /// Undoes the last step; false at the beginning.
  bool back();
  /// Takes all steps that are left.
  void finish();

 private:
  struct Change {
    Tensor handle, before, after;
  };
  struct Step {
    Ref<Node> node;
    std::vector<Change> changes;
  };

  Tape tape_;
  std::unique_ptr<Sweep> sweep_;
  std::uint64_t pass_ = 0;  // its number in the traces
  std::vector<Step> order_;
  std::size_t at_ = 0;
};

}  // namespace attune
