// The in-place rule: a gradient is added to in place if the sweep or the handle owns its buffer alone and no history is
// wanted, neither for higher derivatives nor by somebody who steps back.

#include "autograd/tape/internal/accumulate.h"

#include <cstring>

#include "autograd/kernels/elementwise.h"
#include "autograd/tape/internal/anomaly.h"
#include "autograd/tape/internal/gradient_ops.h"
#include "autograd/tape/internal/node_access.h"
#include "autograd/tape/internal/sweep_state.h"

namespace attune {

namespace {

bool uniquely_held(const Tensor& t) { return t.impl()->refs.unique() && t.impl()->storage->refs.unique(); }

template <class T>
void add_elements(const Tensor& into, const Tensor& x) {
  auto* y = static_cast<T*>(into.unsafe_data());
  const auto* added = static_cast<const T*>(x.raw());
  if (x.is_contiguous())
    kernels::axpy(T{1}, added, y, x.numel());
  else
    kernels::binary<T>(kernels::Binary::add, into.shape(), {y, into.strides()}, {added, x.strides()}, y);
}

}  // namespace

void add_in_place(const Tensor& into, const Tensor& x, Here here) {
  if (x.dtype() == DType::float32)
    add_elements<float>(into, x);
  else
    add_elements<double>(into, x);
  into.bump_version(here);
}

Tensor dense_copy(const Tensor& x) {
  Tensor y = empty(x.shape(), x.dtype());
  kernels::copy(x.dtype(), x.shape(), x.raw(), x.strides(), y.unsafe_data(), y.strides());
  return y;
}

Tensor filled(const OutputInfo& info, double value) {
  Tensor y = empty(info.shape, info.dtype);
  if (info.dtype == DType::float32)
    kernels::fill(static_cast<float>(value), static_cast<float*>(y.unsafe_data()), y.numel());
  else if (info.dtype == DType::float64)
    kernels::fill(value, static_cast<double*>(y.unsafe_data()), y.numel());
  else
    std::memset(y.unsafe_data(), 0, static_cast<std::size_t>(y.numel()) * size_of(info.dtype));
  return y;
}

/// into += g, where gradients of several users of one result meet.
void Sweep::State::add(Collected& into, const Tensor& g) const {
  if (into.owned && in_place) {
    add_in_place(into.value, g, here);
  } else {
    into.value = add_gradients(into.value, g, here);
    into.owned = true;
  }
}

/// The node's gradients for the handles that keep them: leaves, and recorded tensors that asked for it.
void Sweep::State::give_to_handles(Node& node, Pending& p) {
  const auto& owners = NodeAccess::extras(node).owners;
  const bool last_user = node.is_leaf() && in_place && !watched && owners.size() == 1;
  for (const auto& o : owners) {
    Tensor& g = p.at(o.slot).value;
    if (!g.defined()) continue;
    if (pass) [[unlikely]]
      give_traced(node, o.slot, *o.tensor, g);
    else
      give(*o.tensor, last_user ? std::move(g) : g);
  }
}

void Sweep::State::give(TensorImpl& handle, Tensor g) {
  Tensor& sum = handle.grad;
  if (!sum.defined()) {
    if (!watched) given.emplace_back(&handle);
    if (uniquely_held(g) && g.is_contiguous())
      sum = std::move(g);
    else
      sum = create ? copy_gradient(g, here) : dense_copy(g);
    return;
  }
  if (in_place && uniquely_held(sum) && sum.is_contiguous() && !sum.requires_grad())
    add_in_place(sum, g, here);
  else
    sum = add_gradients(sum, g, here);
  if (thread_state.anomaly)
    search_gradient(*handle.node, "the sum of this pass's gradient and earlier ones", sum, loss);
}

void Sweep::State::take_back() noexcept {
  for (const Ref<TensorImpl>& handle : given) handle->grad = Tensor();
}

}  // namespace attune
