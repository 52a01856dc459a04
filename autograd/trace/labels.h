// What nodes, tensors and arguments are called where people read them.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "autograd/tape/tape.h"

namespace attune {

/// Names x for tapes, explanations, pages and pictures: a leaf, or the result of an operation. A parameter keeps the
/// path that its module gave it. Returns x.
///
///     Tensor a = name(tensor(2.0).requires_grad_(), "a");
Tensor name(const Tensor& x, const std::string& as, Here here = Here::current());

/// One tensor argument of a node.
struct InputLabel {
  std::string parameter;  ///< what the operation calls it: "a"; "" if that is not known
  std::size_t node;       ///< whose output it is, a position on the tape; Tape::size() for a constant
  std::uint32_t slot;     ///< which output
  std::string source;     ///< what the reader calls it: "w", "%3", "%7.1"; of a constant its value, if that was traced
  std::string rule;       ///< "da = b dy"; "" without a gradient, or if the operation's rule is one text
};

/// The names of what is on one tape. A node is called by the path of its parameter, by the name that name() gave it, by
/// the variable to which its line assigns it (read from the source file if that can be found; off by
/// ATTUNE_TRACE_SOURCE=0), or else by its position: "%3".
class Labels {
 public:
  explicit Labels(const Tape& tape);

  const Tape& tape() const { return tape_; }
  const std::string& of(std::size_t position) const { return names_[position]; }
  const std::string& of(const Node& node) const { return names_[tape_.index_of(&node)]; }
  /// Whether of() is more than a position.
  bool named(std::size_t position) const { return names_[position][0] != '%'; }
  /// The position of the node of that name, or at that position ("%3", "3"); of several of one name the last.
  /// Tape::size() if there is none.
  std::size_t find(const std::string& name) const;
  /// The module in which a node was recorded, "encoder.layers.0", or whose parameter a leaf is; "" outside of modules.
  /// Of operations it is known under Tracing.
  static std::string module_of(const Node& node);
  /// The line inside the innermost module, if that is not the user's own: "mlp.h:12".
  static std::string inner_site(const Node& node);
  /// The tensor arguments, in order.
  std::vector<InputLabel> inputs(std::size_t position) const;
  /// The arguments that are no tensors, as far as they were traced: {"axis", "-1"}; the name is "" if it is not known.
  /// Without `defaults`, those that say something.
  std::vector<std::pair<std::string, std::string>> arguments(std::size_t position, bool defaults = true) const;
  /// The node's rule, without the parts of inputs that want no gradient.
  std::string rule(std::size_t position) const;
  /// "softmax(x = %3, axis = -1)": with the arguments that are no tensors, if they were traced. `values`: small inputs
  /// with their numbers.
  std::string call(std::size_t position, bool values = false) const;

 private:
  std::size_t index_of_node(const Node* node) const;
  std::string whole_rule(std::size_t position) const;

  Tape tape_;
  std::vector<std::string> names_;
};

/// The rule's part for each differentiable input, "da = b dy" and "db = a dy", and what follows them, "s = sigmoid(x)".
struct RuleParts {
  std::vector<std::string> names;  ///< "a", "b"
  std::vector<std::string> parts;  ///< "da = b dy"
  std::string definitions;         ///< "s = sigmoid(x)"
};
RuleParts rule_parts(const std::string& rule);

}  // namespace attune
