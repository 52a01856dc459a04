// Other programs as functions from text to text.
#pragma once

#include <chrono>
#include <string>

namespace examples {

/// What `program` (looked up in PATH, run without a shell and without arguments) writes when it is given `input`.
/// Throws std::runtime_error if it cannot be run, ends with another code than 0 (with the last line that it wrote on
/// stderr), or has not ended within `limit`; it is then killed.
/// The caller must ignore SIGPIPE.
std::string filter(const std::string& program, const std::string& input, std::chrono::seconds limit);

}  // namespace examples
