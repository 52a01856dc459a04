// Copies of keys and values in which the rows of one head follow each other. Where heads lie side by side, a head's
// rows are far apart, mostly by a power of 2: they share few of a cache's sets, each is on a page of its own, and no
// processor foresees the next. Attention of 8,192 tokens takes up to 1.5 times as long then.
#pragma once

#include <algorithm>

#include "autograd/kernels/attention/attention.h"
#include "autograd/kernels/buffer.h"

namespace attune::kernels {

/// Whether rows are far apart, and so many queries read each of them that copying all costs little beside it.
template <class T>
bool worth_packing(const AttentionPlan<T>& p) {
  constexpr Size far = 1024 / sizeof(T), many = 4 * tile_queries;
  return p.queries * p.sharing >= many && std::max(p.k.row_stride, p.v.row_stride) >= far &&
         (p.k.row_stride != p.head_dim || p.v.row_stride != p.value_dim);
}

/// Rows [rows.begin, rows.end) of one head, n elements each, not initialised.
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
