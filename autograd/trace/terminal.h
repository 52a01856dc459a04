// The terminal stepper: a backward pass node by node, forwards and back, by commands like a debugger's.
#pragma once

#include <functional>
#include <iosfwd>
#include <memory>
#include <string>

#include "autograd/tape/sweep.h"
#include "autograd/trace/stepper.h"

namespace attune {

/// How a pass is stepped through: by whose commands, and where the answers go.
struct StepOptions {
  /// Of the pass: cotangent, retain_graph, create_graph.
  BackwardOptions backward{};
  /// A file of commands, a line each; "" : they come from `in`.
  std::string commands{};
  /// Where commands come from and answers go; null: standard input and output, with line editing, history and
  /// completion if that is a terminal.
  std::istream* in = nullptr;
  std::ostream* out = nullptr;
  /// Columns; 0: COLUMNS, what the terminal says, or 80.
  int width = 0;
  /// What the commands `page` and `save` do: write the pass so far to a file (path "": one of their choosing) and
  /// return the line to answer. Empty: the commands say that nobody writes here.
  using Write = std::function<std::string(const Tensor& root, const Stepper& pass, const std::string& path)>;
  Write page{}, save{};
};

/// Steps through the backward passes of a program, one after the other: breakpoints and history stay from pass to pass.
/// After `quit`, and when the commands have ended, passes run through without a stop.
class StepTerminal {
 public:
  /// Throws FileError if there are commands and their file cannot be read.
  explicit StepTerminal(StepOptions options = {}, Here here = Here::current());
  ~StepTerminal();
  StepTerminal(const StepTerminal&) = delete;
  StepTerminal& operator=(const StepTerminal&) = delete;

  /// root.backward(options), under the stepper; returns when the pass is over. Passes of several threads take turns.
  /// Throws what the pass throws; every gradient is then as before.
  void backward(const Tensor& root, const BackwardOptions& options, Here here = Here::current());
  /// Whether there will be no further stop.
  bool done() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// A backward pass under the stepper, in the place of loss.backward():
///
///     step_through(loss);
///
/// Values of the forward pass are known, and can be replayed, if it ran under a Tracing guard (or the program under
/// ATTUNE_STEP=1). Without options that say otherwise, all calls share one terminal: `quit` ends the stops of all.
/// Throws as Tensor::backward does, and FileError for a file of commands that cannot be read.
void step_through(const Tensor& root, const StepOptions& options = {}, Here here = Here::current());

}  // namespace attune
