// Tensor: a handle to a strided view of shared storage, and to its place on the tape.
//
// Copying a Tensor copies the handle, not the elements. A Tensor that requires a gradient has a node: the operation
// that made it, or a leaf where gradients collect. Operations are free functions (autograd/ops/); this header has only
// what a handle can answer by itself.
#pragma once

#include <cstdint>
#include <functional>
#include <initializer_list>
#include <string>
#include <vector>

#include "autograd/runtime/dtype.h"
#include "autograd/runtime/here.h"
#include "autograd/runtime/intrusive.h"
#include "autograd/runtime/shape.h"

namespace attune {

class Node;
struct Storage;
struct TensorImpl;
void retain(Storage* s) noexcept;
void release(Storage* s) noexcept;
void retain(TensorImpl* t) noexcept;
void release(TensorImpl* t) noexcept;
void retain(Node* n) noexcept;
void release(Node* n) noexcept;

struct BackwardOptions;

class Tensor {
 public:
  /// The undefined tensor: no storage, used for absent optional arguments and gradients.
  Tensor() noexcept = default;
  explicit Tensor(Ref<TensorImpl> impl) noexcept : impl_(std::move(impl)) {}

  bool defined() const { return static_cast<bool>(impl_); }
  explicit operator bool() const = delete;  // say defined(), or item()

  const Shape& shape() const;
  const Strides& strides() const;  ///< in elements
  DType dtype() const;
  int rank() const;
  std::int64_t numel() const;
  /// The size along `axis`; negative axes count from the end. Throws IndexError.
  std::int64_t size(std::int64_t axis, Here here = Here::current()) const;
  bool is_contiguous() const;

  /// The first element. T must be the element type of dtype() (DTypeError otherwise). Elements lie at strides().
  template <class T>
  const T* data(Here here = Here::current()) const {
    return static_cast<const T*>(typed_data(dtype_of<T>, here));
  }
  /// The first element, for writing: counts as an in-place change, so a backward pass that had saved this storage
  /// refuses to run on it. Throws GradError for a recorded tensor, and for a leaf that requires a gradient
  /// outside of no_grad.
  template <class T>
  T* mutable_data(Here here = Here::current()) {
    return static_cast<T*>(mutable_typed_data(dtype_of<T>, here));
  }

  /// The value of a one-element tensor of any dtype, as double. Throws ShapeError for any other size.
  double item(Here here = Here::current()) const;
  /// All elements in row-major order, converted to T (float, double, std::int64_t, std::int32_t).
  template <class T>
  std::vector<T> to_vector() const;

  // ---- on the tape

  /// Whether a gradient flows here: a leaf that asked for one, or a recorded result.
  bool requires_grad() const;
  /// Asks for a gradient (or, on a leaf, stops asking). Returns itself. Throws DTypeError unless floating, GradError on
  /// a recorded tensor.
  Tensor& requires_grad_(bool on = true, Here here = Here::current());
  bool is_leaf() const;  ///< not the result of a recorded operation
  /// The gradient that backward passes have accumulated here; undefined before the first one.
  Tensor grad() const;
  /// g has this tensor's shape and dtype; an undefined one clears the gradient.
  void set_grad(const Tensor& g, Here here = Here::current());
  void zero_grad();  ///< the gradient becomes undefined
  /// Lets a recorded tensor keep its gradient in grad() too.
  void retain_grad(Here here = Here::current());

  /// Accumulates d(this)/d(leaf) into every leaf's grad(). `this` must have one element, unless
  /// options.gradient is given.
  void backward(Here here = Here::current()) const;
  void backward(const BackwardOptions& options, Here here = Here::current()) const;

  /// The same elements off the tape.
  Tensor detach() const;

  /// Converts the elements in place, and the gradient with them: this handle and its copies (an optimiser's, say) then
  /// hold them in `dtype`, in fresh dense memory; hooks stay. Detached handles and views keep the old elements. A
  /// backward pass of what was recorded before throws GradError. Throws DTypeError unless both dtypes are floating,
  /// GradError for a recorded tensor.
  Tensor& convert_(DType dtype, Here here = Here::current());

  /// Calls `hook` with this tensor's whole gradient in every backward pass; a defined result replaces it. Returns an
  /// id for remove_hook. A recorded tensor's hooks go with its graph, a leaf's with the leaf: one that holds a tensor
  /// computed from that leaf keeps both alive until it is removed. Throws GradError for a hook that captures this very
  /// tensor, and if it requires no gradient.
  int register_hook(std::function<Tensor(const Tensor& grad)> hook, Here here = Here::current());
  void remove_hook(int id);

  // ---- for operations

  TensorImpl* impl() const { return impl_.get(); }
  Node* node() const;             ///< null if no gradient is required
  std::uint32_t slot() const;     ///< which output of node() this is
  std::uint32_t version() const;  ///< counts in-place changes of the storage
  bool same_storage(const Tensor& o) const;
  /// Counts an in-place change made at `here`.
  void bump_version(Here here) const;
  const void* raw() const;  ///< the first element, untyped
  /// The same for kernels that write: it checks nothing and counts no change, so it is for fresh tensors and for those
  /// who call bump_version().
  void* unsafe_data() const;

 private:
  const void* typed_data(DType t, Here here) const;
  void* mutable_typed_data(DType t, Here here);

  Ref<TensorImpl> impl_;
};

using Tensors = std::vector<Tensor>;

namespace detail {
/// The first element as a kernel takes it, or null if x is undefined: `elements<const T>(x)` to read,
/// `elements<T>(y)` to write (see unsafe_data). T is the element type of x's dtype, unchecked.
template <class T>
T* elements(const Tensor& x) {
  return x.defined() ? static_cast<T*>(x.unsafe_data()) : nullptr;
}
}  // namespace detail

// ---- making handles; elements are not initialised

/// A dense tensor with undefined contents.
Tensor empty(const Shape& shape, DType dtype = DType::float32);
/// A view of x's storage off the tape: `offset` in elements from x's first element. The caller guarantees that
/// it stays inside.
Tensor view_of(const Tensor& x, const Shape& shape, const Strides& strides, std::int64_t offset);
/// A tensor over memory that somebody else owns (`owner` keeps it alive), e.g. a mapped file. Read-only memory must
/// never be written through it.
Tensor from_memory(void* data, std::int64_t bytes, const Shape& shape, DType dtype,
                   std::function<void()> release_owner);

}  // namespace attune
