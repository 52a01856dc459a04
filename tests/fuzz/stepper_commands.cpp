// Command lines of the terminal stepper, as they come and put together from its own words. A run is one pass; the
// environment variable ATTUNE_FUZZ_LINES names a file to which the count of lines is added at the end.
#include <cstdio>
#include <cstdlib>
#include <sstream>
#include <string>

#include "autograd/autograd.h"
#include "autograd/trace/labels.h"
#include "autograd/trace/terminal.h"
#include "tests/fuzz/target.h"

namespace attune::fuzz {
namespace {

std::uint64_t lines = 0;

void write_count() {
  if (const char* path = std::getenv("ATTUNE_FUZZ_LINES"))
    if (std::FILE* file = std::fopen(path, "a")) {
      std::fprintf(file, "%llu\n", static_cast<unsigned long long>(lines));
      std::fclose(file);
    }
}

const char* const words[] = {"next",     "back",    "step",      "finish",
                             "continue", "until",   "goto",      "pass",
                             "break",    "delete",  "watch",     "print",
                             "heat",     "formula", "why",       "check",
                             "list",     "tree",    "path",      "info",
                             "where",    "set",     "replay",    "undo",
                             "page",     "save",    "help",      "n",
                             "b",        "s",       "c",         "value",
                             "grad",     "input",   "saved",     "nan",
                             "inf",      "all",     "fanout",    "op=linear",
                             "norm>1",   "norm<0",  "module=m",  "x.cpp:12",
                             "w",        "x",       "y",         "loss",
                             "%0",       "%3",      "%7.1",      "%99",
                             "-1",       "0",       "1",         "2",
                             "3",        "40",      "=",         "[0, 1]",
                             "[...]",    "[::-1]",  "[1:2, 0]",  "w[0]",
                             "w[0,1]",   "x.grad",  "1e400",     "-inf",
                             "x",        "[",       "op=",       ":",
                             "heat",     "input a", "set w = 2", "set x[0] = 3",
                             "nxet",     "%",       ".",         "9999999999999999999"};

/// Lines of words, with a byte in between now and then.
std::string composed(Choices& c) {
  std::string text;
  for (int left = 24; left > 0 && !c.empty(); --left) {
    for (int n = 1 + c.below(4); n > 0; --n) {
      text += words[c.byte() % (sizeof words / sizeof *words)];
      if (c.below(16) == 0) text += static_cast<char>(c.byte());
      text += ' ';
    }
    text += '\n';
  }
  return text;
}

Tensor program() {
  const Tracing on;
  const Tensor w = name(tensor({{1, -2}, {0.5, 0}}).requires_grad_(), "w");
  const Tensor x = name(tensor({{1, 2}, {3, 4}}).requires_grad_(), "x");
  Tensor y = linear(x, w, Tensor(), Activation::relu);
  Tensor total = sum(where(gt(x, 2), sqrt(x - 1), 0));
  for (const Tensor& part : unbind(y, 0)) total = total + sum(softmax(part, -1) * part);
  return total;
}

}  // namespace

void run(Bytes bytes) {
  static const bool counted = std::atexit(write_count) == 0;
  if (!counted) std::abort();
  Choices c(bytes);
  const std::string text = c.below(4) == 0 ? c.rest() : composed(c);
  for (char each : text) lines += each == '\n';
  std::istringstream in(text);
  std::ostringstream out;
  tried([&] { step_through(program(), {.in = &in, .out = &out, .width = 20 + c.below(100)}); });
}

}  // namespace attune::fuzz
