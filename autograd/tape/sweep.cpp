// The reverse sweep: collect a gradient for each node it reaches, take the node of the highest sequence number, run its
// rules, and hand the results on to its inputs. A node's number is higher than those of all it depends on, so when it
// is taken its gradient is whole.

#include "autograd/tape/sweep.h"

#include "autograd/runtime/error.h"
#include "autograd/runtime/frame.h"
#include "autograd/tape/internal/accumulate.h"
#include "autograd/tape/internal/anomaly.h"
#include "autograd/tape/internal/gradient_ops.h"
#include "autograd/tape/internal/node_access.h"
#include "autograd/tape/internal/sweep_state.h"
#include "autograd/tape/modes.h"
#include "autograd/tape/tracing.h"

namespace attune {

// ---- the algorithm

void Tensor::backward(const BackwardOptions& options, Here here) const {
  BackwardWatcher* watcher = backward_watcher.load(std::memory_order_relaxed);
  if (watcher && !thread_state.running) [[unlikely]]
    return watcher->backward(*this, options, here);
  run_backward(*this, options, here);
}

void run_backward(const Tensor& root, const BackwardOptions& options, Here here) {
  Sweep::State sweep(options, false, here);
  try {
    sweep.start(root, options.gradient, "backward");
    sweep.finish();
  } catch (...) {
    sweep.take_back();
    throw;
  }
}

void Tensor::backward(Here here) const { backward(BackwardOptions{}, here); }

void Sweep::State::finish() {
  while (pending.next()) step();
}

void Sweep::State::step() {
  Pending p = pending.take_next();
  Node& node = *p.node;
  const RunningNode running(&node);
  const GradMode mode(create);
  received.clear();
  sent.clear();
  if (captures && captures->end_at(node)) {
    arrive(node, p);
    return;
  }
  {
    const Frame frame(node.name(), node.site(), Frame::Kind::step);
    arrive(node, p);
    if (!node.is_leaf())
      run(node, p);
    else if (watched)
      received.push_back(p.first.value);
  }
  if (pass) trace_end(node, p);
  hand_on(node);  // outside of the frame: what is wrong with a sum is said of the node that it is a sum for
}

/// A node's gradient is whole.
void Sweep::State::arrive(Node& node, Pending& p) {
  const bool special = NodeAccess::has_extras(node);
  if (special) run_hooks(node, p);
  if (captures)
    captures->take(node, p);
  else if (special)
    give_to_handles(node, p);
}

/// Takes the gradients in p and leaves those of the inputs in `sent`.
void Sweep::State::run(Node& node, Pending& p) {
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
  if (pass) trace_run(node);
  if (!watched) received.clear();
  for (std::size_t i = 0; i < sent.size(); ++i) {
    if (!sent[i].defined()) continue;
    const Edge& e = node.edges()[i];
    const bool wanted = e.node && (!captures || captures->wants(e.node.get()));
    sent[i] = wanted ? fitted(node, i, std::move(sent[i])) : Tensor();
  }
}

void Sweep::State::hand_on(const Node& node) {
  for (std::size_t i = 0; i < sent.size(); ++i) {
    if (!sent[i].defined()) continue;
    const Edge& e = node.edges()[i];
    collect(e.node.get(), e.slot, watched ? sent[i] : std::move(sent[i]), &node, i);
  }
}

/// `from`, null at the beginning, sends g for its input.
void Sweep::State::collect(Node* node, std::uint32_t slot, Tensor g, const Node* from, std::size_t input) {
  Collected& c = pending.of(node).at(slot);
  if (pass) [[unlikely]]
    return collect_traced(*node, slot, c, g, from, input);
  if (!c.value.defined()) {
    c.value = std::move(g);
    return;
  }
  add(c, g);
  if (thread_state.anomaly) search_gradient(*node, "the sum of the gradients that reach it", c.value, loss);
}

// ---- its beginning, and the fit of what rules return

/// Checks a rule's result and undoes the broadcasting of its input.
Tensor Sweep::State::fitted(const Node& node, std::size_t input, Tensor dx) const {
  const Edge& e = node.edges()[input];
  const OutputInfo& want = e.node->output(e.slot);
  Shape joint;
  if (dx.dtype() != want.dtype ||
      (dx.shape() != want.shape && !(broadcast(dx.shape(), want.shape, joint) && joint == dx.shape())))
    throw GradError(std::string(node.name()) + ": its rule returned a gradient " + dx.shape().str() + " " +
                        name_of(dx.dtype()) + " for input " + std::to_string(input) + ", which is " + want.shape.str() +
                        " " + name_of(want.dtype),
                    node.site());
  if (dx.shape() != want.shape) dx = sum_gradient_to(dx, want.shape, node.site());
  if (thread_state.anomaly) search_gradient(node, "the gradient of input " + std::to_string(input), dx, loss);
  return dx;
}

void Sweep::State::start(const Tensor& root, const Tensor& cotangent, const char* what) {
  if (!root.defined()) throw ValueError(std::string(what) + ": the tensor is undefined", here);
  if (!root.requires_grad())
    throw GradError(std::string(what) + ": the tensor " + root.shape().str() +
                        " requires no gradient (no input asked for one, or it was made under NoGrad)",
                    here);
  if (!cotangent.defined()) {
    if (root.numel() != 1)
      throw ShapeError(std::string(what) + ": needs a tensor of one element or a cotangent, got " + root.shape().str(),
                       here);
    if (thread_state.anomaly) loss = root.item();
    collect(root.node(), root.slot(), filled({root.shape(), root.dtype()}, 1), nullptr, 0);
    return;
  }
  if (cotangent.shape() != root.shape() || cotangent.dtype() != root.dtype())
    throw ShapeError(std::string(what) + ": the cotangent " + cotangent.shape().str() + " " +
                         name_of(cotangent.dtype()) + " does not fit the tensor " + root.shape().str() + " " +
                         name_of(root.dtype()),
                     here);
  if (thread_state.anomaly) search_gradient(*root.node(), "the cotangent that was given", cotangent);
  collect(root.node(), root.slot(), cotangent, nullptr, 0);
}

Sweep::State::State(const BackwardOptions& options, bool watched_, Here here_)
    : retain(options.retain_graph || options.create_graph),
      create(options.create_graph),
      in_place(!options.create_graph && !options.keep_history && !tracing_here()),
      watched(watched_),
      // A pass inside of a rule is a part of that rule.
      pass(next_traced_pass()),
      here(here_) {}

// ---- a sweep that is stepped

Sweep::Sweep(const Tensor& root, const BackwardOptions& options, Here here)
    : state_(std::make_unique<State>(options, true, here)) {
  state_->start(root, options.gradient, "backward");
}
Sweep::~Sweep() = default;

const Node* Sweep::next() const { return state_->pending.next(); }

Tensor Sweep::pending(const Node* node, std::uint32_t slot) const {
  Pending* p = state_->pending.find(node);
  return p ? p->at(slot).value : Tensor();
}

bool Sweep::step() {
  if (!next()) return false;
  state_->step();
  return true;
}

const Tensors& Sweep::received() const { return state_->received; }
const Tensors& Sweep::sent() const { return state_->sent; }

}  // namespace attune
