// Attention inside sorted chunks: the common core of LSH attention (Kitaev et al. 2020) and of local attention.
//
// Letters: b batch, h heads, n length, R rounds, m chunk length, d head size. A round is an order of the n positions,
// cut into n/m chunks; the R n/m chunks form one ring. The queries of a chunk see the keys of the chunks at offsets
// -before..after from it. One softmax runs over all that a query sees in all rounds, computed a round at a time: out =
// sum_r softmax_r(lse_r) o_r.
#pragma once

#include <cstdint>

#include "autograd/kernels/attention/heads.h"
#include "autograd/runtime/philox.h"

namespace attune::kernels {

struct ChunkPlan {
  std::int64_t batch = 0, heads = 0, length = 0, head_dim = 0;
  std::int64_t rounds = 1, chunk = 0, before = 1, after = 0;  // `chunk` divides `length`
  bool ring = true;  // the first chunk's predecessor is the last one; otherwise it has none
  bool own_chunk_first =
      true;  // the order of keys in a window: own, earlier, later; or in order of offset (changes rounding alone)
  bool causal = true;       // keys after the query are not seen
  bool same_bucket = true;  // keys of another bucket are not seen (buckets of different rounds differ)
  bool correct_duplicates =
      true;  // scores are lowered by log N, N the number of times that the key comes before the query in all rounds
  bool self_last = true;       // a query sees itself only where it sees nothing else: its own score is
  bool self_replaced = false;  // - lowered by self_penalty, or replaced by -self_penalty
  double self_penalty = 1e5;
  double scale = 1;
  const std::int32_t* order = nullptr;   // [b, h, R, n]: order[r][s] is the position at place s; null: 0..n-1
  const std::int32_t* bucket = nullptr;  // [b, h, R, n] by position; null: all the same
  // [b, n]: true hides a key, but never a query from itself if self_last; null: none
  const bool* key_padding_mask = nullptr;
  double dropout = 0;  // of the probabilities
  RandomKey dropout_key;
};

/// out [b, h, n] rows; a zero row where nothing is seen. For the backward pass, [b, h, n] each: the largest score in
/// units of log 2, and the inverse of the sum of powers relative to it (0 where nothing is seen).
template <class T>
void chunked_attention(const ChunkPlan& plan, Heads<const T> q, Heads<const T> k, Heads<const T> v, Heads<T> out,
                       T* largest, T* inverse);

/// dq, dk, dv (overwritten) from dout; the others as the forward pass took and gave them.
template <class T>
void chunked_attention_grad(const ChunkPlan& plan, Heads<const T> q, Heads<const T> k, Heads<const T> v,
                            Heads<const T> out, const T* largest, const T* inverse, Heads<const T> dout, Heads<T> dq,
                            Heads<T> dk, Heads<T> dv);

/// How often each query sees each key: counts [b, h, n, n], by the plan's rules (causality, buckets, padding,
/// windows), self included; and, where `kept` is not null, the mean dropout factor over these times (0 where there are
/// none).
void chunked_attention_counts(const ChunkPlan& plan, std::int32_t* counts, double* kept);

/// buckets [tasks, R, n] (any values >= 0 of at most `limit` - 1) to the stable order by (bucket, position), by
/// counting sort.
void bucket_order(const std::int32_t* buckets, std::int64_t tasks, std::int64_t rounds, std::int64_t length,
                  std::int64_t limit, std::int32_t* order);

struct HashPlan {
  std::int64_t batch = 0, heads = 0, length = 0, head_dim = 0, rounds = 1;
  const std::int64_t* factors = nullptr;  // even; one factor is the paper's plain hash
  int factor_count = 0;
  const bool* key_padding_mask = nullptr;  // [b, n]: true has a bucket of its own; null: none
};

/// buckets [b, h, R, n] of vectors x: sum_f argmax([x r_f; -x r_f]) prod(factors before f), plus the buckets of the
/// rounds before. The rows of `rotations` are directions of d elements: factors[f] / 2 a factor, factor after factor,
/// round after round.
template <class T>
void hash_buckets(const HashPlan& plan, Heads<const T> x, Heads<const T> rotations, std::int32_t* buckets);

}  // namespace attune::kernels
