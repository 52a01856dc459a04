// Attention inside sorted chunks: the core of LSH attention (Kitaev et al. 2020), and of local attention in a ring or
// in short windows.
//
// What no query sees, or sees with a weight of 0, has no influence, forward or backward, whatever it holds; neither has
// a query whose cotangent is 0.
//
// Letters: b batch, h heads, n length, R rounds, m chunk length, d head size. A round is an order of the n positions,
// cut into n/m chunks; the R n/m chunks form one ring. The queries of a chunk see the keys of the chunks at offsets
// -before..after from it. One softmax runs over all that a query sees in all rounds, computed a round at a time: out =
// sum_r softmax_r(lse_r) o_r.
#pragma once

#include <cstdint>
#include <string>

#include "autograd/kernels/attention/heads.h"
#include "autograd/runtime/philox.h"

namespace attune::kernels {

/// What a query sees, and how scores become probabilities.
struct ChunkSettings {
  Size rounds = 1;
  Size chunk = 0;              ///< divides the length
  Size before = 1, after = 0;  ///< chunks in a window beside the own one of its queries
  /// The first chunk's predecessor is the last one; otherwise it has none.
  bool ring = true;
  /// The order of keys in a window: own chunk, earlier, later; otherwise by offset. It changes rounding alone.
  bool own_chunk_first = true;
  bool causal = true;       ///< keys after the query are hidden
  bool same_bucket = true;  ///< keys of another bucket are hidden
  /// Scores are lowered by log N, N the number of times that the query meets the key in all rounds.
  bool correct_duplicates = true;
  /// A query sees itself only if it sees nothing else: its own score is lowered by self_penalty, or, if self_replaced,
  /// is -self_penalty.
  bool self_last = true;
  bool self_replaced = false;
  double self_penalty = 1e5;
  double scale = 1;    ///< of the scores
  double dropout = 0;  ///< of the probabilities
  RandomKey dropout_key;

  /// For those who look at a call: "rounds = 2, chunk = 8, before = 1, after = 0, ...".
  std::string str() const;
};

/// One call's sizes and constants.
struct ChunkPlan {
  const ChunkSettings& settings;
  Size batch = 0, heads = 0, length = 0, head_dim = 0;
  /// [b, h, R, n]: order[r][s] is the position at place s; null: 0..n-1.
  const std::int32_t* order = nullptr;
  /// [b, h, R, n] by position; null: all the same.
  const std::int32_t* buckets = nullptr;
  /// [b, n]: true hides a key, though not from itself if self_last; null: nothing is hidden.
  const bool* key_padding_mask = nullptr;
};

template <class T>
struct ChunkedOperands {
  Heads<const T> q, k, v;
};

/// out [b, h, n] rows; a zero row if nothing is seen.
template <class T>
void chunked_attention(const ChunkPlan& plan, const ChunkedOperands<T>& x, Heads<T> out, AttentionSums<T> sums);

/// Where gradients go.
template <class T>
struct ChunkedGradients {
  Heads<T> dq, dk, dv;
};

/// Overwrites the gradients with those of <out, dout>, for what the forward pass took and gave.
template <class T>
void chunked_attention_grad(const ChunkPlan& plan, const ChunkedOperands<T>& x, Heads<const T> out,
                            AttentionSums<const T> sums, Heads<const T> dout, const ChunkedGradients<T>& gradients);

/// How often each query sees each key: counts [b, h, n, n], itself included; and, if `kept` is not null, the mean
/// dropout factor over these times (0 if there are none).
void chunked_attention_counts(const ChunkPlan& plan, std::int32_t* counts, double* kept);

}  // namespace attune::kernels
