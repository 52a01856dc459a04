// Node: one recorded operation, or a leaf where gradients collect.
//
// Every node gets the next sequence number, so falling numbers are a topological order and no search or recursion is
// needed. A node is owned by the tensors and nodes that need it: dropping a loss frees its history.
#pragma once

#include <limits>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "autograd/runtime/ref_count.h"
#include "autograd/tensor/tensor.h"

namespace attune {

struct Trace;

/// Where a gradient goes: output `slot` of `node`; a null node takes none.
struct Edge {
  Ref<Node> node;
  std::uint32_t slot = 0;
  /// Of an input of one element that needs no gradient: its value, rounded, for those who look at the tape; otherwise
  /// NaN. (It fits where there would be padding.)
  float constant = std::numeric_limits<float>::quiet_NaN();
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

/// What a node knows of one of its outputs.
struct OutputInfo {
  Shape shape;
  DType dtype = DType::float32;
};

class Node {
 public:
  const char* name() const { return name_; }
  /// The backward rule as a learner reads it.
  const char* rule() const { return rule_; }
  /// The same with the arguments that the rule depends on, "dx = dy permuted by [1, 0, 2]", while the node has its
  /// rules; then and otherwise rule(). Made when it is asked for.
  virtual std::string rule_text() const { return rule_; }
  /// The user's line.
  Here site() const { return site_; }
  std::uint64_t sequence() const { return sequence_; }
  bool is_leaf() const { return leaf_; }
  /// Whether a backward pass has dropped what it saved.
  bool freed() const { return freed_; }
  /// One an input, undefined inputs too.
  std::span<const Edge> edges() const { return {edges_, edge_count_}; }
  std::uint32_t output_count() const { return static_cast<std::uint32_t>(1 + more_outputs_.size()); }
  const OutputInfo& output(std::uint32_t slot) const { return slot == 0 ? output_ : more_outputs_[slot - 1]; }
  /// What a Tracing guard made it keep (tape/tracing.h); null without one.
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

}  // namespace attune
