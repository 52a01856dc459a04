// What a node keeps while a Tracing guard is alive, for those who look at how a result was made.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "autograd/tensor/tensor.h"

namespace attune {

/// One level of the call stack under which an operation was recorded, outermost first.
struct CallSite {
  std::string module;  ///< its path; "" outside of modules
  std::string name;    ///< the operation or the module's type
  Here here;
};

/// A gradient that came to an output of a node.
struct Arrival {
  std::uint64_t from = 0;   ///< the sequence number of the node that sent it; 0: the cotangent that the pass began with
  std::uint32_t input = 0;  ///< which input of that node
  std::uint32_t slot = 0;   ///< the output that it came to
  Tensor value;
  Tensor sum;  ///< with all that had come before
};

/// What a handle's grad() was before and after it received a pass's gradient; undefined: there was none.
struct GradientChange {
  std::uint32_t slot = 0;
  Tensor before, after;
};

/// What a backward pass did at a node. The tensors are off the tape.
struct BackwardStep {
  std::uint64_t pass = 0;         ///< which pass: they are numbered over the whole process, from 1; 0: none has come by
  std::uint64_t order = 0;        ///< the how manieth step of the pass it was, from 1; 0: its turn has not come
  std::vector<Arrival> arrivals;  ///< in the order in which they came
  Tensors received;               ///< the whole gradients, an output each
  Tensors returned;               ///< by the rules, an input each: where it was broadcast, not summed yet
  Tensors sent;                   ///< an input each; undefined if none was wanted
  std::vector<GradientChange> grads;  ///< of leaves, and of tensors that retain_grad()
};

struct Trace {
  using Replay = std::function<Tensors(const Tensors& inputs)>;

  std::vector<CallSite> stack;
  /// The values it ran on, off the tape, and what it made of them. Of a leaf, a copy of its value when it was used, as
  /// its users have it among their inputs: an optimiser changes it afterwards.
  Tensors inputs, outputs;
  std::uint32_t version = 0;  ///< of a leaf's value
  /// What its rules keep for the backward pass.
  Tensors saved;
  /// Runs the operation again, on inputs of either floating dtype; random operations draw the same numbers.
  Replay replay;
  /// For a fused operation: its plain composition; empty otherwise.
  Replay composed;
  /// Node::rule_text() when it was recorded.
  std::string rule;
  /// The arguments that are not tensors, as text.
  std::vector<std::string> arguments;
  /// The last backward pass under a Tracing guard.
  BackwardStep step;
};

/// Whether nodes of this thread keep a Trace.
bool tracing();
/// Lets every thread trace, or only those with a guard again: for those who watch a whole program.
void trace_everywhere(bool on) noexcept;

/// The handles that receive a node's gradients in a backward pass, with the outputs that they stand for: the tensor of
/// a leaf, tensors that retain_grad().
std::vector<std::pair<std::uint32_t, Tensor>> gradient_handles(const Node& node);

/// Names a result on the tape, or a leaf, for people; the last name counts. Throws ValueError for an undefined tensor.
void name_output(const Tensor& x, const std::string& as, Here here = Here::current());
/// The name that name_output() gave an output; of a leaf otherwise that of its tensor (a parameter's path); or "".
std::string name_of_output(const Node& node, std::uint32_t slot);

/// Runs backward passes in the place of Tensor::backward(): a stepper or a recorder of a whole program. Passes inside
/// of rules are not its concern. It must take the options as they are and let exceptions of a pass through.
class BackwardWatcher {
 public:
  virtual void backward(const Tensor& root, const BackwardOptions& options, Here here) = 0;

 protected:
  ~BackwardWatcher() = default;
};
extern std::atomic<BackwardWatcher*> backward_watcher;  // null: nobody
/// Tensor::backward() without the watcher.
void run_backward(const Tensor& root, const BackwardOptions& options, Here here);

}  // namespace attune
