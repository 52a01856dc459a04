// What a decoder keeps of earlier tokens for attention by hashing: keys, values, and the buckets that they fell into.
//
// Letters: b rows of the batch, n tokens in the cache, h heads, d head size, R hash rounds, m chunk length.
#pragma once

#include <cstdint>
#include <vector>

#include "autograd/ops/attention/lsh_attention.h"
#include "nn/attention/cache.h"

namespace attune::nn {

/// Of one LshSelfAttention. The rotations stay the same for the whole decoding, and with them each token's buckets, in
/// which the cache holds the tokens' positions: a new token's place in the order of buckets and positions is found by
/// counting, without sorting anything.
class LshCache {
 public:
  /// Rotations as in lsh_rotations(), for the bucket counts of `length` tokens; undefined: the first step draws them.
  explicit LshCache(std::int64_t length, const Tensor& rotations = {}) : longest_(length), rotations_(rotations) {}

  std::int64_t length() const { return kept_.length(); }
  const Tensor& rotations() const { return rotations_; }
  void reserve(std::int64_t tokens) { kept_.reserve(tokens); }
  /// Row i becomes what row rows[i] was: rows [b'] int64. Throws IndexError for a row that is not there.
  void reorder(const Tensor& rows, Here here = Here::current());

 private:
  friend class LshSelfAttention;
  /// Positions by bucket, in one round of one head of one row.
  using Round = std::vector<std::vector<std::int32_t>>;

  /// Settings with this cache's bucket counts, and rotations drawn, before the first token of b rows.
  LshOptions prepare(LshOptions o, std::int64_t b, std::int64_t heads, std::int64_t head_dim, DType dtype);
  /// Takes n more tokens: normalised keys and values [b, n, h d], buckets [b, h, R, n].
  void append(const Tensor& keys, const Tensor& values, const Tensor& buckets);
  /// How often the newest token's query meets each earlier position, and itself, in the windows of all rounds: for row
  /// and head `task`, (position, times) in order of positions. `padded` is the length of the full pass.
  std::vector<std::pair<std::int32_t, std::int32_t>> meetings(std::int64_t task, const LshOptions& o,
                                                              std::int64_t padded) const;

  std::int64_t longest_;
  Tensor rotations_;
  Dims factors_{};
  KeyValueCache kept_;
  std::int64_t rounds_ = 0, tasks_ = 0, heads_ = 0;
  std::vector<Round> buckets_;        // [b h R]
  std::vector<std::int32_t> newest_;  // [b h R]: the newest token's buckets
};

}  // namespace attune::nn
