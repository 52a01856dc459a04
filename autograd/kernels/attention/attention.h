// Exact attention in tiles (FlashAttention, Dao et al. 2022; Dao 2023): no matrix of scores is ever whole, and the
// backward pass computes the probabilities again. Memory is linear in the lengths.
//
// What no query sees, or sees with a weight of 0, has no influence, forward or backward, whatever it holds; neither has
// a query whose cotangent is 0. A tile in which something is not finite is computed again with that in mind.
//
// On x86 subnormal numbers count as 0 within the tiles.
//
// Letters: b batch, h heads, t queries, s keys, d size of queries and keys, e size of values.
#pragma once

#include <algorithm>

#include "autograd/kernels/attention/heads.h"
#include "autograd/kernels/attention/key_tiles.h"
#include "autograd/runtime/philox.h"

namespace attune::kernels {

/// How scores become probabilities.
struct AttentionSettings {
  bool causal = false;  ///< query i sees keys up to i + s - t
  double scale = 1;     ///< of the scores
  /// Of the probabilities: kernels::dropout of the matrix [b h t, s], rows padded to whole blocks of four.
  double dropout = 0;
  RandomKey dropout_key;
  /// Which pairs are seen; null: all of them. What a whole tile hides is not computed.
  PatternPtr pattern{};
};

/// A matrix [t, s] for each (b, h), broadcast by strides of 0; absent if `data` is null.
template <class T>
struct ScoreTerm {
  const T* data = nullptr;
  Size batch_stride = 0, head_stride = 0, row_stride = 0, column_stride = 0;
  const T* at(Size b, Size h, Size i, Size j) const {
    return data + b * batch_stride + h * head_stride + i * row_stride + j * column_stride;
  }
};

/// One call's sizes and operands.
template <class T>
struct AttentionPlan {
  const AttentionSettings& settings;
  Size batch = 0, heads = 0, queries = 0, keys = 0, head_dim = 0, value_dim = 0;
  Size sharing = 1;  ///< query heads in a row that share one head of keys and values; divides `heads`
  Heads<const T> q{}, k{}, v{};
  ScoreTerm<bool> attention_mask{};  ///< true hides
  ScoreTerm<T> bias{};               ///< added to the scores
};

/// The tiles of queries [first, first + count) of `queries` with those keys [begin, end) of `keys` that they may see.
inline KeyTiles tiles_of(const AttentionSettings& o, Size queries, Size keys, Size b, Size h, Size first, Size count,
                         Size begin, Size end) {
  const Size shift = keys - queries;  // from a query to its position among the keys
  if (o.causal) end = std::min(end, std::max(first + count + shift, begin));
  return {o.pattern.get(), b, h, {first + shift, first + count + shift}, {begin, end}};
}
template <class T>
KeyTiles tiles_of(const AttentionPlan<T>& p, Size b, Size h, Size first, Size count, Size begin, Size end) {
  return tiles_of(p.settings, p.queries, p.keys, b, h, first, count, begin, end);
}

/// out = softmax(scale q k^T + bias) v; a query that sees nothing gives zeros. Queries are computed in parallel.
template <class T>
void attention(const AttentionPlan<T>& plan, Heads<T> out, AttentionSums<T> sums);

/// Where gradients go.
template <class T>
struct AttentionGradients {
  Heads<T> dq, dk, dv;
  T* dbias = nullptr;  ///< [b, h, t, s], or null
};

/// Overwrites the gradients with those of <out, dout>, for what the forward pass took and gave. The keys are computed
/// in groups in parallel; the number of groups depends on the shape alone.
template <class T>
void attention_grad(const AttentionPlan<T>& plan, Heads<const T> out, AttentionSums<const T> sums, Heads<const T> dout,
                    const AttentionGradients<T>& gradients);

}  // namespace attune::kernels
