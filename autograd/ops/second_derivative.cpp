#include "autograd/ops/internal/second_derivative.h"

namespace attune::detail {

std::vector<bool> which_defined(const Tensors& xs) {
  std::vector<bool> present;
  for (const Tensor& x : xs) present.push_back(x.defined());
  return present;
}

Tensors defined_ones(const Tensors& xs) {
  Tensors out;
  for (const Tensor& x : xs)
    if (x.defined()) out.push_back(x);
  return out;
}

Tensors spread(const Tensors& found, const std::vector<bool>& present) {
  Tensors out(present.size());
  std::size_t next = 0;
  for (std::size_t i = 0; i < present.size(); ++i)
    if (present[i]) out[i] = found[next++];
  return out;
}

namespace {

/// The same value as another node: if one tensor is passed twice, each place needs a gradient of its own.
Tensor separate(const Tensor& x, Here here) {
  const Op op{"separate", here};
  return op.record(x.detach(), of<separate>(x), "dx = dy", [](const Tensor& dy) { return dy; });
}

/// The gradients of <outputs, cotangents>, of those outputs that depend on anything.
Tensors gradients(const Tensors& outputs, const Tensors& cotangents, const Tensors& xs, bool create_graph) {
  Tensors ys, dys;
  for (std::size_t i = 0; i < outputs.size(); ++i)
    if (outputs[i].defined() && outputs[i].requires_grad() && cotangents[i].defined()) {
      ys.push_back(outputs[i]);
      dys.push_back(cotangents[i]);
    }
  if (ys.empty()) return Tensors(xs.size());
  return grad(ys, xs, {.cotangents = dys, .create_graph = create_graph, .allow_unused = true});
}

}  // namespace

Tensors differentiate_composition(const Composition& f, const Tensors& inputs, const Tensors& cotangents) {
  const bool recorded = grad_enabled();
  const EnableGrad on;
  Tensors xs = inputs, variables;
  std::vector<bool> varies;
  for (Tensor& x : xs) {
    varies.push_back(x.defined() && is_floating(x.dtype()));
    if (!varies.back()) continue;
    x = recorded && x.requires_grad() ? separate(x, {}) : x.detach().requires_grad_();
    variables.push_back(x);
  }
  return spread(gradients(f(xs), cotangents, variables, recorded), varies);
}

ComposedGradRule::ComposedGradRule(Composition f, const Tensors& xs, const Tensors& dys, std::vector<bool> wanted)
    : f_(std::move(f)), saved_(xs.begin(), xs.end()), wanted_(std::move(wanted)) {
  for (const Tensor& dy : dys) saved_.emplace_back(dy);
}

Tensors ComposedGradRule::operator()(const Tensors& cotangents, const Needs&) const {
  const Tensors inputs(saved_.begin(), saved_.end());
  const auto backward = [&](const Tensors& in) {
    const auto middle = in.begin() + static_cast<std::ptrdiff_t>(wanted_.size());
    const Tensors xs(in.begin(), middle), dys(middle, in.end());
    Tensors wanted;
    for (std::size_t i = 0; i < xs.size(); ++i)
      if (wanted_[i]) wanted.push_back(xs[i]);
    return gradients(f_(xs), dys, wanted, true);
  };
  return differentiate_composition(backward, inputs, cotangents);
}

}  // namespace attune::detail
