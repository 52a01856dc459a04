#include "nn/hooks.h"

#include "autograd/runtime/error.h"
#include "nn/module.h"

namespace attune::nn {

void HookHandle::remove() {
  const auto hooks = hooks_.lock();
  if (!hooks) return;
  std::erase_if(hooks->before, [this](const auto& h) { return h.first == id_; });
  std::erase_if(hooks->after, [this](const auto& h) { return h.first == id_; });
  hooks_.reset();
}

HookHandle Module::register_forward_pre_hook(ForwardPreHook hook) {
  if (!hooks_) hooks_ = std::make_shared<detail::Hooks>();
  hooks_->before.emplace_back(hooks_->next, std::move(hook));
  return {hooks_, hooks_->next++};
}

HookHandle Module::register_forward_hook(ForwardHook hook) {
  if (!hooks_) hooks_ = std::make_shared<detail::Hooks>();
  hooks_->after.emplace_back(hooks_->next, std::move(hook));
  return {hooks_, hooks_->next++};
}

Scope::~Scope() noexcept(false) {
  if (!hooks_ || std::uncaught_exceptions() != exceptions_) return;
  if ((!saw_inputs_ && !hooks_->before.empty()) || (!saw_outputs_ && !hooks_->after.empty()))
    throw ValueError(std::string(name()) +
                     ": has hooks, but its call does not hand its tensors to them: see Scope::in "
                     "and Scope::out");
}

const Tensors& Scope::before(Tensors xs) const {
  saw_inputs_ = true;
  inputs_ = std::move(xs);
  const std::size_t count = inputs_.size();
  const auto hooks = hooks_->before;  // a copy: a hook may remove itself
  for (const auto& [id, hook] : hooks) {
    hook(module_, inputs_);
    if (inputs_.size() != count) throw ValueError("a hook changed how many inputs there are");
  }
  return inputs_;
}

void Scope::after(std::initializer_list<Tensor*> ys) const {
  saw_outputs_ = true;
  Tensors outputs;
  for (const Tensor* y : ys) outputs.push_back(*y);
  const auto hooks = hooks_->after;
  for (const auto& [id, hook] : hooks) {
    hook(module_, inputs_, outputs);
    if (outputs.size() != ys.size()) throw ValueError("a hook changed how many outputs there are");
  }
  std::size_t i = 0;
  for (Tensor* y : ys) *y = outputs[i++];
}

}  // namespace attune::nn
