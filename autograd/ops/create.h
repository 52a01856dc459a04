// Making tensors.
//
//     tensor({1, 2, 3})                          // float32 [3]: what stands in braces are numbers of no type
//     tensor({{1, 2}, {3, 4}}, int64)            // int64 [2, 2]
//     tensor(std::vector<long>{1, 2, 3})         // int64 [3]
//     tensor(std::vector<float>(6), {2, 3})      // float32 [2, 3]
//     tensor(std::vector<bool>{true, false})     // bool [2]
//     full({2, 3}, 0.5)    zeros({2, 3})    arange(6)    eye(3)    scalar(2)    and randn, rand: autograd/ops/random.h
#pragma once

#include <initializer_list>
#include <iterator>
#include <optional>
#include <type_traits>
#include <vector>

#include "autograd/runtime/scalar.h"
#include "autograd/tensor/tensor.h"

namespace attune {

namespace detail {

/// The arithmetic types that elements come in.
enum class Number : std::uint8_t { f32, f64, i8, i16, i32, i64, u8, u16, u32, u64, boolean };

template <class T>
constexpr Number number_of() {
  if constexpr (std::is_same_v<T, bool>)
    return Number::boolean;
  else if constexpr (std::is_floating_point_v<T>)
    return sizeof(T) == 4 ? Number::f32 : Number::f64;
  else if constexpr (std::is_signed_v<T>)
    return sizeof(T) == 1 ? Number::i8 : sizeof(T) == 2 ? Number::i16 : sizeof(T) == 4 ? Number::i32 : Number::i64;
  else
    return sizeof(T) == 1 ? Number::u8 : sizeof(T) == 2 ? Number::u16 : sizeof(T) == 4 ? Number::u32 : Number::u64;
}

template <class R>
using ElementOf = std::remove_cvref_t<decltype(*std::begin(std::declval<const R&>()))>;

/// Whether R is a range of numbers, or of such ranges. Text is none: a literal would bring its closing zero along.
template <class R, class = void>
struct HoldsNumbers : std::false_type {};
template <class R>
struct HoldsNumbers<R, std::void_t<ElementOf<R>>>
    : std::bool_constant<!(std::is_array_v<R> && std::is_same_v<ElementOf<R>, char>)&&(
          std::is_arithmetic_v<ElementOf<R>> ||
          (!std::is_same_v<ElementOf<R>, R> && HoldsNumbers<ElementOf<R>>::value))> {};

}  // namespace detail

/// What tensor() takes: a number; a braced list; any container of numbers of any arithmetic type (std::vector,
/// std::array, std::span, ...); and these in each other, a level an axis. It refers to a container, which must outlive
/// it: it is for arguments, not for variables.
class NestedValues {
 public:
  template <class T>
  requires std::is_convertible_v<T, Scalar> NestedValues(T v) : what_(What::number), number_(v) {}
  NestedValues(std::initializer_list<NestedValues> list) : what_(What::list), list_(list) {}
  template <class R>
  requires detail::HoldsNumbers<R>::value NestedValues(const R& range) {
    using Element = detail::ElementOf<R>;
    if constexpr (!std::is_arithmetic_v<Element>) {
      what_ = What::list;
      typed_ = true;
      type_ = innermost<Element>();
      for (const auto& e : range) {
        list_.emplace_back(e);
        if constexpr (!std::is_reference_v<decltype(*std::begin(range))>) list_.back().keep();  // e goes
      }
    } else {
      what_ = What::run;
      typed_ = true;
      type_ = innermost<Element>();
      if constexpr (std::is_same_v<Element, long double> || !requires { std::data(range); }) {
        using Kept = std::conditional_t<std::is_same_v<Element, long double>, double, Element>;
        for (const Element e : range) {
          const Kept kept = static_cast<Kept>(e);
          keep_bytes(&kept, sizeof(Kept));
        }
        count_ = static_cast<std::int64_t>(kept_.size() / sizeof(Kept));
      } else {
        run_ = std::data(range);
        count_ = static_cast<std::int64_t>(std::size(range));
      }
    }
  }

  // ---- for those who read it

  enum class What : std::uint8_t { number, list, run };
  What what() const { return what_; }
  const Scalar& number() const { return number_; }
  const std::vector<NestedValues>& list() const { return list_; }
  const void* run() const { return run_ ? run_ : kept_.data(); }  ///< `count()` elements of `type()`
  std::int64_t count() const { return what_ == What::list ? static_cast<std::int64_t>(list_.size()) : count_; }
  bool typed() const { return typed_; }  ///< of a container, whose elements are of `type()`
  detail::Number type() const { return type_; }

 private:
  template <class T>
  static constexpr detail::Number innermost() {
    if constexpr (std::is_arithmetic_v<T>)
      return detail::number_of<T>();
    else
      return innermost<detail::ElementOf<T>>();
  }
  void keep();  // copies what it refers to
  void keep_bytes(const void* bytes, std::size_t count);

  What what_;
  bool typed_ = false;
  detail::Number type_ = detail::Number::f32;
  Scalar number_ = 0;
  std::vector<NestedValues> list_;
  const void* run_ = nullptr;
  std::int64_t count_ = 0;
  std::vector<unsigned char> kept_;
};

/// `value` everywhere, converted as to() converts: an integer stays exact in an integer tensor, a real number is cut
/// towards zero and to the range, NaN becomes 0.
Tensor full(const Shape& shape, const Scalar& value, DType dtype = DType::float32, Here here = Here::current());
/// 0 everywhere.
Tensor zeros(const Shape& shape, DType dtype = DType::float32, Here here = Here::current());
/// 1 everywhere.
Tensor ones(const Shape& shape, DType dtype = DType::float32, Here here = Here::current());
/// `value`, 0 or 1 everywhere, in x's shape and dtype, off the tape.
Tensor full_like(const Tensor& x, const Scalar& value, Here here = Here::current());
Tensor zeros_like(const Tensor& x, Here here = Here::current());
Tensor ones_like(const Tensor& x, Here here = Here::current());
/// 0, 1, ..., n - 1. Throws ValueError for a negative n.
Tensor arange(std::int64_t n, DType dtype = DType::int64, Here here = Here::current());
/// The identity matrix [n, n].
Tensor eye(std::int64_t n, DType dtype = DType::float32, Here here = Here::current());
/// A rank-0 tensor.
Tensor scalar(const Scalar& value, DType dtype = DType::float32, Here here = Here::current());
/// A tensor of these numbers, an axis for each level of braces or containers. Its dtype, unless given, is that of the
/// containers: int64 for integers of any size, bool for bool, and float32 for real numbers, for what stands in braces,
/// and for containers of different kinds. Conversion is exact or rounds; for an integer dtype real numbers are cut
/// towards zero. Throws ShapeError if lists are ragged, DTypeError if an integer dtype cannot hold a number.
Tensor tensor(const NestedValues& values, std::optional<DType> dtype = {}, Here here = Here::current());
/// The same numbers, in row-major order, under another shape. Throws ShapeError if their count is not its own.
Tensor tensor(const NestedValues& values, const Shape& shape, std::optional<DType> dtype = {},
              Here here = Here::current());
/// The same for a shape in braces, `{}` being that of one number.
Tensor tensor(const NestedValues& values, std::initializer_list<std::int64_t> shape, std::optional<DType> dtype = {},
              Here here = Here::current());
/// int64 indices, of the shape that the lists have or of the one given; as tensor(values, shape, int64), but real
/// numbers throw DTypeError.
Tensor index_tensor(const NestedValues& values, Here here = Here::current());
Tensor index_tensor(const NestedValues& values, const Shape& shape, Here here = Here::current());
/// x converted to `dtype` (x itself if it has it already). Between floating types the gradient is converted back;
/// elsewhere there is none.
Tensor to(const Tensor& x, DType dtype, Here here = Here::current());

}  // namespace attune
