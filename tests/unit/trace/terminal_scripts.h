// What tests of the terminal stepper share: programs, scripts of commands and their transcripts.
#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <sstream>
#include <string>

#include "autograd/trace/labels.h"
#include "autograd/trace/terminal.h"
#include "nn/nn.h"
#include "tests/unit/plain.h"

namespace attune::tests {

/// d = a b + b^3, g = d relu(d): shared inputs, one branch.
struct Small {
  Tensor a = name(leaf({-4}), "a"), b = name(leaf({2}), "b"), loss;
  Small() {
    const Tracing on;
    const Tensor d = name(a * b + pow(b, 3) + 1, "d");
    loss = name(sum(d * relu(d)), "g");
  }
};

/// The transcript of a script.
inline std::string stepped(const Tensor& loss, const std::string& script, StepOptions options = {}) {
  std::istringstream in(script);
  std::ostringstream out;
  options.in = &in;
  options.out = &out;
  if (options.width == 0) options.width = 80;
  options.backward.retain_graph = true;
  step_through(loss, options);
  return out.str();
}
inline std::string small(const std::string& script) { return stepped(Small().loss, script); }

/// Lines are broken to the width, so that white space is one space here.
inline std::string one_line(const std::string& text) {
  std::string line;
  for (char c : text) {
    if (c == '\n') c = ' ';
    if (c != ' ' || (!line.empty() && line.back() != ' ')) line += c;
  }
  return line;
}
inline bool holds(const std::string& text, const std::string& part) {
  return one_line(" " + text).find(one_line(part)) != std::string::npos;
}

#define CHECK_HOLDS(TEXT, PART)  \
  do {                           \
    const std::string t_ = TEXT; \
    INFO(t_);                    \
    CHECK(holds(t_, PART));      \
  } while (false)

inline std::size_t longest_line(const std::string& text) {
  std::istringstream lines(text);
  std::size_t most = 0;
  for (std::string line; std::getline(lines, line);) {
    std::size_t n = 0;
    for (char c : line) n += (c & 0xC0) != 0x80;
    most = std::max(most, n);
  }
  return most;
}

struct Mlp : nn::Module {
  nn::Linear& up = child<nn::Linear>("up", 2, 4);
  nn::Linear& down = child<nn::Linear>("down", 4, 2);
  Tensor operator()(const Tensor& x) { return down(gelu(up(x))); }
};
inline Tensor mlp_loss(Mlp& model) {
  const Tracing on;
  manual_seed(3);
  return cross_entropy(model(randn({5, 2})), tensor({0, 1, 1, 0, 1}, int64));
}

}  // namespace attune::tests
