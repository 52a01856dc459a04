// The names of operations' parameters, so that a viewer can print softmax(x, axis = -1) from a node's name and
// Trace::arguments. The build reads them from the public headers (make_parameters.py).
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace attune {

struct OperationParameters {
  std::vector<std::string> tensors;    ///< of the node's inputs, in order; those of a list are "xs[0]", "xs[1]", ...
  std::vector<std::string> arguments;  ///< of Trace::arguments, in order
  std::vector<std::string> defaults;   ///< an argument each, as it is written in the header; "" without one
};

inline constexpr std::size_t any_number = ~std::size_t{0};  ///< of arguments: they are not known

/// For a node of that name, with so many inputs and other arguments; null if the name is no public operation's, or if
/// none of its overloads has as many. What it points to stays. Any thread may ask.
const OperationParameters* parameters_of(std::string_view operation, std::size_t tensor_count,
                                         std::size_t argument_count);

namespace detail {

struct Parameter {
  enum class Kind : unsigned char { tensor, list, argument };
  Kind kind;
  const char *name, *default_text;
};

struct Signature {
  const char* operation;
  std::vector<Parameter> parameters;
};

/// Generated: every operation's, sorted by name.
const std::vector<Signature>& signatures();

}  // namespace detail

}  // namespace attune
