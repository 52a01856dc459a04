// What a long-running program says on standard output, of which nobody need be listening.
#pragma once

#include <fmt/format.h>

#include <string_view>
#include <utility>

namespace examples {

/// At the start of main(): standard streams that are closed are opened on /dev/null, since a file that took their
/// number would get what is printed; a reader that goes away no longer ends the program.
void prepare_output();

void print_text(std::string_view text);
/// On standard output. A full disk or a closed pipe does not end the work; finish_output() tells of it.
template <class... Args>
void print(fmt::format_string<Args...> format, Args&&... args) {
  print_text(fmt::format(format, std::forward<Args>(args)...));
}
void flush();

/// At the end of main(): `code`, or 1 with a line on stderr if something printed was lost.
int finish_output(const char* program, int code);

}  // namespace examples
