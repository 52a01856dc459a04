// Tensors from numbers, lists and containers.

#include <cstring>

#include "autograd/ops/create.h"
#include "autograd/ops/internal/apply.h"
#include "autograd/runtime/convert.h"

namespace attune {

using detail::Number;
using What = NestedValues::What;

namespace {

/// Calls f(T{}) with the element type of a run.
template <class F>
decltype(auto) with_number(Number t, F&& f) {
  switch (t) {
    case Number::f32: return f(float{});
    case Number::f64: return f(double{});
    case Number::i8: return f(std::int8_t{});
    case Number::i16: return f(std::int16_t{});
    case Number::i32: return f(std::int32_t{});
    case Number::i64: return f(std::int64_t{});
    case Number::u8: return f(std::uint8_t{});
    case Number::u16: return f(std::uint16_t{});
    case Number::u32: return f(std::uint32_t{});
    case Number::u64: return f(std::uint64_t{});
    default: return f(bool{});
  }
}

/// The sizes along the first element of each level; whether the others agree is seen when they are read.
Shape shape_of(const Op& op, const NestedValues& values) {
  Shape shape;
  for (const NestedValues* v = &values; v && v->what() != What::number;) {
    if (shape.rank() == max_rank)
      op.fail_shape("lists are nested deeper than the " + std::to_string(max_rank) + " axes of a tensor");
    shape.push_back(v->count());
    v = v->what() == What::list && v->count() > 0 ? &v->list()[0] : nullptr;
  }
  return shape;
}

/// "[1][0]": where in the lists.
std::string place(const std::vector<std::int64_t>& at) {
  std::string s;
  for (std::int64_t i : at) s += "[" + std::to_string(i) + "]";
  return s;
}

/// Throws ShapeError unless every list of a level has the same number of elements, and numbers stand at one depth.
class Evenness {
 public:
  Evenness(const Op& op, const Shape& shape) : op_(op), shape_(shape) {}

  void check(const NestedValues& v) {
    const auto level = static_cast<int>(at_.size());
    const bool is_number = v.what() == What::number;
    if (is_number != (level == shape_.rank()) || (v.what() == What::run && level + 1 != shape_.rank()) ||
        (!is_number && v.count() != shape_[level]))
      fail(v, level);
    if (v.what() != What::list) return;
    at_.push_back(0);
    for (const NestedValues& e : v.list()) {
      check(e);
      ++at_.back();
    }
    at_.pop_back();
  }

 private:
  [[noreturn]] void fail(const NestedValues& v, int level) const {
    const auto described = [](std::int64_t count) {
      return count < 0 ? std::string("is a number") : "has " + std::to_string(count) + " elements";
    };
    const std::int64_t found = v.what() == What::number ? -1 : v.count();
    const std::int64_t expected = level < shape_.rank() ? shape_[level] : -1;
    const std::string here = place(at_), first = place(std::vector<std::int64_t>(at_.size(), 0));
    if (found == expected) op_.fail_shape("ragged lists: " + here + " and " + first + " are not nested equally deep");
    op_.fail_shape("ragged lists: " + here + " " + described(found) + ", but " + first + " " + described(expected));
  }

  const Op& op_;
  const Shape& shape_;
  std::vector<std::int64_t> at_;
};

/// Writes numbers one after the other, converted to T.
template <class T>
class Writer {
 public:
  Writer(const Op& op, DType dtype, T* out) : op_(op), dtype_(dtype), out_(out) {}

  void write(const NestedValues& v) {
    if (v.what() == What::number && v.number().integral()) {
      put(v.number().integer());
    } else if (v.what() == What::number) {
      put(v.number().real());
    } else if (v.what() == What::run) {
      with_number(v.type(), [&]<class From>(From) { put_all(static_cast<const From*>(v.run()), v.count()); });
    } else {
      for (const NestedValues& e : v.list()) write(e);
    }
  }

 private:
  template <class From>
  void put_all(const From* from, std::int64_t count) {
    if constexpr (std::is_same_v<From, T>) {
      if (count != 0) std::memcpy(out_ + written_, from, static_cast<std::size_t>(count) * sizeof(T));
      written_ += count;
    } else {
      for (std::int64_t i = 0; i < count; ++i) put(from[i]);
    }
  }

  template <class From>
  void put(From v) {
    if (!detail::in_range_of<T>(v)) [[unlikely]]
      op_.fail_dtype("element " + std::to_string(written_) + ", " + detail::number_text(v) +
                     ", does not fit the dtype " + name_of(dtype_));
    out_[written_++] = detail::cut_to<T>(v);
  }

  const Op& op_;
  DType dtype_;
  T* out_;
  std::int64_t written_ = 0;
};

/// What the kinds of numbers among the values ask for.
struct Kinds {
  bool real = false, integer = false, boolean = false;
  bool fraction = false;  // a real number in braces that is no integer of C++

  void see(const NestedValues& v) {
    if (v.what() == What::number) {
      real = true;
      fraction |= !v.number().integral();
    } else if (v.typed()) {
      const bool floating = v.type() == Number::f32 || v.type() == Number::f64;
      real |= floating;
      fraction |= floating;
      boolean |= v.type() == Number::boolean;
      integer |= !floating && v.type() != Number::boolean;
    } else {
      for (const NestedValues& e : v.list()) see(e);
    }
  }
  DType dtype() const {
    if (integer && !real && !boolean) return DType::int64;
    if (boolean && !real && !integer) return DType::boolean;
    return DType::float32;
  }
};

Tensor from_values(const Op& op, const NestedValues& values, const Shape* shape, DType dtype) {
  const Shape found = shape_of(op, values);
  Evenness(op, found).check(values);
  const Shape& wanted = shape ? *shape : found;
  if (const std::int64_t have = numel(found), need = numel(wanted); have != need)
    op.fail_shape(std::to_string(have) + (have == 1 ? " value does" : " values do") + " not fill " + wanted.str() +
                  ", which needs " + std::to_string(need));
  Tensor y = op.empty(wanted, dtype);
  detail::with_any(dtype, [&]<class T>(T) { Writer<T>(op, dtype, detail::elements<T>(y)).write(values); });
  return y;
}

Tensor made(const NestedValues& values, const Shape* shape, std::optional<DType> dtype, Here here) {
  const Op op{"tensor", here};
  if (dtype) return from_values(op, values, shape, *dtype);
  Kinds kinds;
  kinds.see(values);
  return from_values(op, values, shape, kinds.dtype());
}

Tensor made_indices(const NestedValues& values, const Shape* shape, Here here) {
  const Op op{"index_tensor", here};
  Kinds kinds;
  kinds.see(values);
  if (kinds.fraction) op.fail_dtype("needs integers, got real numbers");
  return from_values(op, values, shape, DType::int64);
}

}  // namespace

void NestedValues::keep() {
  for (NestedValues& e : list_) e.keep();
  if (what_ != What::run || !run_) return;
  const std::size_t bytes = static_cast<std::size_t>(count_) * with_number(type_, []<class T>(T) { return sizeof(T); });
  keep_bytes(run_, bytes);
  run_ = nullptr;
}

void NestedValues::keep_bytes(const void* bytes, std::size_t count) {
  const auto* from = static_cast<const unsigned char*>(bytes);
  kept_.insert(kept_.end(), from, from + count);
}

Tensor tensor(const NestedValues& values, std::optional<DType> dtype, Here here) {
  return made(values, nullptr, dtype, here);
}
Tensor tensor(const NestedValues& values, const Shape& shape, std::optional<DType> dtype, Here here) {
  return made(values, &shape, dtype, here);
}
Tensor tensor(const NestedValues& values, std::initializer_list<std::int64_t> shape, std::optional<DType> dtype,
              Here here) {
  const Shape s(shape);
  return made(values, &s, dtype, here);
}
Tensor index_tensor(const NestedValues& values, Here here) { return made_indices(values, nullptr, here); }
Tensor index_tensor(const NestedValues& values, const Shape& shape, Here here) {
  return made_indices(values, &shape, here);
}

}  // namespace attune
