// Why a gradient is what it is: the contributions that sum to it, and who made a NaN.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "autograd/trace/graph_walk.h"
#include "autograd/trace/labels.h"

namespace attune {

/// A gradient that came to an output, one of those that sum to its whole gradient.
struct Contribution {
  std::size_t from;     ///< the position of the node that sent it; Tape::size(): the cotangent that the pass began with
  std::uint32_t input;  ///< which input of that node
  std::size_t arrival;  ///< it was the how manieth to come, from 0
  Tensor value, sum;    ///< `sum`: with those before
  double norm;          ///< the 2-norm of the value
  double share;         ///< of the norms of all, in [0, 1]; NaN if one of them is not finite
};

/// The contributions that have come to output `slot` of the node at `position` in the last traced pass, the largest
/// norm first; equal ones, and those that are not finite, in the order in which they came.
std::vector<Contribution> contributions(const Tape& tape, const Graph& graph, std::size_t position,
                                        std::uint32_t slot = 0);

/// The 2-norm of the elements, in double precision; NaN or infinity if there is one among them.
double norm_of(const Tensor& x);

/// Which values that are not finite a tensor holds. Integers hold none.
struct NotFinite {
  bool nan = false, infinity = false;
  bool any() const { return nan || infinity; }
};
NotFinite not_finite(const Tensor& x);

/// Who made the first NaN or infinity of a traced forward pass and the backward pass after it, rather than who passed
/// it on.
struct NanReport {
  enum class Where : std::uint8_t { nowhere, forward, backward };
  Where where = Where::nowhere;
  std::size_t node = 0;               ///< the position of who made it
  std::optional<std::size_t> became;  ///< where its infinity became a NaN, if it made no NaN itself
  std::optional<std::size_t> branch;  ///< the `where` that did not select it, and still sends it a zero
  std::vector<std::string> lines;     ///< in words: who, from what, and what helps
};

/// In the forward pass: the first node in order of execution with a NaN among its outputs and none among its inputs;
/// if its inputs hold infinities, who made those (masks that hold them on purpose are passed over). Then, in the
/// backward pass: the first step that received finite gradients and returned others, or whose sums did. Looks at the
/// steps that have been taken in the last traced pass.
NanReport find_nan(const Labels& labels, const Graph& graph);

}  // namespace attune
