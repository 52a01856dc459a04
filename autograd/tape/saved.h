// Tensors that a rule keeps for the backward pass.
#pragma once

#include <functional>

#include "autograd/tape/node.h"

namespace attune {

/// A tensor kept for the backward pass, with the version that was seen.
class Saved {
 public:
  Saved() = default;
  /// Shares x. A leaf is shared without its gradient, so that a graph never owns the gradients computed from it.
  explicit Saved(const Tensor& x);
  /// The tensor. Throws GradError, with both call sites, if it was changed in place since.
  const Tensor& get() const {
    if (tensor_.defined() && tensor_.version() != version_) fail();
    return tensor_;
  }
  operator const Tensor&() const { return get(); }

 private:
  [[noreturn]] void fail() const;
  Tensor tensor_;
  std::uint32_t version_ = 0;
};

/// A tensor that a rule needs, or, if the operation that made it keeps its own argument anyway, the way to make it
/// again: a layer after gelu then keeps one large tensor of the two.
class SavedOrRemade {
 public:
  explicit SavedOrRemade(const Tensor& x);
  /// Throws as Saved::get does.
  Tensor get() const;

 private:
  Saved saved_;
  std::function<Tensor()> remake_;
  Ref<Node> node_;  // whose result it is
  std::uint32_t slot_ = 0;
};

namespace detail {
/// While tracing: what was saved on this thread since the last call, and still is.
Tensors take_saved();
/// Whether it is recorded, and large.
bool worth_remaking(const Tensor& y);
void set_remake(const Tensor& y, std::function<Tensor()> remake);
}  // namespace detail

/// Lets users of y make it again instead of keeping it, if it is recorded and large enough to matter. `remake` gives a
/// tensor of y's shape, dtype and elements and keeps nothing that y's node does not keep: if that was changed in place
/// since, the users' backward passes fail too. Of an operation's outputs one can be made again, the last that was
/// named.
template <class F>
void allow_remake(const Tensor& y, F remake) {
  if (detail::worth_remaking(y)) detail::set_remake(y, std::move(remake));
}

}  // namespace attune
