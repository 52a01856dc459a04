#include "nn/training/output.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>

namespace attune::nn {

namespace {

int first_error = 0;

void note_error() {
  if (first_error == 0) first_error = errno;
  std::clearerr(stdout);
}

}  // namespace

void prepare_output() {
  std::signal(SIGPIPE, SIG_IGN);
  std::signal(SIGXFSZ, SIG_IGN);  // a file beyond `ulimit -f` is then an error as on a full disk
  for (int number : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO})
    if (::fcntl(number, F_GETFD) < 0)
      static_cast<void>(::open("/dev/null", O_RDWR));  // the lowest free number is this one
}

void print_text(std::string_view text) {
  if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size()) note_error();
}

void flush_output() {
  if (std::fflush(stdout) != 0) note_error();
}

int finish_output(const char* program, int code) {
  flush_output();
  if (first_error == 0) return code;
  std::fprintf(stderr, "%s: standard output could not be written: %s\n", program, std::strerror(first_error));
  return code == 0 ? 1 : code;
}

}  // namespace attune::nn
