// The source files of the program that runs, as far as they can be found.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "autograd/runtime/here.h"

namespace attune {

/// The lines of the file that a call site names, or null: it is not there, or ATTUNE_TRACE_SOURCE=0 says to leave
/// sources alone. A path that the compiler saw relative to its own folder is looked for from here, from the program's
/// folder and from those above it. The answer is kept.
const std::vector<std::string>* source_lines(const char* file);

/// Line number to text: the line and three around it.
std::map<int, std::string> lines_around(Here here);

/// The variables that a line of C++ declares or assigns to: {"a", "b"} of `Tensor a = x + 1, b = 2 * a;`.
std::vector<std::string> assigned_variables(const std::string& line);

}  // namespace attune
