// Strided to strided copies: rows by memcpy, transposes in blocks.
#include <algorithm>
#include <numeric>

#include "autograd/kernels/elementwise.h"
#include "autograd/kernels/elementwise_pieces.h"

namespace attune::kernels {
namespace {

/// The axes of a copy with the target's smallest stride last, so that writes run forward.
void sort_axes(Shape& shape, Strides& src, Strides& dst) {
  int order[max_rank];
  std::iota(order, order + shape.rank(), 0);
  std::stable_sort(order, order + shape.rank(), [&](int i, int j) { return dst[i] > dst[j]; });
  const Shape old_shape = shape, old_src = src, old_dst = dst;
  for (int i = 0; i < shape.rank(); ++i) {
    shape[i] = old_shape[order[i]];
    src[i] = old_src[order[i]];
    dst[i] = old_dst[order[i]];
  }
}

/// y[i dst_row + j] = x[i + j src_column] for i < rows, j < columns. A tile passes through a small buffer: each cache
/// line of either side is touched once, in one go, which strides of a power of two would otherwise evict in between.
template <std::size_t bytes>
void transpose(const void* source, Size src_column, void* target, Size dst_row, Size rows, Size columns) {
  using U = typename BitsOf<bytes>::type;
  const U* x = static_cast<const U*>(source);
  U* y = static_cast<U*>(target);
  constexpr Size tile = 64 / static_cast<Size>(bytes);
  U buffer[tile][tile];
  for (Size i0 = 0; i0 < rows; i0 += tile)
    for (Size j0 = 0; j0 < columns; j0 += tile) {
      const Size height = std::min(rows - i0, tile), width = std::min(columns - j0, tile);
      for (Size j = 0; j < width; ++j)
        for (Size i = 0; i < height; ++i) buffer[i][j] = x[i0 + i + (j0 + j) * src_column];
      for (Size i = 0; i < height; ++i)
        std::memcpy(y + (i0 + i) * dst_row + j0, buffer[i], static_cast<std::size_t>(width) * bytes);
    }
}

/// Both sides in elements of `bytes` bytes.
template <std::size_t bytes>
void copy_sized(Shape shape, const void* source, Strides src, void* target, Strides dst) {
  const Operand from{source, bytes, &src};
  const auto at = [=](Size offset) { return static_cast<char*>(target) + offset * static_cast<Size>(bytes); };
  const Size total = numel(shape);
  if (is_contiguous(shape, src) && is_contiguous(shape, dst)) {
    parallel_for(total, piece_grain,
                 [&](Size begin, Size end) { copy_run<bytes>(from.at(begin), 1, end - begin, at(begin)); });
    return;
  }

  sort_axes(shape, src, dst);
  const Walk<2> walk(shape, {&src, &dst});
  const int last = walk.rank - 1;
  // A transpose: the target is dense along the last axis and the source along another one.
  int other = last - 1;
  while (other >= 0 && walk.stride[0][other] != 1) --other;
  if (other >= 0 && walk.step(1) == 1 && walk.step(0) != 1) {
    Shape outer;
    Strides outer_src, outer_dst;
    for (int i = 0; i < last; ++i) {
      if (i == other) continue;
      outer.push_back(walk.size[i]);
      outer_src.push_back(walk.stride[0][i]);
      outer_dst.push_back(walk.stride[1][i]);
    }
    // Pieces of rows x all columns, counted over the outer axes and blocks of rows.
    const Size rows = walk.size[other], columns = walk.inner();
    const Size block = std::clamp<Size>(piece_grain / columns / 64 * 64, 64, std::max<Size>(rows, 64));
    const Size blocks = (rows + block - 1) / block;
    const Walk<2> around(outer, {&outer_src, &outer_dst});
    const Size count = total / (rows * columns) * blocks;
    const Size grain = std::max<Size>(1, piece_grain / (std::min(block, rows) * columns));
    parallel_for(count, grain, [&](Size begin, Size end) {
      for (Size k = begin; k < end; ++k) {
        const Size row = k % blocks * block;
        const Cursor x(around, 0, k / blocks), y(around, 1, k / blocks);
        transpose<bytes>(from.at(x.offset() + row), walk.step(0), at(y.offset() + row * walk.stride[1][other]),
                         walk.stride[1][other], std::min(block, rows - row), columns);
      }
    });
    return;
  }

  parallel_for(total, piece_grain, [&](Size begin, Size end) {
    Cursor x(walk, 0, begin), y(walk, 1, begin);
    while (begin < end) {
      const Size n = std::min(end - begin, x.left_in_row());
      if (y.step() == 1) {
        copy_run<bytes>(from.at(x.offset()), x.step(), n, at(y.offset()));
      } else {
        using U = typename BitsOf<bytes>::type;
        const U* p = static_cast<const U*>(from.at(x.offset()));
        U* q = static_cast<U*>(static_cast<void*>(at(y.offset())));
        for (Size i = 0; i < n; ++i) q[i * y.step()] = p[i * x.step()];
      }
      x.advance(n);
      y.advance(n);
      begin += n;
    }
  });
}

}  // namespace

void copy(DType t, const Shape& shape, const void* src, const Strides& src_strides, void* dst,
          const Strides& dst_strides) {
  with_size(size_of(t), [&](auto bytes) { copy_sized<bytes()>(shape, src, src_strides, dst, dst_strides); });
}

}  // namespace attune::kernels
