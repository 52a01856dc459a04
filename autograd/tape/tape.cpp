#include "autograd/tape/tape.h"

#include <algorithm>
#include <cmath>
#include <unordered_set>

#include "autograd/runtime/frame.h"
#include "autograd/runtime/memory.h"
#include "autograd/tape/internal/node_access.h"
#include "autograd/tape/internal/thread_state.h"

namespace attune {

thread_local constinit ThreadState thread_state;

// ---- modes

bool grad_enabled() { return thread_state.grad_enabled; }
GradMode::GradMode(bool on) noexcept : before_(std::exchange(thread_state.grad_enabled, on)) {}
GradMode::~GradMode() { thread_state.grad_enabled = before_; }
DetectAnomaly::DetectAnomaly() noexcept : before_(std::exchange(thread_state.anomaly, true)) {}
DetectAnomaly::~DetectAnomaly() { thread_state.anomaly = before_; }
Tracing::Tracing() noexcept : before_(std::exchange(thread_state.tracing, true)) {}
Tracing::~Tracing() { thread_state.tracing = before_; }

// ---- nodes

namespace {

std::atomic<std::uint64_t> sequence_counter{1};

class LeafNode final : public Node {
 public:
  explicit LeafNode(Here here) : Node("leaf", "", here, true) {}
  void run(const Tensors&, std::span<Tensor>) override {}
  void free_saved() noexcept override {}
};

}  // namespace

void* Node::operator new(std::size_t bytes) { return pool::allocate(bytes); }
void Node::operator delete(void* p, std::size_t bytes) noexcept { pool::deallocate(p, bytes); }

Node::Node(const char* name, const char* rule, Here site, bool leaf)
    : leaf_(leaf),
      name_(name),
      rule_(rule),
      site_(site),
      sequence_(sequence_counter.fetch_add(1, std::memory_order_relaxed)) {}
Node::~Node() = default;

const Trace* Node::trace() const { return extras_ ? extras_->trace.get() : nullptr; }

void retain(Node* n) noexcept { n->refs_.retain(); }

// A node's destructor drops its inputs' nodes. They queue up here instead of recursing, however long the chain is.
void release(Node* n) noexcept {
  if (!n->refs_.release()) return;
  ThreadState& state = thread_state;
  n->next_dead_ = state.dead;
  state.dead = n;
  if (state.burying) return;
  state.burying = true;
  while (Node* dead = state.dead) {
    state.dead = dead->next_dead_;
    delete dead;
  }
  state.burying = false;
}

std::uint64_t NodeAccess::next_sequence() { return sequence_counter.load(std::memory_order_relaxed); }

void NodeAccess::make_leaf(TensorImpl& t, Here here) {
  t.node = Ref<Node>::adopt(new LeafNode(here));
  t.slot = 0;
  t.node->output_ = {t.shape, t.dtype};
  own_gradient(*t.node, &t);
  t.owns_grad_slot = true;
}

void NodeAccess::forget_owner(Node& n, const TensorImpl* t) noexcept {
  std::erase_if(n.extras_->owners, [t](const Node::Extras::Owner& o) { return o.tensor == t; });
}

int NodeAccess::add_hook(Node& n, std::uint32_t slot, std::function<Tensor(const Tensor&)> call) {
  Node::Extras& e = extras(n);
  e.hooks.push_back({e.next_hook, slot, std::move(call)});
  return e.next_hook++;
}

void NodeAccess::remove_hook(Node& n, int id) {
  if (n.extras_) std::erase_if(n.extras_->hooks, [id](const Node::Extras::Hook& h) { return h.id == id; });
}

void NodeAccess::add_output(Node& n, std::uint32_t slot, const Tensor& y) {
  if (slot == 0)
    n.output_ = {y.shape(), y.dtype()};
  else
    n.more_outputs_.push_back({y.shape(), y.dtype()});
}

// ---- Tape

Tape Tape::of(const Tensor& root) {
  Tape tape;
  if (!root.node()) return tape;
  std::unordered_set<const Node*> seen;
  std::vector<Node*> open{root.node()};
  seen.insert(root.node());
  while (!open.empty()) {
    Node* n = open.back();
    open.pop_back();
    tape.nodes_.emplace_back(n);
    for (const Edge& e : n->edges())
      if (e.node && seen.insert(e.node.get()).second) open.push_back(e.node.get());
  }
  std::sort(tape.nodes_.begin(), tape.nodes_.end(),
            [](const Ref<Node>& a, const Ref<Node>& b) { return a->sequence() < b->sequence(); });
  return tape;
}

std::size_t Tape::index_of(const Node* node) const {
  if (!node) return nodes_.size();
  const auto at = std::lower_bound(nodes_.begin(), nodes_.end(), node->sequence(),
                                   [](const Ref<Node>& n, std::uint64_t s) { return n->sequence() < s; });
  return at != nodes_.end() && at->get() == node ? static_cast<std::size_t>(at - nodes_.begin()) : nodes_.size();
}

std::string Tape::str() const {
  std::string s;
  for (std::size_t i = 0; i < nodes_.size(); ++i) {
    const Node& n = *nodes_[i];
    s += "%" + std::to_string(i) + " = " + n.name() + "(";
    bool first = true;
    for (const Edge& e : n.edges()) {
      s += first ? "" : ", ";
      first = false;
      s += e.node ? "%" + std::to_string(index_of(e.node.get())) : "-";
      if (e.slot != 0) s += "." + std::to_string(e.slot);
    }
    s += ") ";
    for (std::uint32_t o = 0; o < n.output_count(); ++o) s += (o ? " " : "") + n.output(o).shape.str();
    if (*n.rule()) s += std::string("  ") + n.rule();
    if (n.site().line) s += "  at " + n.site().str();
    s += "\n";
  }
  return s;
}

}  // namespace attune
