// Hooks of modules: functions of the user that see, and may replace, what goes into a module's call and what comes out.
//
//     Tensor features;
//     nn::HookHandle h = model.up.register_forward_hook(
//         [&](const nn::Module&, const Tensors& inputs, Tensors& outputs) { features = outputs[0].detach(); });
//     model(x);
//     h.remove();
//
// Every layer of the library hands its tensors to its hooks, and so does a user's module whose operator() opens a Scope
// and says scope.in() and scope.out() (nn/module.h). A call whose Scope does not is refused once there is a hook; an
// operator() without a Scope knows nothing of hooks. A block that the backward pass runs again (checkpoint, reversible
// layers) calls its modules' hooks again.
#pragma once

#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "autograd/tensor/tensor.h"

namespace attune::nn {

class Module;

/// Sees a call's tensors in the order of its arguments, undefined ones too; assigning to an element replaces it.
using ForwardPreHook = std::function<void(const Module& module, Tensors& inputs)>;
/// Sees a call's inputs (after the pre-hooks) and the tensors of its result in the order of its members; assigning to
/// an output replaces it.
using ForwardHook = std::function<void(const Module& module, const Tensors& inputs, Tensors& outputs)>;

namespace detail {
struct Hooks {
  int next = 0;
  std::vector<std::pair<int, ForwardPreHook>> before;
  std::vector<std::pair<int, ForwardHook>> after;
};
}  // namespace detail

/// Takes its hook away; going out of scope does not. Harmless when the module is gone.
class HookHandle {
 public:
  HookHandle() = default;
  void remove();

 private:
  friend class Module;
  HookHandle(std::weak_ptr<detail::Hooks> hooks, int id) : hooks_(std::move(hooks)), id_(id) {}
  std::weak_ptr<detail::Hooks> hooks_;
  int id_ = -1;
};

}  // namespace attune::nn
