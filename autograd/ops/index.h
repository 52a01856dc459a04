// Index expressions, as x[1, ..., 2:8:2, mask] is written in Python.
//
//     index(x, {0, Slice{.start = 2, .stop = 8, .step = 2}, ellipsis, mask})
//     x[0]    x[-1]    x[Slice{.stop = 2}]    x[0][2]    x[mask]    x[0] = 1
//
// Integers, slices, new_axis and ellipsis give views. Tensors of integers (negative ones count from the end) and bool
// masks pick elements: they broadcast with each other, and their joint axes come where they stand if they stand side by
// side, and first otherwise, as in PyTorch.
#pragma once

#include <optional>
#include <type_traits>
#include <vector>

#include "autograd/ops/operand.h"

namespace attune {

/// start, start + step, ... before stop.
struct Slice {
  std::optional<std::int64_t> start{}, stop{};  ///< negative ones count from the end; absent ones are the ends
  std::int64_t step = 1;
};
struct Ellipsis {};  ///< all axes that the others leave
struct NewAxis {};   ///< an axis of size 1
inline constexpr Ellipsis ellipsis{};
inline constexpr NewAxis new_axis{};

/// One entry of an index expression.
class Index {
 public:
  template <class T>
  requires std::is_integral_v<T> Index(T i) : position_(static_cast<std::int64_t>(i)) {}
  Index(Slice s) : kind_(Kind::slice), slice_(s) {}
  Index(Ellipsis) : kind_(Kind::rest) {}
  Index(NewAxis) : kind_(Kind::inserted) {}
  Index(Tensor t) : kind_(Kind::tensor), tensor_(std::move(t)) {}

  enum class Kind : std::uint8_t { position, slice, rest, inserted, tensor };
  Kind kind() const { return kind_; }
  std::int64_t position() const { return position_; }
  const Slice& slice() const { return slice_; }
  const Tensor& tensor() const { return tensor_; }

 private:
  // Not a variant, which would take a script as long to compile as all other headers of its kind together.
  Kind kind_ = Kind::position;
  std::int64_t position_ = 0;
  Slice slice_;
  Tensor tensor_;
};
using Indices = std::vector<Index>;

/// What stands in x[...] and gives a view of x: a position of the first axis, or a slice of it.
class AxisIndex {
 public:
  template <class T>
  requires(std::is_integral_v<T> && !std::is_same_v<T, bool>) AxisIndex(T i, Here here = Here::current())
      : position_(static_cast<std::int64_t>(i)), here_(here) {}
  AxisIndex(Slice s, Here here = Here::current()) : slice_(s), here_(here) {}

  std::int64_t position() const { return position_; }
  const std::optional<Slice>& slice() const { return slice_; }  ///< absent for a position
  Here here() const { return here_; }

 private:
  std::int64_t position_ = 0;
  std::optional<Slice> slice_;
  Here here_;
};

/// What stands in x[...] and names elements: a bool mask over x's first axes, or integers along the first one.
class ElementIndex {
 public:
  ElementIndex(const Tensor& t, Here here = Here::current()) : tensor_(&t), here_(here) {}
  const Tensor& tensor() const { return *tensor_; }
  Here here() const { return here_; }

 private:
  const Tensor* tensor_;
  Here here_;
};

/// The elements of x that the expression names. IndexError if an index is out of range or there are too many,
/// ShapeError if index tensors do not broadcast or a mask does not fit.
Tensor index(const Tensor& x, const Indices& at, Here here = Here::current());
/// x with those elements replaced by `values`, which broadcast to them, or with `values` added to them. If an
/// element is named more than once, replacing keeps the last value, which alone gets a gradient.
Tensor index_put(const Tensor& x, const Indices& at, const Operand& values, bool accumulate = false,
                 Here here = Here::current());
/// The elements of x where the mask is true, in row-major order: [count]. Both broadcast.
Tensor masked_select(const Tensor& x, const Tensor& mask, Here here = Here::current());
/// The positions of the elements that are not zero (true): int64 [count, rank].
Tensor nonzero(const Tensor& x, Here here = Here::current());

}  // namespace attune
