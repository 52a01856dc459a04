#include "autograd/tape/saved.h"

#include "autograd/runtime/error.h"
#include "autograd/tape/internal/node_access.h"
#include "autograd/tape/internal/thread_state.h"
#include "autograd/tape/modes.h"

namespace attune {

namespace {
thread_local Tensors noted;  // handles that nobody else has: one that is alone was dropped with its rule
}  // namespace

Saved::Saved(const Tensor& x) {
  if (!x.defined()) return;
  const bool traced = tracing_here() && thread_state.grad_enabled;  // otherwise no node takes note of it
  // A handle that keeps its gradient would hold the graph that the gradient is computed by.
  tensor_ = traced || (x.node() && (x.is_leaf() || x.impl()->owns_grad_slot)) ? alias(x, true) : x;
  version_ = x.version();
  if (traced) [[unlikely]]
    noted.push_back(tensor_);
}

Tensors detail::take_saved() {
  Tensors kept;
  for (const Tensor& x : noted)
    if (!x.impl()->refs.unique()) kept.push_back(x.detach());
  noted.clear();
  return kept;
}

SavedOrRemade::SavedOrRemade(const Tensor& x) {
  if (x.defined() && x.node()) remake_ = NodeAccess::remake(x);
  if (!remake_) {
    saved_ = Saved(x);
    return;
  }
  node_ = Ref<Node>(x.node());
  slot_ = x.slot();
}

Tensor SavedOrRemade::get() const {
  if (!remake_) return saved_.get();
  const NoGrad off;
  const auto fail = [&](const std::string& why) {
    const Node* n = thread_state.running;
    throw GradError(std::string(n ? n->name() : "backward") + ": its input, the output of " + node_->name() +
                    (node_->site().line ? " at " + node_->site().str() : "") + ", cannot be made again: " + why +
                    (n && n->site().line ? "\n  wanted by " + std::string(n->name()) + " at " + n->site().str() : ""));
  };
  Tensor y;
  try {
    const RunningNode maker(node_.get());  // what it saved is looked at
    y = remake_();
  } catch (const GradError& e) {
    fail(e.what());
  }
  const OutputInfo& made = node_->output(slot_);
  if (!y.defined() || y.shape() != made.shape || y.dtype() != made.dtype)
    fail((y.defined() ? y.shape().str() + " of " + name_of(y.dtype()) : "nothing") + " came for " + made.shape.str() +
         " of " + name_of(made.dtype));
  return rewrap(y, node_.get(), slot_);
}

bool detail::worth_remaking(const Tensor& y) {
  constexpr std::size_t bytes = 64 << 10;
  return y.node() && static_cast<std::size_t>(y.numel()) * size_of(y.dtype()) >= bytes;
}

void detail::set_remake(const Tensor& y, std::function<Tensor()> remake) {
  auto& e = NodeAccess::extras(*y.node());
  e.remake = std::move(remake);
  e.remade_slot = y.slot();
  e.remade_version = y.version();
}

void Saved::fail() const {
  const Node* n = thread_state.running;
  const Here changed = tensor_.impl()->storage->last_change;
  throw GradError(std::string(n ? n->name() : "backward") + ": a tensor " + tensor_.shape().str() +
                  " that it saved for backward was changed in place" +
                  (n && n->site().line ? "\n  recorded at " + n->site().str() : "") +
                  (changed.line ? "\n  changed at " + changed.str() : ""));
}

}  // namespace attune
