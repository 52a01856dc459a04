#include "autograd/runtime/shape.h"

#include <algorithm>

#include "autograd/runtime/error.h"

namespace attune {

void Dims::assign(const std::int64_t* v, std::size_t n) {
  if (n > static_cast<std::size_t>(max_rank))
    throw ShapeError("shape: rank " + std::to_string(n) + " exceeds the limit of " + std::to_string(max_rank));
  std::copy(v, v + n, v_);
  rank_ = static_cast<std::int32_t>(n);
}

void Dims::push_back(std::int64_t x) { insert(rank_, x); }

void Dims::insert(int at, std::int64_t x) {
  if (rank_ == max_rank)
    throw ShapeError("shape: rank " + std::to_string(rank_ + 1) + " exceeds the limit of " + std::to_string(max_rank));
  std::copy_backward(v_ + at, v_ + rank_, v_ + rank_ + 1);
  v_[at] = x;
  ++rank_;
}

void Dims::erase(int at) {
  std::copy(v_ + at + 1, v_ + rank_, v_ + at);
  --rank_;
}

void Dims::resize(int rank, std::int64_t fill) {
  while (rank_ < rank) push_back(fill);
  rank_ = rank;
}

std::string Dims::str() const {
  std::string s = "[";
  for (int i = 0; i < rank_; ++i) s += (i ? ", " : "") + std::to_string(v_[i]);
  return s + "]";
}

std::int64_t numel(const Shape& shape) {
  std::int64_t n = 1;
  bool empty = false;
  bool overflow = false;
  for (std::int64_t d : shape) {
    if (d < 0) throw ShapeError("shape: negative size in " + shape.str());
    if (d == 0)
      empty = true;
    else
      overflow |= __builtin_mul_overflow(n, d, &n);
  }
  if (empty) return 0;
  if (overflow) throw ShapeError("shape: the number of elements of " + shape.str() + " overflows 64 bits");
  return n;
}

namespace {
/// The strides of a zero-size shape may not fit in 64 bits; they address nothing, so that any value does.
std::int64_t times(std::int64_t a, std::int64_t b) {
  return static_cast<std::int64_t>(static_cast<std::uint64_t>(a) * static_cast<std::uint64_t>(b));
}
}  // namespace

Strides contiguous_strides(const Shape& shape) {
  Strides s;
  s.resize(shape.rank());
  std::int64_t step = 1;
  for (int i = shape.rank() - 1; i >= 0; --i) {
    s[i] = step;
    step = times(step, std::max<std::int64_t>(shape[i], 1));
  }
  return s;
}

bool is_contiguous(const Shape& shape, const Strides& strides) {
  std::int64_t step = 1;
  bool dense = true;
  for (int i = shape.rank() - 1; i >= 0; --i) {
    if (shape[i] == 0) return true;
    if (shape[i] == 1) continue;
    dense &= strides[i] == step;
    step = times(step, shape[i]);
  }
  return dense;
}

bool broadcast(const Shape& a, const Shape& b, Shape& out) {
  const Shape& longer = a.rank() >= b.rank() ? a : b;
  const Shape& shorter = a.rank() >= b.rank() ? b : a;
  const int offset = longer.rank() - shorter.rank();
  Shape r = longer;
  for (int i = 0; i < shorter.rank(); ++i) {
    const std::int64_t l = longer[offset + i];
    const std::int64_t s = shorter[i];
    if (l == s || s == 1) continue;
    if (l != 1) return false;
    r[offset + i] = s;
  }
  out = r;
  return true;
}

Strides broadcast_strides(const Shape& shape, const Strides& strides, const Shape& to) {
  Strides s;
  s.resize(to.rank());
  const int offset = to.rank() - shape.rank();
  for (int i = 0; i < shape.rank(); ++i) s[offset + i] = shape[i] == 1 && to[offset + i] != 1 ? 0 : strides[i];
  return s;
}

}  // namespace attune
