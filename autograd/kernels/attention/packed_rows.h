// Copies of keys and values in which the rows of one head follow each other. Where heads lie side by side, a head's
// rows are as far apart as a position's heads are long, mostly a power of 2: they share few of a cache's sets and lie
// few to a page. On the machine where it was measured, attention of 8,192 tokens took 1.6 times as long then.
#pragma once

#include <algorithm>

#include "autograd/kernels/attention/attention.h"
#include "autograd/kernels/attention/attention_tile.h"
#include "autograd/kernels/attention/pattern.h"
#include "autograd/kernels/buffer.h"
#include "autograd/runtime/parallel.h"

namespace attune::kernels {

/// Whether rows are apart, and each may be read by so many queries that copying all costs little beside it.
template <class T>
bool worth_packing(const AttentionPlan<T>& p) {
  constexpr Size many = 4 * tile_queries;
  return p.queries * p.sharing >= many && (p.k.row_stride != p.head_dim || p.v.row_stride != p.value_dim);
}

/// A copy of all heads' rows of n elements.
template <class T>
class PackedHeads {
 public:
  PackedHeads(Heads<const T> from, Size batch, Size heads, Size rows, Size n)
      : buffer_(batch * heads * rows * n), heads_{buffer_.data(), heads * rows * n, rows * n, n} {
    constexpr Size least = 1 << 14;  // elements of a task
    parallel_for(batch * rows, pieces(least, std::max<Size>(heads * n, 1)), [&](Size begin, Size end) {
      for (Size i = begin; i < end; ++i)
        for (Size b = i / rows, row = i % rows, h = 0; h < heads; ++h)
          std::copy_n(from.row(b, h, row), n, heads_.row(b, h, row));
    });
  }
  Heads<const T> get() const { return heads_; }

 private:
  Buffer<T> buffer_;
  Heads<T> heads_;
};

/// Rows of one head, n elements each: a copy, or space for them.
template <class T>
class PackedRows {
 public:
  PackedRows(Span rows, Size n) : rows_(rows), n_(n), buffer_(rows.size() * n) {}
  PackedRows(Span rows, Size n, Heads<const T> from, Size b, Size h) : PackedRows(rows, n) {
    for (Size i = rows.begin; i < rows.end; ++i) std::copy_n(from.row(b, h, i), n, get().row(b, h, i));
  }
  /// Rows under the indices that they have among all, for whatever b and h.
  Heads<T> get() const { return {buffer_.data() - rows_.begin * n_, 0, 0, n_}; }
  void copy_to(Heads<T> to, Size b, Size h) const {
    for (Size i = rows_.begin; i < rows_.end; ++i) std::copy_n(get().row(b, h, i), n_, to.row(b, h, i));
  }

 private:
  const Span rows_;
  const Size n_;
  Buffer<T> buffer_;
};

}  // namespace attune::kernels
