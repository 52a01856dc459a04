#include "autograd/tensor/tensor.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <new>

#include "autograd/runtime/error.h"
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

template <class From, class To>
void convert(const TensorImpl& t, To* out) {
  // Row-major walk over any strides.
  if (t.numel == 0) return;
  Shape at;
  at.resize(t.shape.rank());
  const From* base = reinterpret_cast<const From*>(t.data);
  for (std::int64_t n = 0; n < t.numel; ++n) {
    std::int64_t offset = 0;
    for (int i = 0; i < at.rank(); ++i) offset += at[i] * t.strides[i];
    out[n] = static_cast<To>(base[offset]);
    for (int i = at.rank() - 1; i >= 0 && ++at[i] == t.shape[i]; --i) at[i] = 0;
  }
}

template <class To>
void convert_any(const TensorImpl& t, To* out) {
  switch (t.dtype) {
    case DType::float32: return convert<float>(t, out);
    case DType::float64: return convert<double>(t, out);
    case DType::int64: return convert<std::int64_t>(t, out);
    case DType::int32: return convert<std::int32_t>(t, out);
    case DType::boolean: return convert<bool>(t, out);
  }
}

}  // namespace

Tensor empty(const Shape& shape, DType dtype) {
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

Tensor from_memory(void* data, std::int64_t bytes, const Shape& shape, DType dtype,
                   std::function<void()> release_owner) {
  const std::int64_t n = numel(shape);
  std::int64_t needed = 0;
  if (__builtin_mul_overflow(n, static_cast<std::int64_t>(size_of(dtype)), &needed) || needed > bytes)
    throw ShapeError("from_memory: " + shape.str() + " " + name_of(dtype) + " does not fit in " +
                     std::to_string(bytes) + " bytes");
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

double Tensor::item(Here here) const {
  if (checked(*this, here).numel != 1) throw ShapeError("item: needs one element, got " + shape().str(), here);
  double v = 0;
  convert_any(*impl_, &v);
  return v;
}

template <class T>
std::vector<T> Tensor::to_vector() const {
  std::vector<T> v(static_cast<std::size_t>(numel()));
  convert_any(*impl_, v.data());
  return v;
}
template std::vector<float> Tensor::to_vector<float>() const;
template std::vector<double> Tensor::to_vector<double>() const;
template std::vector<std::int64_t> Tensor::to_vector<std::int64_t>() const;
template std::vector<std::int32_t> Tensor::to_vector<std::int32_t>() const;

}  // namespace attune
