// Sizes and strides of a tensor: small arrays without heap memory.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <vector>

namespace attune {

inline constexpr int max_rank = 10;

/// Up to `max_rank` 64-bit integers; the base of Shape, Strides and axis lists. Longer lists throw ShapeError.
class Dims {
 public:
  Dims() = default;
  Dims(std::initializer_list<std::int64_t> v) { assign(v.begin(), v.size()); }
  Dims(const std::vector<std::int64_t>& v) { assign(v.data(), v.size()); }
  Dims(const std::int64_t* v, std::size_t n) { assign(v, n); }

  int rank() const { return rank_; }
  int size() const { return rank_; }
  bool empty() const { return rank_ == 0; }
  std::int64_t& operator[](int i) { return v_[i]; }
  std::int64_t operator[](int i) const { return v_[i]; }
  std::int64_t* begin() { return v_; }
  std::int64_t* end() { return v_ + rank_; }
  const std::int64_t* begin() const { return v_; }
  const std::int64_t* end() const { return v_ + rank_; }
  std::int64_t back() const { return v_[rank_ - 1]; }
  std::int64_t& back() { return v_[rank_ - 1]; }

  void push_back(std::int64_t x);       ///< throws ShapeError beyond max_rank
  void insert(int at, std::int64_t x);  ///< 0 <= at <= rank
  void erase(int at);                   ///< 0 <= at < rank
  void resize(int rank, std::int64_t fill = 0);

  friend bool operator==(const Dims& a, const Dims& b) {
    if (a.rank_ != b.rank_) return false;
    for (int i = 0; i < a.rank_; ++i)
      if (a.v_[i] != b.v_[i]) return false;
    return true;
  }

  /// "[2, 3]"; "[]" for rank 0.
  std::string str() const;

 private:
  void assign(const std::int64_t* v, std::size_t n);

  std::int64_t v_[max_rank] = {};
  std::int32_t rank_ = 0;
};

using Shape = Dims;
using Strides = Dims;

/// The number of elements: the product of the sizes, 1 for rank 0. Throws ShapeError if it overflows 63 bits or a
/// size is negative.
std::int64_t numel(const Shape& shape);

/// Strides, in elements, of a dense row-major layout. A zero or one size leaves its neighbours' strides as if
/// it were 1.
Strides contiguous_strides(const Shape& shape);

/// Whether `strides` walk `shape` densely in row-major order (axes of size 1 and empty tensors never matter).
bool is_contiguous(const Shape& shape, const Strides& strides);

/// Numpy's broadcasting of two shapes: aligned at the right, equal or 1. Returns false if they do not fit.
bool broadcast(const Shape& a, const Shape& b, Shape& out);

/// Strides by which a tensor of `shape` and `strides` is read as if it had the broader shape `to` (0 along stretched
/// axes). `shape` must broadcast to `to`.
Strides broadcast_strides(const Shape& shape, const Strides& strides, const Shape& to);

}  // namespace attune
