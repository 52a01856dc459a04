// What a Tensor points to. For the tensor and the tape; operations use the handle.
#pragma once

#include <atomic>
#include <cstddef>
#include <functional>
#include <memory>

#include "autograd/runtime/ref_count.h"
#include "autograd/tensor/named.h"
#include "autograd/tensor/tensor.h"

namespace attune {

/// One allocation: this header, then the elements 64 bytes further on (or, for foreign memory, elsewhere).
struct alignas(64) Storage {
  RefCount refs;
  std::atomic<std::uint32_t> version{0};
  std::size_t block_bytes = 0;  // what the pool was asked for
  void* data = nullptr;
  std::function<void()>* release_owner = nullptr;
  Here last_change;  // the latest in-place change
};

struct TensorImpl {
  RefCount refs;
  DType dtype = DType::float32;
  bool contiguous = true;
  bool owns_grad_slot = false;  // the node knows this handle and must be told when it goes
  std::uint32_t slot = 0;
  Ref<Storage> storage;
  std::byte* data = nullptr;
  std::int64_t numel = 0;
  Shape shape;
  Strides strides;
  Ref<Node> node;
  Tensor grad;
  std::shared_ptr<const NameSource> name;
};

/// What x points to. Throws ValueError for an undefined tensor: a clear error instead of a crash.
const TensorImpl& checked(const Tensor& x, Here here = {});
/// Tells a node that the handle which keeps its gradient is gone. Defined by the tape.
void forget_gradient_owner(Node& node, const TensorImpl* t) noexcept;
/// A handle to the same elements (and, if `on_tape`, the same place on the tape) that does not own the gradient.
Tensor alias(const Tensor& x, bool on_tape);
/// A handle to x's elements as output `slot` of `node`.
Tensor rewrap(const Tensor& x, Node* node, std::uint32_t slot);

}  // namespace attune
