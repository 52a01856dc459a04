// The reverse sweep: runs the nodes that a gradient has reached in falling order of their sequence numbers.

#include <algorithm>
#include <cmath>
#include <optional>

#include "autograd/runtime/frame.h"
#include "autograd/runtime/memory.h"
#include "autograd/tape/internal/gradient_memory.h"
#include "autograd/tape/internal/node_access.h"
#include "autograd/tape/internal/node_table.h"
#include "autograd/tape/internal/thread_state.h"

namespace attune {

namespace {

/// A gradient on its way, and whether the sweep made the buffer itself, so that it may add to it in place.
struct Collected {
  Tensor value;
  bool owned = false;
};

struct Pending {
  Ref<Node> node;
  Collected first;
  std::vector<Collected> more;  // outputs 1, 2, ...
  Collected& at(std::uint32_t slot) {
    if (slot == 0) return first;
    if (more.size() < slot) more.resize(slot);
    return more[slot - 1];
  }
};

bool uniquely_held(const Tensor& t) { return t.impl()->refs.unique() && t.impl()->storage->refs.unique(); }

}  // namespace

struct Sweep::State {
  bool retain = false;
  bool create = false;
  bool in_place = true;
  bool watched = false;  // by somebody who steps: received and sent are kept until the next step
  Here here;
  pool::Vector<Pending> pending;
  pool::Vector<std::uint32_t> free;
  NodeTable table;
  pool::Vector<std::pair<std::uint64_t, std::uint32_t>> heap;
  Tensors received, sent;

  // For grad(): what to capture and which nodes lie on a way to it. Leaves' grad() stay untouched then.
  struct Capture {
    const Node* node;
    std::uint32_t slot;
    std::size_t result;
  };
  bool capturing = false;
  std::vector<Capture> captures;
  NodeTable wanted;
  Tensors results;

  bool wants(const Node* n) const { return !capturing || wanted.contains(n); }

  void collect(Node* node, std::uint32_t slot, Tensor g) {
    std::uint32_t at = table.find(node);
    if (at == NodeTable::none) {
      if (free.empty()) {
        at = static_cast<std::uint32_t>(pending.size());
        pending.emplace_back();
      } else {
        at = free.back();
        free.pop_back();
      }
      pending[at].node = Ref<Node>(node);
      table.insert(node, at);
      heap.emplace_back(node->sequence(), at);
      std::push_heap(heap.begin(), heap.end());
    }
    Collected& c = pending[at].at(slot);
    const bool first = !c.value.defined();
    if (first) {
      c.value = std::move(g);
    } else if (c.owned && in_place) {
      add_in_place(c.value, g, here);
    } else {
      c.value = add_gradients(c.value, g, here);
      c.owned = true;
    }
    if (!first && thread_state.anomaly) check_finite(*node, "the sum of the gradients that reach it", c.value);
  }

  void start(const Tensor& root, const Tensor& cotangent, const char* what) {
    if (!root.defined()) throw ValueError(std::string(what) + ": the tensor is undefined", here);
    if (!root.requires_grad())
      throw GradError(std::string(what) + ": the tensor " + root.shape().str() +
                          " requires no gradient (no input asked for one, or it was made under NoGrad)",
                      here);
    const OutputInfo info{root.shape(), root.dtype()};
    if (!cotangent.defined()) {
      if (root.numel() != 1)
        throw ShapeError(
            std::string(what) + ": needs a tensor of one element or a cotangent, got " + root.shape().str(), here);
      collect(root.node(), root.slot(), filled(info, 1));
      return;
    }
    if (cotangent.shape() != root.shape() || cotangent.dtype() != root.dtype())
      throw ShapeError(std::string(what) + ": the cotangent " + cotangent.shape().str() + " " +
                           name_of(cotangent.dtype()) + " does not fit the tensor " + root.shape().str() + " " +
                           name_of(root.dtype()),
                       here);
    if (thread_state.anomaly) check_finite(*root.node(), "the cotangent that was given", cotangent);
    collect(root.node(), root.slot(), cotangent);
  }

  void give_to_owner(TensorImpl& owner, Tensor& g) {
    if (!owner.grad.defined()) {
      if (uniquely_held(g) && g.is_contiguous())
        owner.grad = std::move(g);
      else
        owner.grad = create ? copy_gradient(g, here) : dense_copy(g);
      return;
    }
    if (in_place && uniquely_held(owner.grad) && owner.grad.is_contiguous() && !owner.grad.requires_grad()) {
      add_in_place(owner.grad, g, here);
    } else {
      owner.grad = add_gradients(owner.grad, g, here);
    }
    if (thread_state.anomaly) check_finite(*owner.node, "the sum of this pass's gradient and earlier ones", owner.grad);
  }

  /// Checks a rule's result and undoes the broadcasting of its input.
  Tensor fitted(const Node& node, std::size_t input, Tensor dx) const {
    const Edge& e = node.edges()[input];
    const OutputInfo& want = e.node->output(e.slot);
    Shape joint;
    if (dx.dtype() != want.dtype ||
        (dx.shape() != want.shape && !(broadcast(dx.shape(), want.shape, joint) && joint == dx.shape())))
      throw GradError(std::string(node.name()) + ": its rule returned a gradient " + dx.shape().str() + " " +
                          name_of(dx.dtype()) + " for input " + std::to_string(input) + ", which is " +
                          want.shape.str() + " " + name_of(want.dtype),
                      node.site());
    if (dx.shape() != want.shape) dx = sum_to(dx, want.shape, node.site());
    if (thread_state.anomaly) check_finite(node, "the gradient of input " + std::to_string(input), dx);
    return dx;
  }

  static void check_finite(const Node& node, const std::string& what, const Tensor& g) {
    const std::vector<double> v = g.to_vector<double>();
    for (std::size_t i = 0; i < v.size(); ++i)
      if (!std::isfinite(v[i]))
        throw AnomalyError(std::string(node.name()) + ": " + (std::isnan(v[i]) ? "NaN" : "infinity") +
                               " in the backward pass, in " + what + ", at element " + std::to_string(i) + " of " +
                               g.shape().str(),
                           node.site());
  }

  Pending take_next() {
    std::pop_heap(heap.begin(), heap.end());
    const std::uint32_t at = heap.back().second;
    heap.pop_back();
    Pending p = std::move(pending[at]);
    pending[at] = Pending{};
    free.push_back(at);
    table.erase(p.node.get());
    return p;
  }

  void run_hooks(Node& node, Pending& p) {
    const auto hooks = NodeAccess::extras(node).hooks;  // a copy: a hook may remove itself
    for (const auto& hook : hooks) {
      Collected& c = p.at(hook.slot);
      if (!c.value.defined()) continue;
      Tensor changed = hook.call(c.value);
      if (!changed.defined()) {
        c.owned = false;  // the hook may have kept it
        continue;
      }
      const OutputInfo& want = node.output(hook.slot);
      if (changed.shape() != want.shape || changed.dtype() != want.dtype)
        throw GradError(std::string(node.name()) + ": a hook returned a gradient " + changed.shape().str() + " " +
                            name_of(changed.dtype()) + " for a tensor " + want.shape.str() + " " + name_of(want.dtype),
                        node.site());
      if (thread_state.anomaly) check_finite(node, "the gradient that a hook returned", changed);
      c = {std::move(changed), false};
    }
  }

  void step() {
    Pending p = take_next();
    Node& node = *p.node;
    const RunningNode running(&node);
    const GradMode mode(create);
    received.clear();
    sent.clear();
    run(node, p);
    // What is wrong with a sum of gradients is said of the node that they are sums for.
    for (std::size_t i = 0; i < sent.size(); ++i) {
      if (!sent[i].defined()) continue;
      const Edge& e = node.edges()[i];
      if (watched)
        collect(e.node.get(), e.slot, sent[i]);
      else
        collect(e.node.get(), e.slot, std::move(sent[i]));
    }
  }

  /// Takes the gradients in p and leaves those of the inputs in `sent`.
  void run(Node& node, Pending& p) {
    const Frame frame(node.name(), node.site(), Frame::Kind::step);
    const bool special = node_has_extras(node);
    if (special) run_hooks(node, p);
    for (const Capture& c : captures)
      if (c.node == &node && p.at(c.slot).value.defined()) results[c.result] = p.at(c.slot).value;
    if (special && !capturing) {
      const auto& owners = NodeAccess::extras(node).owners;
      for (const auto& o : owners) {
        Tensor& g = p.at(o.slot).value;
        if (!g.defined()) continue;
        if (node.is_leaf() && in_place && !watched) {
          give_to_owner(*o.tensor, g);
        } else {
          Tensor kept = g;
          give_to_owner(*o.tensor, kept);
        }
      }
    }
    if (node.is_leaf()) {
      if (watched) received.push_back(p.first.value);
      return;
    }
    if (node.freed())
      throw GradError(
          std::string(node.name()) +
              ": the graph was freed by an earlier backward pass; give that one retain_graph = true to run it again",
          node.site());
    for (std::uint32_t i = 0; i < node.output_count(); ++i) {
      Tensor& g = p.at(i).value;
      received.push_back(g.defined() ? std::move(g) : filled(node.output(i), 0));
    }
    p.first = {};
    p.more.clear();
    sent.resize(node.edges().size());
    node.run(received, sent);
    if (!retain) NodeAccess::free_saved(node);
    if (!watched) received.clear();
    for (std::size_t i = 0; i < sent.size(); ++i) {
      Tensor& dx = sent[i];
      if (!dx.defined()) continue;
      const Edge& e = node.edges()[i];
      if (!e.node || !wants(e.node.get())) {
        dx = Tensor();
        continue;
      }
      dx = fitted(node, i, std::move(dx));
    }
  }

  static bool node_has_extras(const Node& node) { return static_cast<bool>(node.extras_); }
};

Sweep::Sweep(const Tensor& root, const BackwardOptions& options, Here here) : Sweep(root, options, here, true) {}
Sweep::Sweep(const Tensor& root, const BackwardOptions& options, Here here, bool watched)
    : state_(std::make_unique<State>()) {
  state_->watched = watched;
  state_->retain = options.retain_graph || options.create_graph;
  state_->create = options.create_graph;
  state_->in_place = !options.create_graph && !options.keep_history;
  state_->here = here;
  state_->start(root, options.gradient, "backward");
}
Sweep::Sweep(std::unique_ptr<State> state) : state_(std::move(state)) {}
Sweep::~Sweep() = default;

void Sweep::run(const Tensor& root, const BackwardOptions& options, Here here) {
  Sweep sweep(root, options, here, false);
  while (sweep.step()) {
  }
}

const Node* Sweep::next() const {
  return state_->heap.empty() ? nullptr : state_->pending[state_->heap.front().second].node.get();
}

Tensor Sweep::pending(const Node* node, std::uint32_t slot) const {
  const std::uint32_t at = state_->table.find(node);
  return at == NodeTable::none ? Tensor() : state_->pending[at].at(slot).value;
}

bool Sweep::step() {
  if (state_->heap.empty()) return false;
  state_->step();
  return true;
}

const Tensors& Sweep::received() const { return state_->received; }
const Tensors& Sweep::sent() const { return state_->sent; }

namespace {

/// The nodes from which one of `targets` can be reached, targets included.
NodeTable nodes_towards(const Tensors& outputs, const std::vector<const Node*>& targets) {
  std::uint64_t lowest = ~std::uint64_t{0};
  for (const Node* t : targets) lowest = std::min(lowest, t->sequence());
  NodeTable seen, towards;
  std::vector<const Node*> order;
  const auto visit = [&](const Node* n) {
    if (n && n->sequence() >= lowest && seen.add(n)) order.push_back(n);
  };
  for (const Tensor& y : outputs) visit(y.node());
  for (std::size_t i = 0; i < order.size(); ++i)
    for (const Edge& e : order[i]->edges()) visit(e.node.get());
  const auto later = [](const Node* a, const Node* b) { return a->sequence() > b->sequence(); };
  if (!std::is_sorted(order.begin(), order.end(), later)) std::sort(order.begin(), order.end(), later);
  for (const Node* t : targets) towards.add(t);
  for (std::size_t i = order.size(); i-- > 0;)
    for (const Edge& e : order[i]->edges())
      if (e.node && towards.contains(e.node.get())) {
        towards.add(order[i]);
        break;
      }
  return towards;
}

}  // namespace

Tensors grad(const Tensors& outputs, const Tensors& inputs, const GradOptions& options, Here here) {
  if (!options.cotangents.empty() && options.cotangents.size() != outputs.size())
    throw ValueError("grad: " + std::to_string(options.cotangents.size()) + " cotangents for " +
                         std::to_string(outputs.size()) + " outputs",
                     here);
  auto owned = std::make_unique<Sweep::State>();
  Sweep::State& s = *owned;
  s.create = options.create_graph;
  s.retain = options.retain_graph || options.create_graph;
  s.in_place = !options.create_graph;
  s.here = here;
  s.capturing = true;
  s.results.resize(inputs.size());
  std::vector<const Node*> targets;
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    if (!inputs[i].defined() || !inputs[i].requires_grad())
      throw GradError("grad: input " + std::to_string(i) + " requires no gradient", here);
    s.captures.push_back({inputs[i].node(), inputs[i].slot(), i});
    targets.push_back(inputs[i].node());
  }
  s.wanted = nodes_towards(outputs, targets);
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    const Tensor cotangent = options.cotangents.empty() ? Tensor() : options.cotangents[i];
    if (outputs[i].defined() && outputs[i].requires_grad() && !s.wanted.contains(outputs[i].node())) continue;
    s.start(outputs[i], cotangent, "grad");
  }
  Sweep sweep(std::move(owned));
  // A target runs only where the way to another target leads through it.
  while (const Node* next = sweep.next()) {
    bool leads_on = false;
    if (!options.independent || std::find(targets.begin(), targets.end(), next) == targets.end())
      for (const Edge& e : next->edges()) leads_on |= e.node && s.wanted.contains(e.node.get());
    if (leads_on || next->is_leaf()) {
      sweep.step();
      continue;
    }
    Pending p = s.take_next();
    if (Sweep::State::node_has_extras(*p.node)) s.run_hooks(*p.node, p);
    for (const auto& c : s.captures)
      if (c.node == p.node.get() && p.at(c.slot).value.defined()) s.results[c.result] = p.at(c.slot).value;
  }
  for (std::size_t i = 0; i < inputs.size(); ++i)
    if (!s.results[i].defined() && !options.allow_unused)
      throw GradError("grad: no output depends on input " + std::to_string(i) + " " + inputs[i].shape().str() +
                          " (allow_unused = true gives an undefined tensor instead)",
                      here);
  return s.results;
}

}  // namespace attune
