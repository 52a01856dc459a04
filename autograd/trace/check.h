// One node's rule compared with finite differences.
#pragma once

#include <cstdint>
#include <string>

#include "autograd/tape/node.h"
#include "autograd/tape/tracing.h"

namespace attune {

/// What finite differences say of a node's rule.
struct NodeCheck {
  enum class Verdict : std::uint8_t {
    right,        ///< every element that was looked at agrees
    wrong,        ///< at `element` of `input`, the rule gives `rule` and finite differences `difference`
    surrogate,    ///< an operation whose rule is meant to be another function's derivative
    not_checked,  ///< `why` says why
  };
  Verdict verdict = Verdict::not_checked;
  std::size_t input = 0;
  Dims element;
  double rule = 0, difference = 0;
  std::int64_t elements = 0;    ///< that were compared one by one
  std::int64_t directions = 0;  ///< random directions that cover the others
  std::int64_t kinks = 0;       ///< elements where the function has a kink, a jump or its domain's end: no derivative
  std::size_t kink_input = 0;   ///< the first of them
  std::string kink;             ///< "[0, 2] = 0: slope 0 on the left, 1 on the right"
  std::string why;
};

/// How closely a rule is looked at.
struct NodeCheckOptions {
  std::int64_t elements =
      256;                 ///< compared one by one, an input; beyond, a sample of them, and directions for the rest
  std::uint64_t seed = 0;  ///< of the cotangent, the sample and the directions
  double seconds = 2;      ///< after which no further element is looked at
};

/// Runs a traced node again in float64 (random operations draw the same numbers), with a random cotangent, and compares
/// what its rule gives with central differences, in several step sizes: the rule is right if one of them agrees to five
/// digits. Where one-sided differences disagree however small the step is, there is no derivative to compare with. Of
/// large inputs a sample of elements is compared, and random directions, in which any wrong element is searched for. An
/// operation that refuses float64 is checked in float32, to two digits. The program's tensors and gradients stay as
/// they are.
NodeCheck check_node(const Node& node, const NodeCheckOptions& options = {});

/// A line: "right: 12 elements, 1 kink (...)" or "wrong: dx[0, 1]: the rule gives 2, finite differences give 1".
/// `names`: what the node's inputs are called; "input 0" and so on where there is none.
std::string to_string(const NodeCheck& check, const std::vector<std::string>& names = {});

}  // namespace attune
