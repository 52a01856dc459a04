// What a handle can do on the tape: the members of Tensor that know nodes.
#include "autograd/kernels/elementwise.h"
#include "autograd/runtime/error.h"
#include "autograd/tape/internal/node_access.h"
#include "autograd/tape/internal/thread_state.h"
#include "autograd/tape/modes.h"

namespace attune {

void forget_gradient_owner(Node& node, const TensorImpl* t) noexcept { NodeAccess::forget_owner(node, t); }

void* Tensor::mutable_typed_data(DType t, Here here) {
  typed_data(t, here);
  if (requires_grad() && !is_leaf())
    throw GradError(std::string("mutable_data: the tensor was recorded by ") + node()->name() + " at " +
                        node()->site().str() + "; change a detached copy",
                    here);
  if (requires_grad() && grad_enabled())
    throw GradError("mutable_data: a leaf that requires a gradient is changed in place only under NoGrad", here);
  bump_version(here);
  return unsafe_data();
}

bool Tensor::requires_grad() const { return node() != nullptr; }
bool Tensor::is_leaf() const { return !node() || node()->is_leaf(); }

Tensor& Tensor::requires_grad_(bool on, Here here) {
  if (!is_leaf())
    throw GradError(std::string("requires_grad_: the tensor was recorded by ") + node()->name() + " at " +
                        node()->site().str() + "; only a leaf can change it (detach() makes one)",
                    here);
  if (on && !is_floating(checked(*this, here).dtype))
    throw DTypeError(std::string("requires_grad_: only floating tensors have gradients, not ") + name_of(dtype()),
                     here);
  if (on == requires_grad()) return *this;
  if (on) {
    NodeAccess::make_leaf(*impl_, here);
  } else {
    NodeAccess::forget_owner(*impl_->node, impl_.get());
    impl_->owns_grad_slot = false;
    impl_->node.reset();
    impl_->grad = Tensor();
  }
  return *this;
}

Gradient Tensor::grad() const {
  const Tensor& g = checked(*this).grad;
  if (g.defined()) return {g, nullptr};
  if (!requires_grad()) return {g, "the tensor requires no gradient; requires_grad_() asks for one before it is used"};
  if (!is_leaf() && !impl_->owns_grad_slot)
    return {g, "the result of an operation keeps its gradient only if retain_grad() is called before backward()"};
  return {g, "no backward pass has reached the tensor since its gradient was last cleared"};
}

void Tensor::set_grad(const Tensor& g, Here here) {
  checked(*this, here);
  if (g.defined() && (g.shape() != shape() || g.dtype() != dtype()))
    throw ShapeError("set_grad: the gradient " + g.shape().str() + " " + name_of(g.dtype()) +
                         " does not fit the tensor " + shape().str() + " " + name_of(dtype()),
                     here);
  impl_->grad = g;
}

void Tensor::zero_grad() {
  checked(*this);
  impl_->grad = Tensor();
}

void Tensor::retain_grad(Here here) {
  if (!requires_grad()) throw GradError("retain_grad: the tensor requires no gradient", here);
  if (impl_->owns_grad_slot) return;
  NodeAccess::own_gradient(*impl_->node, impl_.get());
  impl_->owns_grad_slot = true;
}

Tensor Tensor::detach() const {
  checked(*this);
  return alias(*this, false);
}

namespace {

Tensor cast(const Tensor& x, DType to) {
  Tensor y = empty(x.shape(), to);
  kernels::cast(x.shape(), x.dtype(), x.raw(), x.strides(), to, y.unsafe_data());
  return y;
}

}  // namespace

Tensor& Tensor::convert_(DType to, Here here) {
  if (!is_floating(checked(*this, here).dtype) || !is_floating(to))
    throw DTypeError(std::string("convert_: ") + name_of(dtype()) + " cannot become " + name_of(to) + " in place",
                     here);
  if (!is_leaf())
    throw GradError(
        std::string("convert_: the tensor was recorded by ") + node()->name() + " at " + node()->site().str(), here);
  if (to == dtype()) return *this;
  const Tensor fresh = cast(*this, to), gradient = grad().defined() ? cast(grad(), to) : Tensor();
  Ref<Node> leaf = node() ? NodeAccess::successor(*impl_, {shape(), to}, here) : Ref<Node>();
  // Nothing throws from here on. What saved the old elements or this handle finds another version.
  bump_version(here);
  TensorImpl& from = *fresh.impl();
  from.storage->version.store(version(), std::memory_order_relaxed);
  from.storage->last_change = here;
  impl_->dtype = to;
  impl_->storage = from.storage;
  impl_->data = from.data;
  impl_->contiguous = true;
  impl_->strides = from.strides;
  impl_->grad = gradient;
  if (leaf) impl_->node = std::move(leaf);
  return *this;
}

}  // namespace attune
