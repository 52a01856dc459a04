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

class AxisIndex;     // autograd/ops/index.h
class ElementIndex;  // autograd/ops/index.h
class Gradient;
class Operand;  // autograd/ops/operand.h
struct BackwardOptions;

/// Functions whose names scripts give to globals of their own (`enum { pad };`, `const int chunk = 64;`) stand here:
/// C++ finds them by the type of their argument, pad(x, ...), and `using namespace attune` brings no such name along.
namespace by_argument {
/// The base by which a type is looked up here.
struct LookedUp {};
}  // namespace by_argument

namespace detail {
/// The innermost element type of nested vectors, and how deep they nest.
template <class V>
struct Nesting {
  using Element = V;
  static constexpr int depth = 0;
};
template <class V>
struct Nesting<std::vector<V>> {
  using Element = typename Nesting<V>::Element;
  static constexpr int depth = Nesting<V>::depth + 1;
};
}  // namespace detail

class Tensor : private by_argument::LookedUp {
 public:
  /// The undefined tensor: no storage, used for absent optional arguments and gradients.
  Tensor() noexcept = default;
  explicit Tensor(Ref<TensorImpl> impl) noexcept : impl_(std::move(impl)) {}
  Tensor(const Tensor&) noexcept = default;
  Tensor(Tensor&&) noexcept = default;
  ~Tensor() = default;
  /// A named tensor becomes another handle to the same elements; nothing is copied.
  Tensor& operator=(const Tensor&) & noexcept = default;
  Tensor& operator=(Tensor&&) & noexcept = default;
  /// An unnamed one, as x[0], gets new elements in place, as by copy_ or fill_ (ops/inplace.h), which x then has.
  /// Throws GradError if the tape would lose a gradient by it.
  void operator=(const Operand& values) &&;

  bool defined() const { return static_cast<bool>(impl_); }
  // No operator bool: say defined(), item(), all() or any().

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

  /// x[2], x[-1], x[Slice{.start = 1, .stop = 3}]: a position of the first axis, which goes, or a part of it. A view,
  /// recorded as select or slice. Throws IndexError out of range and for rank 0. index() takes several axes at once.
  Tensor operator[](const AxisIndex& at) const&;
  Tensor operator[](const AxisIndex& at) &&;
  const Tensor operator[](const AxisIndex& at) const&&;
  /// x[mask], x[indices]: a copy of the elements that a bool mask or an integer tensor names, as by index(). It is
  /// const, because assigning to it would not change x: that is index_put, masked_fill or where.
  const Tensor operator[](const ElementIndex& at) const;

  /// The value of a one-element tensor of any dtype, as double. Throws ShapeError for any other size.
  double item(Here here = Here::current()) const;
  /// The same as T, any arithmetic type, exactly if both are integers. Throws DTypeError if T cannot hold the value.
  template <class T>
  T item(Here here = Here::current()) const;
  /// All elements in row-major order, converted to T, any arithmetic type: real numbers are cut towards zero for an
  /// integer T, and to bool everything but 0 is true. Throws DTypeError if an element is outside of T's range (NaN is
  /// outside of every integer's).
  template <class T>
  std::vector<T> to_vector(Here here = Here::current()) const;
  /// The same for a tensor that must have this shape, in which -1 is any size. Throws ShapeError otherwise.
  template <class T>
  std::vector<T> to_vector(const Shape& expected, Here here = Here::current()) const {
    check_shape(expected, here);
    return to_vector<T>(here);
  }
  /// Vectors in vectors, a level an axis: x.to_nested<std::vector<std::vector<float>>>() of a tensor of rank 2. Throws
  /// ShapeError for another rank, and DTypeError as to_vector.
  template <class V>
  V to_nested(Here here = Here::current()) const {
    check_rank(detail::Nesting<V>::depth, here);
    const auto flat = to_vector<typename detail::Nesting<V>::Element>(here);
    auto at = flat.begin();
    return nested<V>(0, at);
  }
  /// Prints the tensor and a new line to std::cout; also for a debugger: `call x.print()`.
  void print() const;

  // ---- on the tape

  /// Whether a gradient flows here: a leaf that asked for one, or a recorded result.
  bool requires_grad() const;
  /// Asks for a gradient (or, on a leaf, stops asking). Returns itself. Throws DTypeError unless floating, GradError on
  /// a recorded tensor.
  Tensor& requires_grad_(bool on = true, Here here = Here::current());
  bool is_leaf() const;  ///< not the result of a recorded operation
  /// The gradient that backward passes have accumulated here; undefined before the first one. It is a Tensor that,
  /// printed while it is undefined, says why.
  Gradient grad() const;
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

  /// Calls `hook` with this tensor's whole gradient in every backward pass; a defined result replaces it. Returns an
  /// id for remove_hook.
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
  void check_shape(const Shape& expected, Here here) const;
  void check_rank(int rank, Here here) const;
  template <class V, class Iterator>
  V nested(int axis, Iterator& at) const {
    if constexpr (detail::Nesting<V>::depth == 0) {
      return *at++;
    } else {
      V v;
      v.reserve(static_cast<std::size_t>(shape()[axis]));
      for (std::int64_t i = 0; i < shape()[axis]; ++i) v.push_back(nested<typename V::value_type>(axis + 1, at));
      return v;
    }
  }

  Ref<TensorImpl> impl_;
};

/// What Tensor::grad() returns: the gradient or, if that is undefined, an undefined tensor and the reason.
class Gradient : public Tensor {
 public:
  Gradient(const Tensor& g, const char* why_undefined) noexcept : Tensor(g), why_(why_undefined) {}
  Gradient(const Gradient&) noexcept = default;
  Gradient& operator=(const Gradient&) & noexcept = default;
  const char* why_undefined() const { return why_; }  ///< null if it is defined
  void print() const;                                 ///< as Tensor::print, with the reason

 private:
  const char* why_;
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

/// A dense tensor with undefined contents. Throws ShapeError for a negative size or too many bytes.
Tensor empty(const Shape& shape, DType dtype = DType::float32, Here here = Here::current());
/// A view of x's storage off the tape: `offset` in elements from x's first element. The caller guarantees that
/// it stays inside.
Tensor view_of(const Tensor& x, const Shape& shape, const Strides& strides, std::int64_t offset);
/// A tensor over memory that somebody else owns, e.g. a mapped file: nothing is copied, and release_owner (which may be
/// null) is called when the last tensor over it goes. Read-only memory must never be written through it. Throws
/// ShapeError if the shape does not fit in `bytes`, ValueError for null `data` unless the tensor is empty, and for
/// `data` that is not aligned for its dtype.
Tensor from_memory(void* data, std::int64_t bytes, const Shape& shape, DType dtype, std::function<void()> release_owner,
                   Here here = Here::current());

}  // namespace attune
