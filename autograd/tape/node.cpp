#include "autograd/tape/node.h"

#include <atomic>

#include "autograd/runtime/error.h"
#include "autograd/runtime/memory.h"
#include "autograd/tape/internal/node_access.h"
#include "autograd/tape/internal/thread_state.h"

namespace attune {

static_assert(sizeof(Edge) == 2 * sizeof(void*), "what a viewer is told of a constant costs a node nothing");

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

Ref<Node> NodeAccess::successor(TensorImpl& t, const OutputInfo& info, Here here) {
  Node& old = *t.node;
  Ref<Node> fresh = Ref<Node>::adopt(new LeafNode(old.site()));
  fresh->output_ = info;
  own_gradient(*fresh, &t);
  Node::Extras &before = extras(old), &after = extras(*fresh);
  const std::string was = "a leaf " + info.shape.str() + " " + name_of(old.output_.dtype);
  std::vector<Node::Extras::Hook> refusing{
      {0, 0, [was, here](const Tensor&) -> Tensor {
         throw GradError("backward: " + was + " was converted to another dtype since this was recorded" +
                         (here.line ? "\n  converted at " + here.str() : ""));
       }}};
  after.hooks = std::exchange(before.hooks, std::move(refusing));
  after.next_hook = before.next_hook;
  forget_owner(old, &t);
  return fresh;
}

void NodeAccess::forget_owner(Node& n, const TensorImpl* t) noexcept {
  std::erase_if(n.extras_->owners, [t](const Node::Extras::Owner& o) { return o.tensor == t; });
}

void NodeAccess::add_output(Node& n, std::uint32_t slot, const Tensor& y) {
  if (slot == 0)
    n.output_ = {y.shape(), y.dtype()};
  else
    n.more_outputs_.push_back({y.shape(), y.dtype()});
}

}  // namespace attune
