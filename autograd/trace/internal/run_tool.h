// Programs that draw for us, as Graphviz's.
#pragma once

#include <optional>
#include <string>
#include <vector>

namespace attune {

/// Runs a program found in PATH with `input` as its standard input and returns its standard output. Nothing if there is
/// no such program, if it fails, or if it takes longer than `seconds` (it is killed then).
std::optional<std::string> run_tool(const std::vector<std::string>& command, const std::string& input, double seconds);

}  // namespace attune
