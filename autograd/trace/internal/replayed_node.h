// A node's forward pass as a function of numbers, for finite differences.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "autograd/tape/node.h"
#include "autograd/tape/tracing.h"

namespace attune::differences {

using Values = std::vector<double>;

/// How closely a dtype lets one look.
struct Precision {
  DType dtype;
  double epsilon, tolerance;
  Values steps;         // relative to the size of what is moved, the best first
  double coarse, fine;  // between which a smooth function's one-sided differences come together
};
/// A node's forward pass as a function of numbers, and what its rule says of it.
class Replayed {
 public:
  Replayed(const Node& node, const Precision& p, std::uint64_t seed);

  const Shape& shape(std::size_t which) const { return inputs_[moving[which]].shape(); }

  /// The change of <f, cotangents> between two places, and how much of it may be rounding.
  struct Change {
    double value, noise;
  };
  Change between(const std::vector<Values>& a, const std::vector<Values>& b) const;

  /// f where input `which` is moved by h along `direction`, given by (element, length).
  using Direction = std::vector<std::pair<std::size_t, double>>;
  std::vector<Values> moved(std::size_t which, const Direction& direction, double h);
  const std::vector<Values>& here() const { return here_; }
  /// The cotangent of the one element that differs; 1 if several do.
  double sole_cotangent(const std::vector<Values>& a, const std::vector<Values>& b) const;
  /// What rounding alone may leave of a gradient that is zero, for inputs of a size.
  double rounding(double size) const;

 private:
  const Trace& trace_;
  Tensors inputs_;
  std::vector<Values> cotangents_;  // an output each; empty: takes no gradient
  std::vector<Values> here_;

 public:
  const Precision& precision;
  bool recorded = false;
  std::vector<std::size_t> moving;     // the inputs that take a gradient
  std::vector<Values> values, slopes;  // of these

 private:
  std::vector<Values> run() const;
};

}  // namespace attune::differences
