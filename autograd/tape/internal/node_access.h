// What the tape's own files do with a node and others may not.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "autograd/tape/node.h"
#include "autograd/tape/tracing.h"
#include "autograd/tensor/internal/tensor_impl.h"

namespace attune {

/// What few nodes have: hooks, handles that want the gradient of an output, a trace, a way to make the output again.
struct Node::Extras {
  struct Hook {
    int id;
    std::uint32_t slot;
    std::function<Tensor(const Tensor&)> call;
  };
  struct Owner {
    std::uint32_t slot;
    TensorImpl* tensor;  // not counted: a tensor tells its node when it goes
  };
  int next_hook = 0;
  std::vector<Hook> hooks;
  std::vector<Owner> owners;
  std::unique_ptr<Trace> trace;
  std::vector<std::pair<std::uint32_t, std::string>> names;  // of outputs
  std::function<Tensor()> remake;                            // of this output, as it was at this version
  std::uint32_t remade_slot = 0, remade_version = 0;
};

struct NodeAccess {
  /// That of the next node; all that exist have lower ones.
  static std::uint64_t next_sequence();
  static bool has_extras(const Node& n) { return static_cast<bool>(n.extras_); }
  static Node::Extras& extras(Node& n) {
    if (!n.extras_) n.extras_ = std::make_unique<Node::Extras>();
    return *n.extras_;
  }
  /// What makes y again; empty if nothing does, or if y was changed in place since.
  static std::function<Tensor()> remake(const Tensor& y) {
    const Node::Extras* e = y.node()->extras_.get();
    const bool made = e && e->remake && e->remade_slot == y.slot() && e->remade_version == y.version();
    return made ? e->remake : nullptr;
  }
  /// Frees what a node saved for its own rules and for those that would make its output again, and its hooks, which
  /// cannot be called again and may hold tensors that depend on it.
  static void free_saved(Node& n) noexcept {
    n.free_saved();
    if (!n.extras_) return;
    n.extras_->remake = nullptr;
    n.extras_->hooks.clear();
  }
  static void make_leaf(TensorImpl& t, Here here);
  /// A new node, with the old one's hooks, for t, a leaf that becomes `info`. The old one, to which graphs still lead,
  /// refuses gradients from now on: they no longer fit.
  static Ref<Node> successor(TensorImpl& t, const OutputInfo& info, Here here);
  static void own_gradient(Node& n, TensorImpl* t) { extras(n).owners.push_back({t->slot, t}); }
  static void forget_owner(Node& n, const TensorImpl* t) noexcept;
  static void add_output(Node& n, std::uint32_t slot, const Tensor& y);
  static std::span<Edge> edges(Node& n) { return {n.edges_, n.edge_count_}; }
  /// The node's trace, a new one if there was none.
  static Trace& trace(Node& n) {
    std::unique_ptr<Trace>& t = extras(n).trace;
    if (!t) t = std::make_unique<Trace>();
    return *t;
  }
  static void set_trace(Node& n, Trace t) { extras(n).trace = std::make_unique<Trace>(std::move(t)); }
};

}  // namespace attune
