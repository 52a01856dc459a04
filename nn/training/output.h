// What a long-running program says on standard output, of which nobody need be listening.
#pragma once

#include <string>
#include <string_view>

namespace attune::nn {

/// At the start of main(): standard streams that are closed are opened on /dev/null, since a file that took their
/// number would get what is printed; a reader that goes away, or a limit
/// on the sizes of files, no longer ends the program.
void prepare_output();

/// On standard output. A full disk or a closed pipe does not end the work; finish_output() tells of it.
void print_text(std::string_view text);
void flush_output();

/// At the end of main(): `code`, or 1 with a line on stderr if something printed was lost.
int finish_output(const char* program, int code);

}  // namespace attune::nn
