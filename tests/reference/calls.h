// PyTorch's calls, as reference cases record them, in terms of Attune's operations.
#pragma once

#include <nlohmann/json.hpp>
#include <set>
#include <string>

#include "autograd/autograd.h"

namespace attune::tests {

/// One argument of a case: a tensor, a list, a slice, an ellipsis or a plain value.
struct Argument {
  Tensor tensor{};
  std::vector<Argument> items{};
  bool is_list = false, is_tuple = false, is_slice = false, is_ellipsis = false;
  nlohmann::json value{};

  bool is_tensor() const { return tensor.defined(); }
  bool is_null() const { return !is_tensor() && !is_list && !is_slice && !is_ellipsis && value.is_null(); }
  std::int64_t integer() const;
  double number() const;
  /// A number as a scalar of this dtype.
  Tensor as_tensor(DType dtype) const;
  /// A list of integers; one integer is a list of itself.
  std::vector<std::int64_t> integers() const;
};

/// The arguments of one call. Each must be read, by position or by name.
class Arguments {
 public:
  Arguments(std::vector<Argument> positional, std::map<std::string, Argument> named)
      : positional_(std::move(positional)), named_(std::move(named)) {}

  bool has(std::size_t i, const std::string& name);
  /// The argument at position i (or without one, if i is `named_only`) or of this name. Throws if it is missing.
  const Argument& at(std::size_t i, const std::string& name = {});

  const Tensor& tensor(std::size_t i, const std::string& name = {}) { return at(i, name).tensor; }
  /// Undefined if it is missing or null.
  Tensor optional_tensor(std::size_t i, const std::string& name);
  std::int64_t integer(std::size_t i, const std::string& name, std::int64_t otherwise);
  int axis(std::size_t i, const std::string& name, int otherwise);
  double number(std::size_t i, const std::string& name, double otherwise);
  bool flag(std::size_t i, const std::string& name, bool otherwise);
  std::string text(std::size_t i, const std::string& name, const std::string& otherwise);
  /// Integers; none if it is missing or null.
  std::vector<std::int64_t> integers(std::size_t i, const std::string& name);
  /// All from position i on, whether as one list or one by one, or of this name.
  std::vector<std::int64_t> rest(std::size_t i, const std::string& name);
  std::size_t size() const { return positional_.size(); }
  /// Throws if an argument was not read.
  void check_all_read() const;

 private:
  std::map<std::string, Argument>::const_iterator find(const std::string& name) const;

  std::vector<Argument> positional_;
  std::map<std::string, Argument> named_;
  std::set<std::string> read_;
};

inline constexpr std::size_t named_only = 1000;

using ReferenceCall = Tensors (*)(Arguments&);
/// PyTorch's name of an operation to its call.
const std::map<std::string, ReferenceCall>& reference_calls();

}  // namespace attune::tests
