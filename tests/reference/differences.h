// How results are compared with PyTorch's, and the differences that are kept on purpose.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "autograd/autograd.h"

namespace attune::tests {

/// What one evaluation of a case gave, beside the name of PyTorch's tensor (null: not reached).
struct Result {
  std::string what;
  Tensor got;
  nlohmann::json expected;
};

/// How two tensors differ, with the first element that differs most.
struct Differing {
  double worst = 0;
  std::size_t at = 0;
  double got = 0, expected = 0;

  /// `what` with this element, for a message.
  std::string in(const std::string& what) const;
};

/// The largest difference relative to the largest finite element, or to `scale`. NaN and infinities must agree.
Differing difference(const std::vector<double>& got, const std::vector<double>& expected, double scale);
Differing difference(const Tensor& got, const Tensor& expected, double scale);

/// One tensor of a case that does not agree.
struct Question {
  const nlohmann::json& call;                    ///< the case
  const std::vector<Result>& results;            ///< all that it gave
  const std::map<std::string, Tensor>& tensors;  ///< PyTorch's, by name
  std::size_t which;                             ///< the result in question
  double scale;

  const Result& result() const { return results[which]; }
  bool is_output() const { return result().what.starts_with("output"); }
  bool is_first_gradient() const { return result().what.starts_with("gradient"); }
  bool is_second_gradient() const { return result().what.starts_with("second"); }
  /// PyTorch's numbers for result i.
  std::vector<double> expected(std::size_t i) const;
};

/// The difference that is left once the operation's kept differences are taken out.
Differing beyond_kept_differences(const std::string& op, const Question& q);

/// The kept differences that no question has needed so far: "op: reason".
std::vector<std::string> unused_differences();

}  // namespace attune::tests
