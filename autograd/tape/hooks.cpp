// Hooks: functions of the user that see, and may replace, a tensor's whole gradient.

#include "autograd/runtime/error.h"
#include "autograd/tape/internal/anomaly.h"
#include "autograd/tape/internal/node_access.h"
#include "autograd/tape/internal/sweep_state.h"
#include "autograd/tensor/internal/tensor_impl.h"

namespace attune {

namespace {

/// Whether a copy of f brings one more handle to x with it, twice, since another thread may happen to take one.
bool holds(const std::function<Tensor(const Tensor&)>& f, const TensorImpl& x) {
  for (int i = 0; i < 2; ++i) {
    const std::uint32_t before = x.refs.count();
    const auto copy = f;
    if (x.refs.count() <= before) return false;
  }
  return true;
}

}  // namespace

int Tensor::register_hook(std::function<Tensor(const Tensor&)> hook, Here here) {
  if (!requires_grad()) throw GradError("register_hook: the tensor requires no gradient", here);
  if (holds(hook, *impl()))
    throw GradError("register_hook: the hook captures the tensor " + shape().str() +
                        " that it is registered on, so that neither would ever be freed; let it use its argument, or "
                        "capture detach()",
                    here);
  auto& extras = NodeAccess::extras(*node());
  extras.hooks.push_back({extras.next_hook, slot(), std::move(hook)});
  return extras.next_hook++;
}

void Tensor::remove_hook(int id) {
  if (requires_grad() && NodeAccess::has_extras(*node()))
    std::erase_if(NodeAccess::extras(*node()).hooks, [id](const auto& h) { return h.id == id; });
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
    if (thread_state.anomaly) search_gradient(node, "the gradient that a hook returned", changed);
    c = {std::move(changed), false};
  }
}

}  // namespace attune
