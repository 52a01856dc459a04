// Attention by locality-sensitive hashing (Reformer, Kitaev, Kaiser and Levskaya 2020).
//
// What a query does not see, or sees with a weight of 0, has no influence on it, forward or backward, not even if it
// holds NaN.
//
// Letters: b batch, n length, h heads, d head size, R hash rounds, m chunk length. Time and memory are linear in n for
// a fixed m and R.
#pragma once

#include "autograd/runtime/philox.h"
#include "autograd/tensor/tensor.h"

namespace attune {

/// How the score of a query with itself is pushed behind all others.
enum class SelfMask : std::uint8_t {
  subtract,  ///< lowered by self_penalty
  replace    ///< replaced by -self_penalty, whatever it was
};

/// The order of the keys in a query's window; it changes rounding alone.
enum class KeyOrder : std::uint8_t { own_first, previous_first };

/// Which examples and heads share the random rotations.
enum class Rotations : std::uint8_t {
  each,      ///< drawn for every example and head
  per_head,  ///< shared by the batch
  per_layer  ///< shared by batch and heads
};

/// How many buckets there are if `buckets` is empty.
enum class BucketCount : std::uint8_t {
  two_chunks,    ///< 2 n / m
  power_of_two,  ///< 2^floor(log2(2 n / m)), in two factors if that exceeds 2 max(sqrt(max_length / m), m)
  one_chunk      ///< n / m, rounded up to an even number
};

struct LshOptions {
  std::int64_t hashes = 1;         ///< R
  std::int64_t chunk = 64;         ///< m; a length that it does not divide is padded inside
  std::int64_t chunks_before = 1;  ///< chunks a query sees before its own ...
  std::int64_t chunks_after = 0;   ///< ... and after it
  Dims buckets{};                  ///< one count, or factors whose product it is; each even. Empty: by `bucket_count`
  BucketCount bucket_count = BucketCount::two_chunks;
  std::int64_t max_length = 0;  ///< for power_of_two; 0: the length itself
  bool causal = true;
  bool divide_by_sqrt_dim = false;  ///< logit q . k_hat / sqrt(d) instead of q . k_hat
  double norm_epsilon = 1e-6;       ///< k_hat = k / sqrt(sum k^2 + d norm_epsilon)
  bool mask_other_buckets = true;   ///< keys of another bucket are hidden, though they lie in the window
  bool correct_duplicates = true;   ///< subtract log N from pairs that meet N times
  SelfMask self_mask = SelfMask::subtract;
  double self_penalty = 1e5;
  KeyOrder key_order = KeyOrder::own_first;
  Rotations rotations = Rotations::each;
  double dropout = 0;  ///< of the attention probabilities

  /// The paper and its first published code (the defaults).
  static LshOptions paper() { return {}; }
  /// Hugging Face's modeling_reformer, and the second trax version.
  static LshOptions hugging_face();
  /// lucidrains' reformer-pytorch.
  static LshOptions lucidrains();
};

/// The bucket counts (factors) for a length: `options.buckets`, or by its rule. Throws ValueError for an odd or
/// non-positive factor.
Dims lsh_bucket_factors(const LshOptions& options, std::int64_t length, Here here = Here::current());

/// Draws rotations N(0, 1) of shape [b, h, d, R, w], [h, d, R, w] or [d, R, w] by options.rotations, w half the sum of
/// the bucket factors.
Tensor lsh_rotations(const LshOptions& options, std::int64_t batch, std::int64_t heads, std::int64_t head_dim,
                     std::int64_t length, DType dtype, Generator& g = default_generator(), Here here = Here::current());

/// Buckets [b, h, R, n] int32 of the raw vectors qk [b, n, h, d]: argmax([xR; -xR]), offset by round so that rounds
/// never share one. Positions that key_padding_mask [b, n] hides (bool, may be undefined) get a bucket of their own.
/// Off the tape.
Tensor lsh_buckets(const Tensor& qk, const Tensor& rotations, const LshOptions& options,
                   const Tensor& key_padding_mask = {}, Here here = Here::current());

/// Shared-QK attention within LSH buckets: qk [b, n, h, d], v [b, n, h, d], buckets [b, h, R, n] as lsh_buckets gives
/// them (constants), key_padding_mask [b, n] bool or undefined, true hides; [b, n, h, d]. Softmaxes of the rounds are
/// combined by their logsumexp. A query sees itself only if it sees nothing else. If n <= m it is full shared-QK
/// attention, which needs no buckets. Throws ShapeError and DTypeError for tensors that do not fit, IndexError for a
/// bucket that is out of range, ValueError for options that are, or for buckets that are missing.
Tensor lsh_attention(const Tensor& qk, const Tensor& v, const Tensor& buckets, const LshOptions& options,
                     const Tensor& key_padding_mask = {}, RandomKey dropout_key = {}, Here here = Here::current());

/// The same by its definition, with n x n matrices: the fused kernel's composed twin. Undefined buckets: full shared-QK
/// attention.
Tensor lsh_attention_composed(const Tensor& qk, const Tensor& v, const Tensor& buckets, const LshOptions& options,
                              const Tensor& key_padding_mask = {}, RandomKey dropout_key = {},
                              Here here = Here::current());

/// The probabilities [b, h, n, n] that lsh_attention applies to v. Undefined buckets: those of full shared-QK
/// attention.
Tensor lsh_attention_weights(const Tensor& qk, const Tensor& buckets, const LshOptions& options,
                             const Tensor& key_padding_mask = {}, Here here = Here::current());

}  // namespace attune
