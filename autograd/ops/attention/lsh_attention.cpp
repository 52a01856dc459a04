#include "autograd/ops/attention/lsh_attention.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "autograd/kernels/attention/buckets.h"
#include "autograd/ops/attention/internal/chunk_inputs.h"
#include "autograd/ops/create.h"
#include "autograd/ops/elementwise.h"
#include "autograd/ops/internal/apply.h"
#include "autograd/ops/internal/views.h"
#include "autograd/ops/movement.h"
#include "autograd/ops/norm.h"
#include "autograd/ops/random.h"

namespace attune {

using detail::ChunkInputs;
using detail::ChunkSettings;

LshOptions LshOptions::hugging_face() {
  LshOptions o;
  o.bucket_count = BucketCount::power_of_two;
  o.mask_other_buckets = false;
  o.correct_duplicates = false;
  o.self_mask = SelfMask::replace;
  o.key_order = KeyOrder::previous_first;
  o.rotations = Rotations::per_head;
  return o;
}

LshOptions LshOptions::lucidrains() {
  LshOptions o;
  o.bucket_count = BucketCount::one_chunk;
  o.divide_by_sqrt_dim = true;
  o.mask_other_buckets = false;
  o.correct_duplicates = false;
  o.self_mask = SelfMask::replace;
  o.self_penalty = 5e4;
  o.rotations = Rotations::per_layer;
  return o;
}

namespace {

/// Positions and buckets are int32.
constexpr std::int64_t most_positions = std::numeric_limits<std::int32_t>::max();

void check(const Op& op, const LshOptions& o) {
  const auto positive = [&](const char* what, std::int64_t v) {
    if (v < 1) op.fail_value(std::string(what) + " = " + std::to_string(v) + " must be at least 1");
  };
  positive("hashes", o.hashes);
  positive("chunk", o.chunk);
  if (o.chunks_before < 0 || o.chunks_after < 0)
    op.fail_value("chunks_before = " + std::to_string(o.chunks_before) +
                  " and chunks_after = " + std::to_string(o.chunks_after) + " must not be negative");
  for (std::int64_t f : o.buckets)
    if (f < 2 || f % 2 != 0) op.fail_value("bucket counts must be even and positive, got " + o.buckets.str());
  if (!(o.norm_epsilon >= 0)) op.fail_value("norm_epsilon = " + detail::text(o.norm_epsilon) + " must not be negative");
  if (!(o.dropout >= 0 && o.dropout < 1)) op.fail_value("dropout = " + detail::text(o.dropout) + " is not in [0, 1)");
}

ChunkSettings settings_of(const Op& op, const LshOptions& o, const Tensor& qk, bool full, RandomKey key) {
  if (!full) detail::check_window(op, o.chunk, o.chunks_before, o.chunks_after);
  const double root = std::sqrt(static_cast<double>(qk.size(3)));
  return {.rounds = full ? 1 : o.hashes,
          .chunk = full ? std::max<std::int64_t>(qk.size(1), 1) : o.chunk,
          .before = full ? 0 : o.chunks_before,
          .after = full ? 0 : o.chunks_after,
          .own_chunk_first = o.key_order == KeyOrder::own_first,
          .causal = o.causal,
          .same_bucket = !full && o.mask_other_buckets,
          .correct_duplicates = o.correct_duplicates,
          .self_replaced = o.self_mask == SelfMask::replace,
          .self_penalty = o.self_penalty,
          .scale = o.divide_by_sqrt_dim ? 1 / (root * root) : 1 / root,  // rms_norm leaves keys of length sqrt(d)
          .dropout = o.dropout,
          .dropout_key = key};
}

Tensor checked_buckets(const Op& op, const Tensor& qk, const Tensor& buckets, const LshOptions& o) {
  op.check_dtype(buckets, DType::int32);
  if (buckets.shape() != Shape{qk.size(0), qk.size(2), o.hashes, qk.size(1)})
    op.fail_shape("buckets " + buckets.shape().str() + " must be [batch, heads, hashes = " + std::to_string(o.hashes) +
                  ", length] of " + qk.shape().str());
  Tensor dense = contiguous(buckets);
  const auto* b = detail::elements<const std::int32_t>(dense);
  constexpr std::int32_t most = 1 << 26;  // sorting counts them all
  for (std::int64_t i = 0; i < dense.numel(); ++i) {
    if (b[i] < 0) op.fail_index("bucket " + std::to_string(b[i]) + " is negative");
    if (b[i] >= most) op.fail_index("bucket " + std::to_string(b[i]) + " is not below " + std::to_string(most));
  }
  return dense;
}

/// What chunked_attention takes, checked.
struct ChunkedCall {
  ChunkInputs inputs;
  ChunkSettings settings;
};

/// Up to one chunk and without buckets it is full shared-QK attention.
ChunkedCall checked_call(const Op& op, const Tensor& qk, const Tensor& v, const Tensor& buckets, const LshOptions& o,
                         const Tensor& key_padding_mask, RandomKey key) {
  check(op, o);
  detail::check_heads(op, qk, qk, "qk");
  detail::check_heads(op, v, qk, "v");
  const bool full = qk.size(1) <= o.chunk || !buckets.defined();
  const Tensor padding = detail::checked_padding(op, key_padding_mask, qk);
  const Tensor k = rms_norm(qk, {}, o.norm_epsilon);
  const ChunkSettings settings = settings_of(op, o, qk, full, key);
  return {{qk, k, v, full ? Tensor() : checked_buckets(op, qk, buckets, o), padding}, settings};
}

Dims power_of_two_factors(const LshOptions& o, std::int64_t length, std::int64_t chunks) {
  int power = 0;
  while ((std::int64_t{2} << power) <= 2 * chunks) ++power;  // of the padded length, as published
  power = std::max(power, 1);
  const std::int64_t most_chunks = (o.max_length > 0 ? o.max_length : length) / o.chunk;
  const auto root = static_cast<std::int64_t>(std::sqrt(static_cast<double>(most_chunks)));
  const std::int64_t limit = 2 * std::max(root, std::min(o.chunk, most_positions));
  if ((std::int64_t{1} << power) <= limit) return {std::int64_t{1} << power};
  return {std::int64_t{1} << (power / 2), std::int64_t{1} << (power - power / 2)};
}

Dims factors_by_rule(const LshOptions& o, std::int64_t length) {
  const std::int64_t chunks = std::max<std::int64_t>(length / o.chunk + (length % o.chunk != 0), 1);
  switch (o.bucket_count) {
    case BucketCount::two_chunks: return {2 * chunks};
    case BucketCount::one_chunk: return {chunks + chunks % 2};
    default: return power_of_two_factors(o, length, chunks);
  }
}

/// The number of directions that a vector is compared with in a round: each stands for two buckets of a factor.
std::int64_t directions(const Dims& factors) {
  std::int64_t count = 0;
  for (std::int64_t f : factors) count += f / 2;
  return count;
}

}  // namespace

Dims lsh_bucket_factors(const LshOptions& o, std::int64_t length, Here here) {
  const Op op{"lsh_bucket_factors", here};
  check(op, o);
  if (length < 0 || length > most_positions)
    op.fail_value("length = " + std::to_string(length) + " is not in [0, " + std::to_string(most_positions) + "]");
  const Dims factors = o.buckets.empty() ? factors_by_rule(o, length) : o.buckets;
  std::int64_t all = o.hashes;  // each round has its own numbers, and one more for padding
  for (std::int64_t f : factors)
    if (__builtin_mul_overflow(all, f, &all)) all = most_positions;
  if (all > most_positions - o.hashes)
    op.fail_value("hashes = " + std::to_string(o.hashes) + " with bucket counts " + factors.str() + " make more than " +
                  std::to_string(most_positions) + " buckets");
  return factors;
}

Tensor lsh_rotations(const LshOptions& o, std::int64_t batch, std::int64_t heads, std::int64_t head_dim,
                     std::int64_t length, DType dtype, Generator& g, Here here) {
  const Op op{"lsh_rotations", here};
  const std::int64_t width = directions(lsh_bucket_factors(o, length));
  switch (o.rotations) {
    case Rotations::each: return randn({batch, heads, head_dim, o.hashes, width}, dtype, g);
    case Rotations::per_head: return randn({heads, head_dim, o.hashes, width}, dtype, g);
    default: return randn({head_dim, o.hashes, width}, dtype, g);
  }
}

Tensor lsh_buckets(const Tensor& qk, const Tensor& rotations, const LshOptions& o, const Tensor& key_padding_mask,
                   Here here) {
  const Op op{"lsh_buckets", here};
  check(op, o);
  detail::check_heads(op, qk, qk, "qk");
  op.check_same_dtype(qk, rotations);
  const std::int64_t b = qk.size(0), n = qk.size(1), h = qk.size(2), d = qk.size(3);
  const Dims factors = lsh_bucket_factors(o, n);
  const std::int64_t width = directions(factors);
  const int r = rotations.rank();
  if (r < 3 || r > 5 || rotations.size(-1) != width || rotations.size(-2) != o.hashes || rotations.size(-3) != d ||
      (r >= 4 && rotations.size(-4) != h) || (r == 5 && rotations.size(0) != b))
    op.fail_shape("rotations " + rotations.shape().str() + " must be [batch, heads, head size = " + std::to_string(d) +
                  ", hashes = " + std::to_string(o.hashes) + ", half the buckets = " + std::to_string(width) +
                  "], the first one or two axes optional, for vectors " + qk.shape().str());
  const Tensor padding = detail::checked_padding(op, key_padding_mask, qk);
  const NoGrad off;
  // Directions as rows: [.., R w, d].
  const Tensor directions = contiguous(transpose(flatten(rotations.detach(), -2, -1)));
  const Tensor x = detail::with_dense_rows(qk);
  Tensor buckets = op.empty({b, h, o.hashes, n}, DType::int32);
  kernels::HashPlan plan{.batch = b,
                         .heads = h,
                         .length = n,
                         .head_dim = d,
                         .rounds = o.hashes,
                         .factors = factors.begin(),
                         .factor_count = factors.size(),
                         .key_padding_mask = detail::elements<const bool>(padding)};
  detail::with_floating(qk.dtype(), [&]<class T>(T) {
    kernels::hash_buckets(plan, detail::heads_at<const T>(x, 0, 2, 1),
                          detail::heads_at<const T>(directions, r - 5, r < 4 ? -1 : r - 4, r - 3),
                          detail::elements<std::int32_t>(buckets));
  });
  return buckets;
}

Tensor lsh_attention(const Tensor& qk, const Tensor& v, const Tensor& buckets, const LshOptions& o,
                     const Tensor& key_padding_mask, RandomKey key, Here here) {
  const Op op{"lsh_attention", here};
  if (!buckets.defined() && qk.defined() && qk.rank() == 4 && qk.size(1) > o.chunk)
    op.fail_value("buckets are undefined; only a length up to the chunk of " + std::to_string(o.chunk) +
                  " needs none, got " + qk.shape().str());
  const ChunkedCall c = checked_call(op, qk, v, buckets, o, key_padding_mask, key);
  return detail::attend_in_chunks(op, detail::chunked_attention, c.inputs, c.settings);
}

Tensor lsh_attention_composed(const Tensor& qk, const Tensor& v, const Tensor& buckets, const LshOptions& o,
                              const Tensor& key_padding_mask, RandomKey key, Here here) {
  const Op op{"lsh_attention_composed", here};
  const ChunkedCall c = checked_call(op, qk, v, buckets, o, key_padding_mask, key);
  return detail::attend_in_chunks(op, detail::chunked_attention_composed, c.inputs, c.settings);
}

Tensor lsh_attention_weights(const Tensor& qk, const Tensor& buckets, const LshOptions& o,
                             const Tensor& key_padding_mask, Here here) {
  const Op op{"lsh_attention_weights", here};
  const ChunkedCall c = checked_call(op, qk, qk, buckets, o, key_padding_mask, {});
  const ChunkInputs x = detail::padded_to_chunks(c.inputs, c.settings.chunk);
  const Tensor w = detail::chunked_weights(x.q, x.k, x.buckets, x.key_padding_mask, c.settings);
  const std::int64_t n = qk.size(1);
  return slice(slice(w, 2, 0, n), 3, 0, n);
}

}  // namespace attune
