#include "autograd/derivatives/jvp.h"

#include "autograd/ops/create.h"
#include "autograd/runtime/error.h"
#include "autograd/tape/grad.h"
#include "autograd/tape/modes.h"

namespace attune {

Tensors jvp(const Function& f, const Tensors& inputs, const Tensors& tangents, Here here) {
  if (inputs.size() != tangents.size())
    throw ValueError(
        "jvp: " + std::to_string(tangents.size()) + " tangents for " + std::to_string(inputs.size()) + " inputs", here);
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    const Tensor &x = inputs[i], &v = tangents[i];
    if (!x.defined()) throw ValueError("jvp: input " + std::to_string(i) + " is undefined", here);
    if (!is_floating(x.dtype()) || (v.defined() && v.shape() == x.shape() && v.dtype() == x.dtype())) continue;
    throw ShapeError("jvp: tangent " + std::to_string(i) + " " +
                         (v.defined() ? v.shape().str() + " " + name_of(v.dtype()) : std::string("is undefined and")) +
                         " does not fit input " + std::to_string(i) + " " + x.shape().str() + " " + name_of(x.dtype()),
                     here);
  }
  // The reverse sweep is linear in its cotangents u: differentiating <J^T u, v> with respect to u gives J v.
  const EnableGrad on;
  Tensors xs;
  for (const Tensor& x : inputs) xs.push_back(x.detach().requires_grad_(is_floating(x.dtype())));
  const Tensors ys = f(xs);
  Tensors outputs, us, result(ys.size());
  std::vector<std::size_t> which;
  for (std::size_t i = 0; i < ys.size(); ++i) {
    if (!ys[i].defined() || !is_floating(ys[i].dtype())) continue;
    result[i] = zeros_like(ys[i]);
    if (!ys[i].requires_grad()) continue;
    outputs.push_back(ys[i]);
    us.push_back(zeros_like(ys[i]).requires_grad_());
    which.push_back(i);
  }
  if (outputs.empty()) return result;
  Tensors wanted, directions;
  for (std::size_t i = 0; i < xs.size(); ++i)
    if (xs[i].requires_grad()) {
      wanted.push_back(xs[i]);
      directions.push_back(tangents[i]);
    }
  const Tensors gradients = grad(outputs, wanted, {.cotangents = us, .create_graph = true, .allow_unused = true}, here);
  Tensors on_tape, along;
  for (std::size_t i = 0; i < gradients.size(); ++i)
    if (gradients[i].defined() && gradients[i].requires_grad()) {
      on_tape.push_back(gradients[i]);
      along.push_back(directions[i]);
    }
  if (on_tape.empty()) return result;
  const Tensors tangent_ys = grad(on_tape, us, {.cotangents = along, .allow_unused = true}, here);
  for (std::size_t i = 0; i < which.size(); ++i)
    if (tangent_ys[i].defined()) result[which[i]] = tangent_ys[i];
  return result;
}

}  // namespace attune
