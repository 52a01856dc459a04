// The buckets of locality-sensitive hashing (Andoni et al. 2015), and the order of positions by bucket.
//
// Letters: b batch, h heads, n length, R rounds of hashing, d head size.
#pragma once

#include <cstdint>

#include "autograd/kernels/attention/heads.h"

namespace attune::kernels {

struct HashPlan {
  Size batch = 0, heads = 0, length = 0, head_dim = 0, rounds = 1;
  const Size* factors = nullptr;  ///< even; one factor is the paper's plain hash
  int factor_count = 0;
  /// [b, n]: those that it hides have a bucket of their own; null: it hides none.
  const bool* key_padding_mask = nullptr;
};

/// buckets [b, h, R, n] of vectors x: sum_f argmax([x r_f; -x r_f]) prod(factors before f), plus the buckets of the
/// rounds before. The rows of `rotations` are directions of d elements: factors[f] / 2 a factor, factor after factor,
/// round after round.
template <class T>
void hash_buckets(const HashPlan& plan, Heads<const T> x, Heads<const T> rotations, std::int32_t* buckets);

/// The stable order [tasks, R, n] of positions by bucket, for buckets [tasks, R, n] in [0, limit), by counting sort.
void bucket_order(const std::int32_t* buckets, Size tasks, Size rounds, Size length, Size limit, std::int32_t* order);

}  // namespace attune::kernels
