#include "autograd/ops/internal/second_derivative.h"

#include "autograd/tape/grad.h"
#include "autograd/tape/op.h"

namespace attune::detail {

namespace {

/// The same value as another node: where one tensor is passed twice, each place needs a gradient of its own.
Tensor separate(const Tensor& x, Here here) {
  const Op op{"separate", here};
  return op.record(x.detach(), of<separate>(x), "dx = dy", [](const Tensor& dy) { return dy; });
}

}  // namespace

Tensors differentiate_composition(const std::function<Tensors(const Tensors&)>& f, const Tensors& inputs,
                                  const Tensors& cotangents) {
  const bool recorded = grad_enabled();
  const EnableGrad on;
  Tensors xs;
  for (const Tensor& x : inputs)
    xs.push_back(recorded && x.requires_grad() ? separate(x, {}) : x.detach().requires_grad_());
  Tensors ys, cots;
  const Tensors outputs = f(xs);
  for (std::size_t i = 0; i < outputs.size(); ++i)
    if (outputs[i].defined() && outputs[i].requires_grad() && cotangents[i].defined()) {
      ys.push_back(outputs[i]);
      cots.push_back(cotangents[i]);
    }
  if (ys.empty()) return Tensors(inputs.size());
  return grad(ys, xs, {.cotangents = cots, .create_graph = recorded, .allow_unused = true});
}

}  // namespace attune::detail
