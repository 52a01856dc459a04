// Second derivatives of fused operations: the backward pass of one is an operation too, and its rule differentiates the
// plain composition of the same formula. Internal to ops/.
//
//     ... dx and dw by a kernel ...
//     return record_fused_grad(op, {dx, dw}, of<rms_norm_grad>(x, w, dy, rrms, eps), {x, w}, {dy},
//                              [eps](const Tensors& xs) { return Tensors{rms_norm_composed(xs[0], xs[1], eps, {})}; });
#pragma once

#include <functional>

#include "autograd/tape/grad.h"
#include "autograd/tape/op.h"

namespace attune::detail {

/// From the inputs of a fused operation, undefined and integer ones among them, to its outputs, by plain operations.
using Composition = std::function<Tensors(const Tensors& xs)>;

/// The gradients of <f(inputs), cotangents> with respect to each input, an undefined tensor if f does not depend on it.
/// f may return undefined outputs. If the running sweep is itself recorded (create_graph), the result is on the tape of
/// the inputs, so that further derivatives are right as well.
Tensors differentiate_composition(const Composition& f, const Tensors& inputs, const Tensors& cotangents);

/// The rule of a fused backward pass: from the cotangents of its results to the gradients of xs and dys.
class ComposedGradRule {
 public:
  /// `wanted` tells which of xs the pass gave a gradient.
  ComposedGradRule(Composition f, const Tensors& xs, const Tensors& dys, std::vector<bool> wanted);
  Tensors operator()(const Tensors& cotangents, const Needs& needs) const;

 private:
  Composition f_;
  std::vector<Saved> saved_;  // xs, then dys
  std::vector<bool> wanted_;  // by x
};

std::vector<bool> which_defined(const Tensors& xs);
Tensors defined_ones(const Tensors& xs);
/// Undoes defined_ones() for a list whose defined places are `present`.
Tensors spread(const Tensors& found, const std::vector<bool>& present);

/// Records what a fused backward pass found and returns it: dxs has a gradient for each of xs, or an undefined tensor
/// where none was wanted. f is the operation's plain composition, dys are the cotangents of its outputs. The call's
/// tensor arguments are xs, dys and then what the forward pass kept, which takes no gradient: it is a function of xs.
template <auto F, auto C, class... Args>
Tensors record_fused_grad(const Op& op, const Tensors& dxs, const Call<F, C, Args...>& call, const Tensors& xs,
                          const Tensors& dys, Composition f) {
  constexpr const char* rule = "differentiates the composed form";
  if (!grad_enabled()) {  // an ordinary sweep: a rule made only to be dropped costs as much as a small kernel
    op.record_joint(defined_ones(dxs), call, rule, [](const Tensors&, const Needs&) { return Tensors(); });
    return dxs;
  }
  const std::vector<bool> wanted = which_defined(dxs);
  return spread(op.record_joint(defined_ones(dxs), call, rule, ComposedGradRule(std::move(f), xs, dys, wanted)),
                wanted);
}

}  // namespace attune::detail
