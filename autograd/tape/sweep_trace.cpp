// What nodes keep of a backward pass while their thread traces: everything that the pass does is then out of place, so
// that handles keep their values.

#include <atomic>
#include <memory>

#include "autograd/tape/internal/accumulate.h"
#include "autograd/tape/internal/anomaly.h"
#include "autograd/tape/internal/node_access.h"
#include "autograd/tape/internal/sweep_state.h"
#include "autograd/tape/internal/thread_state.h"
#include "autograd/tensor/named.h"

namespace attune {

namespace {

Tensor off_tape(const Tensor& x) { return x.defined() ? x.detach() : x; }
Tensors off_tape(const Tensors& xs) {
  Tensors off;
  for (const Tensor& x : xs) off.push_back(off_tape(x));
  return off;
}

struct GivenName final : NameSource {
  explicit GivenName(std::string n) : given(std::move(n)) {}
  std::string name() const override { return given; }
  std::string given;
};

}  // namespace

std::uint64_t next_traced_pass() {
  static constinit std::atomic<std::uint64_t> passes{0};
  if (!tracing_here() || thread_state.running) return 0;  // a pass inside of a rule is a part of that rule
  return ++passes;
}

/// What the node keeps of this pass, in the place of what it kept of an earlier one.
BackwardStep& Sweep::State::traced(Node& node) const {
  BackwardStep& step = NodeAccess::trace(node).step;
  if (step.pass != pass) {
    step = BackwardStep();
    step.pass = pass;
  }
  return step;
}

/// collect(), which is kept.
void Sweep::State::collect_traced(Node& node, std::uint32_t slot, Collected& into, const Tensor& g, const Node* from,
                                  std::size_t input) {
  const bool first = !into.value.defined();
  if (first)
    into.value = g;
  else
    add(into, g);
  traced(node).arrivals.push_back(
      {from ? from->sequence() : 0, static_cast<std::uint32_t>(input), slot, off_tape(g), off_tape(into.value)});
  if (!first && thread_state.anomaly) search_gradient(node, "the sum of the gradients that reach it", into.value, loss);
}

/// The rules have run; what they returned is not fitted to the inputs yet.
void Sweep::State::trace_run(Node& node) const {
  BackwardStep& step = traced(node);
  step.received = off_tape(received);
  step.returned = off_tape(sent);
}

/// give(), which is kept.
void Sweep::State::give_traced(Node& node, std::uint32_t slot, TensorImpl& handle, const Tensor& g) {
  const Tensor before = handle.grad;
  give(handle, g);
  // A copy: gradients are clipped in place.
  traced(node).grads.push_back({slot, off_tape(before), dense_copy(handle.grad)});
}

/// The node's step is over, but for handing `sent` on.
void Sweep::State::trace_end(Node& node, Pending& p) {
  BackwardStep& step = traced(node);
  step.order = ++steps;
  step.sent = off_tape(sent);
  if (node.is_leaf()) step.received = {off_tape(p.first.value)};
}

std::vector<std::pair<std::uint32_t, Tensor>> gradient_handles(const Node& node) {
  std::vector<std::pair<std::uint32_t, Tensor>> handles;
  if (!NodeAccess::has_extras(node)) return handles;
  for (const auto& owner : NodeAccess::extras(const_cast<Node&>(node)).owners)
    handles.emplace_back(owner.slot, Tensor(Ref<TensorImpl>(owner.tensor)));
  return handles;
}

void name_output(const Tensor& x, const std::string& as, Here here) {
  checked(x, here);
  if (!x.node()) return name_tensor(x, std::make_shared<GivenName>(as));
  auto& names = NodeAccess::extras(*x.node()).names;
  std::erase_if(names, [&](const auto& each) { return each.first == x.slot(); });
  names.emplace_back(x.slot(), as);
}

std::string name_of_output(const Node& node, std::uint32_t slot) {
  if (!NodeAccess::has_extras(node)) return "";
  for (const auto& [of, name] : NodeAccess::extras(const_cast<Node&>(node)).names)
    if (of == slot) return name;
  for (const auto& [of, handle] : gradient_handles(node))
    if (of == slot && !tensor_name(handle).empty()) return tensor_name(handle);
  return "";
}

}  // namespace attune
