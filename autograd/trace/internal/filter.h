// Other programs as functions from text to text.
#pragma once

#include <chrono>
#include <stdexcept>
#include <string>
#include <vector>

namespace attune::detail {

/// Why a program gave nothing; the message names it.
struct FilterError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// What a program writes when it is given `input`: command[0] is looked up in PATH and run without a shell, the others
/// are its arguments. Throws FilterError if it cannot be run, ends with another code than 0 (with the last line that it
/// wrote on stderr), or has not ended within `limit`; it is then killed.
std::string filter(const std::vector<std::string>& command, const std::string& input, std::chrono::seconds limit);

}  // namespace attune::detail
