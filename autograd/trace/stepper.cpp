#include "autograd/trace/stepper.h"

#include "autograd/tape/modes.h"

namespace attune {

namespace {

BackwardOptions with_history(BackwardOptions options) {
  options.keep_history = true;
  return options;
}

}  // namespace

Stepper::Stepper(const Tensor& root, const BackwardOptions& options, Here here) {
  const Tracing on;
  sweep_ = std::make_unique<Sweep>(root, with_history(options), here);
  pass_ = root.node()->trace()->step.pass;
  tape_ = Tape::of(root);
}

Stepper::~Stepper() = default;

const Node* Stepper::next() const { return at_ < order_.size() ? order_[at_].node.get() : sweep_->next(); }

bool Stepper::forward() {
  if (at_ == order_.size()) {
    const Node* node = sweep_->next();
    if (!node) return false;
    Step step{Ref<Node>(const_cast<Node*>(node)), {}};
    for (const auto& [slot, handle] : gradient_handles(*node)) step.changes.push_back({handle, handle.grad(), {}});
    {
      const Tracing on;
      sweep_->step();
    }
    for (Change& c : step.changes) c.after = c.handle.grad();
    order_.push_back(std::move(step));
  } else {
    for (Change& c : order_[at_].changes) c.handle.set_grad(c.after);
  }
  ++at_;
  return true;
}

bool Stepper::back() {
  if (at_ == 0) return false;
  for (Change& c : order_[--at_].changes) c.handle.set_grad(c.before);
  return true;
}

void Stepper::finish() {
  while (forward()) {
  }
}

std::int64_t Stepper::step_of(const Node* node) const {
  const Trace* trace = node->trace();
  const std::uint64_t order = trace && pass_ == trace->step.pass ? trace->step.order : 0;
  return order == 0 || order > order_.size() ? -1 : static_cast<std::int64_t>(order) - 1;
}

}  // namespace attune
