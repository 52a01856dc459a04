#include "autograd/tensor/tensor.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <new>
#include <string>

#include "autograd/runtime/convert.h"
#include "autograd/runtime/dispatch.h"
#include "autograd/runtime/error.h"
#include "autograd/runtime/frame.h"
#include "autograd/runtime/memory.h"
#include "autograd/tensor/internal/tensor_impl.h"

namespace attune {

// ---- storage and handles

void retain(Storage* s) noexcept { s->refs.retain(); }

void release(Storage* s) noexcept {
  if (!s->refs.release()) return;
  if (s->release_owner) {
    (*s->release_owner)();
    delete s->release_owner;
  }
  const std::size_t bytes = s->block_bytes;
  s->~Storage();
  pool::deallocate(s, bytes);
}

void retain(TensorImpl* t) noexcept { t->refs.retain(); }

void release(TensorImpl* t) noexcept {
  if (!t->refs.release()) return;
  if (t->owns_grad_slot) forget_gradient_owner(*t->node, t);
  t->~TensorImpl();
  pool::deallocate(t, sizeof(TensorImpl));
}

const TensorImpl& checked(const Tensor& x, Here here) {
  if (!x.defined())
    throw ValueError("tensor: undefined (default-constructed, or a gradient that was never computed)", here);
  return *x.impl();
}

namespace {

Ref<TensorImpl> new_impl() { return Ref<TensorImpl>::adopt(new (pool::allocate(sizeof(TensorImpl))) TensorImpl); }

/// Calls f(n, element) for every element in row-major order, over any strides.
template <class From, class F>
void each_element(const TensorImpl& t, F&& f) {
  const From* base = reinterpret_cast<const From*>(t.data);
  if (t.contiguous) {
    for (std::int64_t n = 0; n < t.numel; ++n) f(n, base[n]);
    return;
  }
  Shape at;
  at.resize(t.shape.rank());
  for (std::int64_t n = 0; n < t.numel; ++n) {
    std::int64_t offset = 0;
    for (int i = 0; i < at.rank(); ++i) offset += at[i] * t.strides[i];
    f(n, base[offset]);
    for (int i = at.rank() - 1; i >= 0 && ++at[i] == t.shape[i]; --i) at[i] = 0;
  }
}

/// Every element as To; `out` takes them by out(n, value).
template <class To, class Out>
void convert(const char* what, const TensorImpl& t, Here here, Out&& out) {
  detail::with_any(t.dtype, [&]<class From>(From) {
    each_element<From>(t, [&](std::int64_t n, From v) {
      if (!detail::in_range_of<To>(v))
        throw DTypeError(std::string(what) + ": element " + std::to_string(n) + " of " + t.shape.str() + " " +
                             name_of(t.dtype) + ", " + detail::number_text(v) + ", is outside of the range of the type",
                         here);
      out(n, detail::cut_to<To>(v));
    });
  });
}

}  // namespace

namespace {

Tensor allocated(const Shape& shape, DType dtype) {
  const std::int64_t n = numel(shape);
  std::int64_t bytes = 0;
  if (__builtin_mul_overflow(n, static_cast<std::int64_t>(size_of(dtype)), &bytes) ||
      __builtin_add_overflow(bytes, static_cast<std::int64_t>(sizeof(Storage)), &bytes))
    throw ShapeError("empty: the bytes of " + shape.str() + " " + name_of(dtype) + " overflow 64 bits");
  auto* storage = new (pool::allocate(static_cast<std::size_t>(bytes))) Storage;
  storage->block_bytes = static_cast<std::size_t>(bytes);
  storage->data = reinterpret_cast<std::byte*>(storage) + sizeof(Storage);
  Ref<Storage> owner = Ref<Storage>::adopt(storage);
  Ref<TensorImpl> t = new_impl();
  t->dtype = dtype;
  t->data = static_cast<std::byte*>(storage->data);
  t->storage = std::move(owner);
  t->numel = n;
  t->shape = shape;
  t->strides = contiguous_strides(shape);
  return Tensor(std::move(t));
}

}  // namespace

Tensor empty(const Shape& shape, DType dtype, Here here) {
  try {
    return allocated(shape, dtype);
  } catch (const Error&) {
    if (Frame::top()) throw;  // an operation's: its name and line are known
    const Frame frame("empty", here);
    return allocated(shape, dtype);  // throws again, with the line; a frame each time would cost every operation
  }
}

Tensor view_of(const Tensor& x, const Shape& shape, const Strides& strides, std::int64_t offset) {
  const TensorImpl& from = *x.impl();
  Ref<TensorImpl> t = new_impl();
  t->dtype = from.dtype;
  t->storage = from.storage;
  t->data = from.data + offset * static_cast<std::int64_t>(size_of(from.dtype));
  t->numel = numel(shape);
  t->shape = shape;
  t->strides = strides;
  t->contiguous = is_contiguous(shape, strides);
  return Tensor(std::move(t));
}

Tensor from_memory(void* data, std::int64_t bytes, const Shape& shape, DType dtype, std::function<void()> release_owner,
                   Here here) {
  const Frame frame("from_memory", here);
  const std::int64_t n = numel(shape);
  std::int64_t needed = 0;
  if (__builtin_mul_overflow(n, static_cast<std::int64_t>(size_of(dtype)), &needed) || needed > bytes)
    throw ShapeError("from_memory: " + shape.str() + " " + name_of(dtype) + " does not fit in " +
                     std::to_string(bytes) + " bytes");
  if (!data && needed != 0)
    throw ValueError("from_memory: the memory is null; " + shape.str() + " " + name_of(dtype) + " needs " +
                     std::to_string(needed) + " bytes");
  if (reinterpret_cast<std::uintptr_t>(data) % size_of(dtype) != 0)
    throw ValueError("from_memory: the memory is not aligned for " + std::string(name_of(dtype)) + ": its address is " +
                     "no multiple of " + std::to_string(size_of(dtype)));
  auto* storage = new (pool::allocate(sizeof(Storage))) Storage;
  storage->block_bytes = sizeof(Storage);
  storage->data = data;
  if (release_owner) storage->release_owner = new std::function<void()>(std::move(release_owner));
  Ref<TensorImpl> t = new_impl();
  t->dtype = dtype;
  t->data = static_cast<std::byte*>(data);
  t->storage = Ref<Storage>::adopt(storage);
  t->numel = n;
  t->shape = shape;
  t->strides = contiguous_strides(shape);
  return Tensor(std::move(t));
}

Tensor alias(const Tensor& x, bool on_tape) { return rewrap(x, on_tape ? x.node() : nullptr, x.slot()); }

Tensor rewrap(const Tensor& x, Node* node, std::uint32_t slot) {
  const TensorImpl& from = *x.impl();
  Ref<TensorImpl> t = new_impl();
  t->dtype = from.dtype;
  t->contiguous = from.contiguous;
  t->storage = from.storage;
  t->data = from.data;
  t->numel = from.numel;
  t->shape = from.shape;
  t->strides = from.strides;
  t->node = Ref<Node>(node);
  t->slot = slot;
  return Tensor(std::move(t));
}

// ---- what a handle knows

const Shape& Tensor::shape() const { return checked(*this).shape; }
const Strides& Tensor::strides() const { return checked(*this).strides; }
DType Tensor::dtype() const { return checked(*this).dtype; }
int Tensor::rank() const { return checked(*this).shape.rank(); }
std::int64_t Tensor::numel() const { return checked(*this).numel; }
bool Tensor::is_contiguous() const { return checked(*this).contiguous; }
const void* Tensor::raw() const { return checked(*this).data; }
void* Tensor::unsafe_data() const { return checked(*this).data; }
std::uint32_t Tensor::version() const { return checked(*this).storage->version.load(std::memory_order_relaxed); }
bool Tensor::same_storage(const Tensor& o) const { return checked(*this).storage == checked(o).storage; }
Node* Tensor::node() const { return impl_ ? impl_->node.get() : nullptr; }
std::uint32_t Tensor::slot() const { return checked(*this).slot; }

std::int64_t Tensor::size(std::int64_t axis, Here here) const {
  const std::int64_t r = checked(*this, here).shape.rank(), a = axis < 0 ? axis + r : axis;
  if (a < 0 || a >= r)
    throw IndexError("size: axis " + std::to_string(axis) + " is out of range for shape " + shape().str(), here);
  return shape()[static_cast<int>(a)];
}

void Tensor::bump_version(Here here) const {
  Storage& s = *checked(*this).storage;
  s.last_change = here;
  s.version.fetch_add(1, std::memory_order_relaxed);
}

const void* Tensor::typed_data(DType t, Here here) const {
  if (checked(*this, here).dtype != t)
    throw DTypeError(std::string("data: the tensor is ") + name_of(dtype()) + ", not " + name_of(t), here);
  return raw();
}

void Tensor::check_shape(const Shape& expected, Here here) const {
  const Shape& found = checked(*this, here).shape;
  bool same = found.rank() == expected.rank();
  for (int i = 0; same && i < found.rank(); ++i) same = expected[i] == -1 || expected[i] == found[i];
  if (!same) throw ShapeError("to_vector: expected " + expected.str() + ", the tensor is " + found.str(), here);
}

void Tensor::check_rank(int rank, Here here) const {
  if (const Shape& found = checked(*this, here).shape; found.rank() != rank)
    throw ShapeError("to_nested: vectors nested " + std::to_string(rank) + " deep need a tensor of rank " +
                         std::to_string(rank) + ", got " + found.str(),
                     here);
}

double Tensor::item(Here here) const { return item<double>(here); }

template <class T>
T Tensor::item(Here here) const {
  if (checked(*this, here).numel != 1) throw ShapeError("item: needs one element, got " + shape().str(), here);
  T value{};
  convert<T>("item", *impl_, here, [&](std::int64_t, T v) { value = v; });
  return value;
}

template <class T>
std::vector<T> Tensor::to_vector(Here here) const {
  std::vector<T> values(static_cast<std::size_t>(checked(*this, here).numel));
  convert<T>("to_vector", *impl_, here, [&](std::int64_t n, T v) { values[static_cast<std::size_t>(n)] = v; });
  return values;
}

#define ATTUNE_CONVERSIONS(T)             \
  template T Tensor::item<T>(Here) const; \
  template std::vector<T> Tensor::to_vector<T>(Here) const;
ATTUNE_CONVERSIONS(bool)
ATTUNE_CONVERSIONS(char)
ATTUNE_CONVERSIONS(signed char)
ATTUNE_CONVERSIONS(unsigned char)
ATTUNE_CONVERSIONS(short)
ATTUNE_CONVERSIONS(unsigned short)
ATTUNE_CONVERSIONS(int)
ATTUNE_CONVERSIONS(unsigned)
ATTUNE_CONVERSIONS(long)
ATTUNE_CONVERSIONS(unsigned long)
ATTUNE_CONVERSIONS(long long)
ATTUNE_CONVERSIONS(unsigned long long)
ATTUNE_CONVERSIONS(float)
ATTUNE_CONVERSIONS(double)
ATTUNE_CONVERSIONS(long double)

}  // namespace attune
