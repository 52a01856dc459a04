// The tape: nodes in order of execution, and the reverse sweep over them.
//
// Every recorded operation gets the next sequence number, so falling numbers are a topological order and no search or
// recursion is needed. A node is owned by the tensors and nodes that need it: dropping a loss frees its history.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "autograd/runtime/error.h"
#include "autograd/runtime/ref_count.h"
#include "autograd/tensor/tensor.h"

namespace attune {

/// Where a gradient goes: output `slot` of `node`; a null node takes none.
struct Edge {
  Ref<Node> node;
  std::uint32_t slot = 0;
};

/// Which inputs want a gradient: needs[i].
class Needs {
 public:
  explicit Needs(std::span<const Edge> edges) : edges_(edges) {}
  bool operator[](std::size_t i) const { return static_cast<bool>(edges_[i].node); }
  std::size_t size() const { return edges_.size(); }

 private:
  std::span<const Edge> edges_;
};

struct OutputInfo {
  Shape shape;
  DType dtype = DType::float32;
};

/// One level of the call stack under which an operation was recorded, outermost first.
struct CallSite {
  std::string module;  ///< "" outside of modules
  std::string name;    ///< the operation or the module's type
  Here here;
};

/// What a node keeps while a Tracing guard is alive.
struct Trace {
  using Replay = std::function<Tensors(const Tensors& inputs)>;
  std::vector<CallSite> stack;
  Tensors inputs;   ///< the values it ran on, off the tape
  Tensors outputs;  ///< and what it made of them
  Replay replay;    ///< runs the operation again, on inputs of either floating dtype; random operations draw the same
                    ///< numbers
  Replay composed;  ///< for a fused operation: its plain composition; empty otherwise
  std::vector<std::string> arguments;  ///< the arguments that are not tensors, as text
};

/// One recorded operation, or a leaf.
class Node {
 public:
  const char* name() const { return name_; }
  const char* rule() const { return rule_; }  ///< the backward rule as a learner reads it
  Here site() const { return site_; }         ///< the user's line
  std::uint64_t sequence() const { return sequence_; }
  bool is_leaf() const { return leaf_; }
  bool freed() const { return freed_; }
  std::span<const Edge> edges() const { return {edges_, edge_count_}; }  ///< one an input, undefined inputs too
  std::uint32_t output_count() const { return static_cast<std::uint32_t>(1 + more_outputs_.size()); }
  const OutputInfo& output(std::uint32_t slot) const { return slot == 0 ? output_ : more_outputs_[slot - 1]; }
  const Trace* trace() const;

  /// Gradients of the inputs from the gradients of the outputs (each defined). `dxs` has one place an input; places
  /// without a node stay empty.
  virtual void run(const Tensors& dys, std::span<Tensor> dxs) = 0;
  /// Drops the rules and with them the tensors they saved.
  virtual void free_saved() noexcept = 0;

  static void* operator new(std::size_t bytes);
  static void operator delete(void* p, std::size_t bytes) noexcept;
  Node(const Node&) = delete;
  Node& operator=(const Node&) = delete;

 protected:
  Node(const char* name, const char* rule, Here site, bool leaf);
  virtual ~Node();

  Edge* edges_ = nullptr;
  std::uint32_t edge_count_ = 0;
  bool leaf_ = false;
  bool freed_ = false;

 private:
  friend void retain(Node* n) noexcept;
  friend void release(Node* n) noexcept;
  friend class Sweep;
  friend class Tensor;
  friend struct NodeAccess;
  struct Extras;

  RefCount refs_;
  const char* name_;
  const char* rule_;
  Here site_;
  std::uint64_t sequence_;
  Node* next_dead_ = nullptr;
  OutputInfo output_;
  std::vector<OutputInfo> more_outputs_;
  std::unique_ptr<Extras> extras_;
};

// ---- modes, each for the calling thread until the guard goes

bool grad_enabled();

class GradMode {
 public:
  explicit GradMode(bool on) noexcept;
  ~GradMode();
  GradMode(const GradMode&) = delete;
  GradMode& operator=(const GradMode&) = delete;

 private:
  bool before_;
};
/// Operations are plain arithmetic: nothing is recorded.
struct NoGrad : GradMode {
  NoGrad() noexcept : GradMode(false) {}
};
struct EnableGrad : GradMode {
  EnableGrad() noexcept : GradMode(true) {}
};

/// Every floating result, forward and backward, is searched for NaN and infinity; the first one throws AnomalyError
/// with the operation's name and call site.
class DetectAnomaly {
 public:
  DetectAnomaly() noexcept;
  ~DetectAnomaly();
  DetectAnomaly(const DetectAnomaly&) = delete;
  DetectAnomaly& operator=(const DetectAnomaly&) = delete;

 private:
  bool before_;
};

/// Nodes recorded under this guard keep a Trace.
class Tracing {
 public:
  Tracing() noexcept;
  ~Tracing();
  Tracing(const Tracing&) = delete;
  Tracing& operator=(const Tracing&) = delete;

 private:
  bool before_;
};

// ---- the reverse sweep

struct BackwardOptions {
  Tensor gradient{};          ///< the root's cotangent; default: one, for a root of one element
  bool retain_graph = false;  ///< keep saved tensors for another sweep
  bool create_graph = false;  ///< record the sweep itself, for higher derivatives; keeps the graph too
  bool keep_history = false;  ///< never accumulate in place, so that handles from Sweep::pending() keep their values
};

/// A reverse sweep that can be run one node at a time. Leaves receive their gradient in their turn: step() returns
/// after each node or leaf.
class Sweep {
 public:
  explicit Sweep(const Tensor& root, const BackwardOptions& options = {}, Here here = Here::current());
  ~Sweep();
  Sweep(const Sweep&) = delete;
  Sweep& operator=(const Sweep&) = delete;

  /// The node that step() will run: the highest sequence number among those a gradient has reached. Null at the end.
  const Node* next() const;
  /// The gradient collected so far for output `slot` of a pending node; undefined where there is none.
  Tensor pending(const Node* node, std::uint32_t slot = 0) const;
  /// Runs next(). Returns false, and does nothing, at the end.
  bool step();
  /// The gradients that the last step received, an output each (zeros where nothing had come), and sent, an input each
  /// (undefined where none was wanted). The lists are replaced by the next step; copied handles keep their values.
  const Tensors& received() const;
  const Tensors& sent() const;

 private:
  friend Tensors grad(const Tensors&, const Tensors&, const struct GradOptions&, Here);
  friend class Tensor;
  struct State;
  explicit Sweep(std::unique_ptr<State> state);
  Sweep(const Tensor& root, const BackwardOptions& options, Here here, bool watched);
  static void run(const Tensor& root, const BackwardOptions& options, Here here);  ///< to the end, unwatched
  std::unique_ptr<State> state_;
};

struct GradOptions {
  Tensors cotangents{};  ///< one an output; default: ones, for outputs of one element
  bool retain_graph = false;
  bool create_graph = false;  ///< keeps the graph too
  bool allow_unused = false;  ///< an input that no output depends on gives an undefined tensor instead of GradError
  /// Take the inputs as independent of each other: nothing flows through one of them into another.
  bool independent = false;
};

/// The gradients of `outputs` with respect to `inputs` (leaves or recorded tensors) without touching any grad(). Only
/// nodes between the two run.
Tensors grad(const Tensors& outputs, const Tensors& inputs, const GradOptions& options = {},
             Here here = Here::current());

// ---- looking at it

/// The nodes that a tensor depends on, in order of execution. A value: it keeps the nodes, not their saved tensors'
/// freedom to go.
class Tape {
 public:
  static Tape of(const Tensor& root);
  std::size_t size() const { return nodes_.size(); }
  const Node& operator[](std::size_t i) const { return *nodes_[i]; }
  /// The position of a node, or size() where it is not on this tape.
  std::size_t index_of(const Node* node) const;
  /// A line a node: sequence number, name, shape, inputs, rule, call site.
  std::string str() const;

 private:
  std::vector<Ref<Node>> nodes_;
};

/// f(inputs), keeping nothing inside for the backward pass, which runs f again with the same random numbers (Chen et
/// al. 2016). `inputs` must hold every tensor that f uses and that needs a gradient, parameters too: one that is
/// missing throws GradError in backward.
Tensors checkpoint(std::function<Tensors(const Tensors& inputs)> f, const Tensors& inputs, Here here = Here::current());

}  // namespace attune
