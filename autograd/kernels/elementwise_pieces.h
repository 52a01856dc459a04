// Turns an elementwise operation over strided inputs into calls on dense arrays: an input that is dense is passed as it
// is; any other is gathered, piece by piece, into a buffer that stays in the first-level cache. So each kernel has only
// its dense loop.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <memory>
#include <type_traits>

#include "autograd/kernels/elementwise.h"
#include "autograd/kernels/simd_targets.h"
#include "autograd/kernels/size.h"
#include "autograd/runtime/memory.h"
#include "autograd/runtime/parallel.h"
#include "autograd/runtime/shape.h"

namespace attune::kernels {

/// Elements per parallel piece, dense or not.
inline constexpr Size piece_grain = 8192;

/// One iteration space and K sets of strides over it, with axes of size 1 dropped and adjacent axes merged if all
/// operands allow it. Rank is at least 1.
template <std::size_t K>
struct Walk {
  int rank = 0;
  Size size[max_rank];
  Size stride[K][max_rank];

  Walk(const Shape& shape, const std::array<const Strides*, K>& strides) {
    for (int i = 0; i < shape.rank(); ++i) {
      if (shape[i] == 1) continue;
      bool merge = rank > 0;
      for (std::size_t k = 0; k < K; ++k) merge = merge && stride[k][rank - 1] == (*strides[k])[i] * shape[i];
      if (!merge) size[rank++] = 1;
      size[rank - 1] *= shape[i];
      for (std::size_t k = 0; k < K; ++k) stride[k][rank - 1] = (*strides[k])[i];
    }
    if (rank > 0) return;
    rank = 1;
    size[0] = 1;
    for (std::size_t k = 0; k < K; ++k) stride[k][0] = 1;
  }

  Size inner() const { return size[rank - 1]; }
  Size step(std::size_t operand) const { return stride[operand][rank - 1]; }
};

/// A position in one operand of a walk: the element that a row-major index points to, moving from row to row.
class Cursor {
 public:
  template <std::size_t K>
  Cursor(const Walk<K>& walk, std::size_t operand, Size index)
      : rank_(walk.rank), size_(walk.size), stride_(walk.stride[operand]) {
    for (int i = rank_ - 1; i >= 0; --i) {
      at_[i] = index % size_[i];
      offset_ += at_[i] * stride_[i];
      index /= size_[i];
    }
  }
  Size offset() const { return offset_; }
  Size step() const { return stride_[rank_ - 1]; }
  Size left_in_row() const { return size_[rank_ - 1] - at_[rank_ - 1]; }

  /// Forward by n elements, n <= left_in_row().
  void advance(Size n) {
    int i = rank_ - 1;
    at_[i] += n;
    offset_ += n * stride_[i];
    while (at_[i] == size_[i] && i > 0) {
      offset_ -= at_[i] * stride_[i];
      at_[i] = 0;
      --i;
      ++at_[i];
      offset_ += stride_[i];
    }
  }

 private:
  int rank_;
  const std::int64_t* size_;
  const std::int64_t* stride_;
  Size at_[max_rank];
  Size offset_ = 0;
};

/// The unsigned integer of a size, to move elements of any type as bit patterns.
template <std::size_t bytes>
struct BitsOf;
template <>
struct BitsOf<1> {
  typedef std::uint8_t type __attribute__((may_alias));
};
template <>
struct BitsOf<4> {
  typedef std::uint32_t type __attribute__((may_alias));
};
template <>
struct BitsOf<8> {
  typedef std::uint64_t type __attribute__((may_alias));
};

/// f(std::integral_constant<std::size_t, bytes>) for bytes = 1, 4 or 8.
template <class F>
void with_size(std::size_t bytes, F f) {
  if (bytes == 1)
    f(std::integral_constant<std::size_t, 1>());
  else if (bytes == 4)
    f(std::integral_constant<std::size_t, 4>());
  else
    f(std::integral_constant<std::size_t, 8>());
}

/// out[i] = p[i * step] for i in [0, n).
template <std::size_t bytes>
void copy_run(const void* source, Size step, Size n, void* target) {
  using U = typename BitsOf<bytes>::type;
  const U* p = static_cast<const U*>(source);
  U* out = static_cast<U*>(target);
  if (step == 1) {
    std::memcpy(out, p, static_cast<std::size_t>(n) * bytes);
  } else if (step == 0) {
    const U value = *p;
#pragma omp simd
    for (Size i = 0; i < n; ++i) out[i] = value;
  } else {
    for (Size i = 0; i < n; ++i) out[i] = p[i * step];
  }
}

/// One input of an elementwise operation; elements are moved as bit patterns of `bytes` bytes (1, 4 or 8).
struct Operand {
  const void* data;
  std::size_t bytes;
  const Strides* strides;

  const void* at(Size offset) const { return static_cast<const char*>(data) + offset * static_cast<Size>(bytes); }
};

/// out[0, n) = the next n elements of `in` from the cursor on.
template <std::size_t bytes>
void gather(const Operand& in, Cursor at, Size n, void* out) {
  while (n > 0) {
    const Size run = std::min(n, at.left_in_row());
    copy_run<bytes>(in.at(at.offset()), at.step(), run, out);
    at.advance(run);
    out = static_cast<char*>(out) + run * static_cast<Size>(bytes);
    n -= run;
  }
}

struct PoolDelete {
  std::size_t bytes = 0;
  void operator()(void* p) const { pool::deallocate(p, bytes); }
};

/// Whether operand k is read across its rows of memory, as a transposed matrix is.
template <std::size_t K>
bool is_transposed(const Walk<K>& walk, std::size_t k) {
  if (walk.step(k) == 0 || walk.step(k) == 1) return false;
  for (int i = 0; i < walk.rank; ++i)
    if (walk.stride[k][i] == 1) return true;
  return false;
}

/// Calls f(begin, n, pointers) for pieces that cover [0, numel(shape)), in parallel; pointers[k] is a dense array of
/// the n elements of input k.
template <std::size_t K, class F>
void for_pieces(const Shape& shape, const std::array<Operand, K>& inputs, F f) {
  const Size total = numel(shape);
  bool dense = true;
  for (const Operand& in : inputs) dense = dense && is_contiguous(shape, *in.strides);
  if (dense) {
    parallel_for(total, piece_grain, [&](Size begin, Size end) {
      std::array<const void*, K> pointers;
      for (std::size_t k = 0; k < K; ++k) pointers[k] = inputs[k].at(begin);
      f(begin, end - begin, pointers);
    });
    return;
  }

  constexpr Size buffered = 1024;  // elements of a gathered piece
  constexpr Size long_row = 256;   // rows from here on are pieces of their own, without gathering if dense
  std::array<const Strides*, K> strides;
  for (std::size_t k = 0; k < K; ++k) strides[k] = inputs[k].strides;
  const Walk<K> walk(shape, strides);
  // A large transposed input is made dense first: its transpose goes in blocks, gathering it would miss every cache.
  if (total >= 4 * piece_grain) {
    const Strides packed = contiguous_strides(shape);
    std::array<Operand, K> moved = inputs;
    std::array<std::unique_ptr<void, PoolDelete>, K> copies;
    bool any = false;
    for (std::size_t k = 0; k < K; ++k) {
      if (!is_transposed(walk, k)) continue;
      const std::size_t bytes = static_cast<std::size_t>(total) * inputs[k].bytes;
      copies[k] = std::unique_ptr<void, PoolDelete>(pool::allocate(bytes), PoolDelete{bytes});
      const DType type = inputs[k].bytes == 1   ? boolean
                         : inputs[k].bytes == 4 ? int32
                                                : int64;  // bits are all that moves
      copy(type, shape, inputs[k].data, *inputs[k].strides, copies[k].get(), packed);
      moved[k] = {copies[k].get(), inputs[k].bytes, &packed};
      any = true;
    }
    if (any) return for_pieces<K>(shape, moved, f);
  }

  const bool long_rows = walk.inner() >= long_row;
  parallel_for(total, piece_grain, [&](Size begin, Size end) {
    alignas(64) std::uint64_t buffer[K][buffered];
    const void* repeated[K] = {};  // the element that fills buffer k, if one does
    std::array<const void*, K> pointers;
    while (begin < end) {
      const Size left_in_row = walk.inner() - begin % walk.inner();
      Size n = std::min(end - begin, long_rows ? left_in_row : buffered);
      for (std::size_t k = 0; k < K; ++k)
        if (walk.step(k) != 1) n = std::min(n, buffered);
      const bool one_row = n <= left_in_row;
      for (std::size_t k = 0; k < K; ++k) {
        Cursor at(walk, k, begin);
        const void* source = inputs[k].at(at.offset());
        pointers[k] = one_row && walk.step(k) == 1 ? source : buffer[k];
        if (pointers[k] == source) continue;
        const bool repeats = one_row && walk.step(k) == 0;
        if (repeats && source == repeated[k]) continue;
        repeated[k] = repeats ? source : nullptr;
        with_size(inputs[k].bytes, [&](auto bytes) {
          if (repeats)
            copy_run<bytes()>(source, 0, std::min(buffered, end - begin), buffer[k]);
          else
            gather<bytes()>(inputs[k], at, n, buffer[k]);
        });
      }
      f(begin, n, pointers);
      begin += n;
    }
  });
}

}  // namespace attune::kernels
