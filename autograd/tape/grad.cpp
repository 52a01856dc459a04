#include "autograd/tape/grad.h"

#include <algorithm>

#include "autograd/runtime/error.h"
#include "autograd/tape/internal/sweep_state.h"

namespace attune {

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

Captures::Captures(const Tensors& outputs, const Tensors& inputs, bool independent)
    : results(inputs.size()), independent_(independent) {
  std::vector<const Node*> targets;
  for (const Tensor& x : inputs) {
    captures_.push_back({x.node(), x.slot()});
    targets.push_back(x.node());
  }
  wanted_ = nodes_towards(outputs, targets);
}

bool Captures::end_at(const Node& node) const {
  if (node.is_leaf()) return false;
  const auto is_node = [&](const Capture& c) { return c.node == &node; };
  if (independent_ && std::any_of(captures_.begin(), captures_.end(), is_node)) return true;
  return std::none_of(node.edges().begin(), node.edges().end(),
                      [&](const Edge& e) { return e.node && wanted_.contains(e.node.get()); });
}

void Captures::take(const Node& node, Pending& p) {
  for (std::size_t i = 0; i < captures_.size(); ++i)
    if (captures_[i].node == &node)
      if (const Tensor& g = p.at(captures_[i].slot).value; g.defined()) results[i] = g;
}

Tensors grad(const Tensors& outputs, const Tensors& inputs, const GradOptions& options, Here here) {
  if (!options.cotangents.empty() && options.cotangents.size() != outputs.size())
    throw ValueError("grad: " + std::to_string(options.cotangents.size()) + " cotangents for " +
                         std::to_string(outputs.size()) + " outputs",
                     here);
  for (std::size_t i = 0; i < inputs.size(); ++i)
    if (!inputs[i].defined() || !inputs[i].requires_grad())
      throw GradError("grad: input " + std::to_string(i) + " requires no gradient", here);
  Captures captures(outputs, inputs, options.independent);
  Sweep::State sweep({.retain_graph = options.retain_graph, .create_graph = options.create_graph}, false, here);
  sweep.captures = &captures;
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    const Tensor cotangent = options.cotangents.empty() ? Tensor() : options.cotangents[i];
    if (outputs[i].defined() && outputs[i].requires_grad() && !captures.wants(outputs[i].node())) continue;
    sweep.start(outputs[i], cotangent, "grad");
  }
  sweep.finish();
  for (std::size_t i = 0; i < inputs.size(); ++i)
    if (!captures.results[i].defined() && !options.allow_unused)
      throw GradError("grad: no output depends on input " + std::to_string(i) + " " + inputs[i].shape().str() +
                          " (allow_unused = true gives an undefined tensor instead)",
                      here);
  return std::move(captures.results);
}

}  // namespace attune
