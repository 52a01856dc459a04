#include "autograd/ops/attention/lsh_attention.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "autograd/ops/attention/internal/chunked_attention.h"
#include "autograd/ops/attention/internal/heads.h"
#include "autograd/ops/create.h"
#include "autograd/ops/elementwise.h"
#include "autograd/ops/internal/apply.h"
#include "autograd/ops/movement.h"
#include "autograd/ops/norm.h"
#include "autograd/ops/random.h"

namespace attune {

using detail::ChunkedOptions;

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
constexpr std::int64_t most_window_keys = 1 << 24;

void check_window(const Op& op, std::int64_t chunk, std::int64_t before, std::int64_t after) {
  const std::int64_t most = most_window_keys / std::max<std::int64_t>(chunk, 1);
  if (before > most || after > most - before)
    op.fail_value("chunks_before = " + std::to_string(before) + " and chunks_after = " + std::to_string(after) +
                  " make a window of more than " + std::to_string(most_window_keys) + " keys");
}

void check(const Op& op, const LshOptions& o) {
  const auto positive = [&](const char* what, std::int64_t v) {
    if (v < 1) op.fail_value(std::string(what) + " = " + std::to_string(v) + " must be at least 1");
  };
  positive("hashes", o.hashes);
  positive("chunk", o.chunk);
  if (o.chunks_before < 0 || o.chunks_after < 0)
    op.fail_value("chunks_before = " + std::to_string(o.chunks_before) +
                  " and chunks_after = " + std::to_string(o.chunks_after) + " must not be negative");
  if (!(o.dropout >= 0 && o.dropout < 1)) op.fail_value("dropout = " + detail::text(o.dropout) + " is not in [0, 1)");
}

void check_heads(const Op& op, const Tensor& x, const Tensor& like, const char* what) {
  op.check_floating(x);
  if (x.rank() != 4)
    op.fail_shape(std::string(what) + " must be [batch, length, heads, head size], got " + x.shape().str());
  if (x.shape() != like.shape())
    op.fail_shape(std::string(what) + " " + x.shape().str() + " differs from " + like.shape().str());
  op.check_same_dtype(x, like);
}

Tensor checked_padding(const Op& op, const Tensor& key_padding_mask, const Tensor& x) {
  if (!key_padding_mask.defined()) return {};
  op.check_dtype(key_padding_mask, DType::boolean);
  if (key_padding_mask.shape() != Shape{x.size(0), x.size(1)})
    op.fail_shape("key_padding_mask " + key_padding_mask.shape().str() + " must be [batch, length] of " +
                  x.shape().str());
  return contiguous(key_padding_mask);
}

/// The three inputs, padded so that the chunk divides the length; what is added is never seen.
struct Padded {
  Tensor q, k, v, buckets, key_padding_mask;
};

Padded padded(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& buckets, const Tensor& key_padding_mask,
              std::int64_t chunk) {
  const std::int64_t n = q.size(1), extra = (chunk - n % chunk) % chunk;
  if (extra == 0) return {q, k, v, buckets, key_padding_mask};
  Padded p{pad(q, 1, 0, extra), pad(k, 1, 0, extra), pad(v, 1, 0, extra), buckets, {}};
  p.key_padding_mask = contiguous(
      pad(key_padding_mask.defined() ? key_padding_mask : zeros({q.size(0), n}, DType::boolean), 1, 0, extra, 1));
  if (buckets.defined()) {
    const auto* b = static_cast<const std::int32_t*>(buckets.raw());
    const std::int32_t last = buckets.numel() == 0 ? 0 : *std::max_element(b, b + buckets.numel());
    p.buckets = contiguous(pad(buckets, 3, 0, extra, last + 1));
  }
  return p;
}

ChunkedOptions chunked_options(const Op& op, const LshOptions& o, const Tensor& qk, bool full, RandomKey key) {
  const double root = std::sqrt(static_cast<double>(qk.size(3)));
  ChunkedOptions c;
  if (!full) check_window(op, o.chunk, o.chunks_before, o.chunks_after);
  c.rounds = full ? 1 : o.hashes;
  c.chunk = full ? std::max<std::int64_t>(qk.size(1), 1) : o.chunk;
  c.before = full ? 0 : o.chunks_before;
  c.after = full ? 0 : o.chunks_after;
  c.own_chunk_first = o.key_order == KeyOrder::own_first;
  c.causal = o.causal;
  c.same_bucket = !full && o.mask_other_buckets;
  c.correct_duplicates = o.correct_duplicates;
  c.self_replaced = o.self_mask == SelfMask::replace;
  c.self_penalty = o.self_penalty;
  c.scale = o.divide_by_sqrt_dim ? 1 / (root * root) : 1 / root;  // rms_norm leaves keys of length sqrt(d)
  c.dropout = o.dropout;
  c.dropout_key = key;
  return c;
}

using Core = Tensor (*)(const Tensor&, const Tensor&, const Tensor&, const Tensor&, const Tensor&,
                        const ChunkedOptions&, Here);

Tensor checked_buckets(const Op& op, const Tensor& qk, const Tensor& buckets, const LshOptions& o) {
  op.check_dtype(buckets, DType::int32);
  if (buckets.shape() != Shape{qk.size(0), qk.size(2), o.hashes, qk.size(1)})
    op.fail_shape("buckets " + buckets.shape().str() + " must be [batch, heads, hashes = " + std::to_string(o.hashes) +
                  ", length] of " + qk.shape().str());
  Tensor dense = contiguous(buckets);
  const auto* b = static_cast<const std::int32_t*>(dense.raw());
  constexpr std::int32_t most = 1 << 26;  // sorting counts them all
  for (std::int64_t i = 0; i < dense.numel(); ++i) {
    if (b[i] < 0) op.fail_index("bucket " + std::to_string(b[i]) + " is negative");
    if (b[i] >= most) op.fail_index("bucket " + std::to_string(b[i]) + " is not below " + std::to_string(most));
  }
  return dense;
}

Tensor lsh_with(const Op& op, Core core, const Tensor& qk, const Tensor& v, const Tensor& buckets, const LshOptions& o,
                const Tensor& key_padding_mask, RandomKey key) {
  check(op, o);
  check_heads(op, qk, qk, "qk");
  check_heads(op, v, qk, "v");
  const std::int64_t n = qk.size(1);
  const bool full = n <= o.chunk || !buckets.defined();
  const Tensor padding = checked_padding(op, key_padding_mask, qk);
  const Tensor k = rms_norm(qk, {}, o.norm_epsilon);
  const ChunkedOptions c = chunked_options(op, o, qk, full, key);
  const Padded p = padded(qk, k, v, full ? Tensor() : checked_buckets(op, qk, buckets, o), padding, c.chunk);
  const Tensor y = core(p.q, p.k, p.v, p.buckets, p.key_padding_mask, c, op.here());
  return y.size(1) == n ? y : slice(y, 1, 0, n);
}

}  // namespace

Dims lsh_bucket_factors(const LshOptions& o, std::int64_t length, Here here) {
  const Op op{"lsh_bucket_factors", here};
  check(op, o);
  if (length < 0 || length > most_positions)
    op.fail_value("length = " + std::to_string(length) + " is not in [0, " + std::to_string(most_positions) + "]");
  Dims factors = o.buckets;
  if (factors.empty()) {
    const std::int64_t chunks = std::max<std::int64_t>(length / o.chunk + (length % o.chunk != 0), 1);
    if (o.bucket_count == BucketCount::two_chunks) {
      factors = {2 * chunks};
    } else if (o.bucket_count == BucketCount::one_chunk) {
      factors = {chunks + chunks % 2};
    } else {
      int power = 0;
      while ((std::int64_t{2} << power) <= 2 * chunks) ++power;  // of the padded length, as published
      power = std::max(power, 1);
      const std::int64_t longest = o.max_length > 0 ? o.max_length : length;
      const std::int64_t most_chunks = longest / o.chunk;
      const auto root = static_cast<std::int64_t>(std::sqrt(static_cast<double>(most_chunks)));
      const std::int64_t limit = 2 * std::max(root, std::min(o.chunk, most_positions));
      if ((std::int64_t{1} << power) > limit)
        factors = {std::int64_t{1} << (power / 2), std::int64_t{1} << (power - power / 2)};
      else
        factors = {std::int64_t{1} << power};
    }
  }
  for (std::int64_t f : factors)
    if (f < 2 || f % 2 != 0) op.fail_value("bucket counts must be even and positive, got " + factors.str());
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
  std::int64_t width = 0;
  for (std::int64_t f : lsh_bucket_factors(o, length)) width += f / 2;
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
  check_heads(op, qk, qk, "qk");
  op.check_same_dtype(qk, rotations);
  const std::int64_t b = qk.size(0), n = qk.size(1), h = qk.size(2), d = qk.size(3);
  const Dims factors = lsh_bucket_factors(o, n);
  std::int64_t width = 0;
  for (std::int64_t f : factors) width += f / 2;
  const int r = rotations.rank();
  if (r < 3 || r > 5 || rotations.size(-1) != width || rotations.size(-2) != o.hashes || rotations.size(-3) != d ||
      (r >= 4 && rotations.size(-4) != h) || (r == 5 && rotations.size(0) != b))
    op.fail_shape("rotations " + rotations.shape().str() + " must be [batch, heads, head size = " + std::to_string(d) +
                  ", hashes = " + std::to_string(o.hashes) + ", half the buckets = " + std::to_string(width) +
                  "], the first one or two axes optional, for vectors " + qk.shape().str());
  const Tensor padding = checked_padding(op, key_padding_mask, qk);
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
                         .key_padding_mask = padding.defined() ? static_cast<const bool*>(padding.raw()) : nullptr};
  detail::with_floating(qk.dtype(), [&](auto zero) {
    using T = decltype(zero);
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
  return lsh_with(op, detail::chunked_attention, qk, v, buckets, o, key_padding_mask, key);
}

Tensor lsh_attention_composed(const Tensor& qk, const Tensor& v, const Tensor& buckets, const LshOptions& o,
                              const Tensor& key_padding_mask, RandomKey key, Here here) {
  const Op op{"lsh_attention_composed", here};
  return lsh_with(op, detail::chunked_attention_composed, qk, v, buckets, o, key_padding_mask, key);
}

Tensor lsh_attention_weights(const Tensor& qk, const Tensor& buckets, const LshOptions& o,
                             const Tensor& key_padding_mask, Here here) {
  const Op op{"lsh_attention_weights", here};
  check(op, o);
  check_heads(op, qk, qk, "qk");
  const std::int64_t n = qk.size(1);
  const bool full = n <= o.chunk || !buckets.defined();
  const Tensor k = rms_norm(qk, {}, o.norm_epsilon);
  const ChunkedOptions c = chunked_options(op, o, qk, full, {});
  const Padded p = padded(qk, k, k, full ? Tensor() : checked_buckets(op, qk, buckets, o),
                          checked_padding(op, key_padding_mask, qk), c.chunk);
  const Tensor w = detail::chunked_weights(p.q, p.k, p.buckets, p.key_padding_mask, c);
  return slice(slice(w, 2, 0, n), 3, 0, n);
}

// ---- local windows

namespace {

Tensor local_with(const Op& op, Core core, const Tensor& q, const Tensor& k, const Tensor& v, const LocalOptions& o,
                  const Tensor& key_padding_mask, RandomKey key) {
  check_heads(op, q, q, "q");
  check_heads(op, k, q, "k");
  check_heads(op, v, q, "v");
  if (o.chunk < 1 || o.chunks_before < 0 || o.chunks_after < 0)
    op.fail_value("chunk = " + std::to_string(o.chunk) + ", chunks_before = " + std::to_string(o.chunks_before) +
                  ", chunks_after = " + std::to_string(o.chunks_after) + " make no window");
  if (!(o.dropout >= 0 && o.dropout < 1)) op.fail_value("dropout = " + detail::text(o.dropout) + " is not in [0, 1)");
  const std::int64_t n = q.size(1);
  const bool full = n <= o.chunk;
  ChunkedOptions c;
  // Without a ring there is nothing beyond the ends, however far a window reaches.
  const std::int64_t farthest = o.ring ? std::numeric_limits<std::int64_t>::max() : n / o.chunk;
  c.chunk = full ? std::max<std::int64_t>(n, 1) : o.chunk;
  c.before = full ? 0 : std::min(o.chunks_before, farthest);
  c.after = full ? 0 : std::min(o.chunks_after, farthest);
  if (o.ring) check_window(op, c.chunk, c.before, c.after);
  c.ring = o.ring;
  c.causal = o.causal;
  c.own_chunk_first = false;
  c.same_bucket = c.correct_duplicates = c.self_last = false;
  c.scale = 1 / std::sqrt(static_cast<double>(q.size(3)));
  c.dropout = o.dropout;
  c.dropout_key = key;
  const Padded p = padded(q, k, v, {}, checked_padding(op, key_padding_mask, q), c.chunk);
  const Tensor y = core(p.q, p.k, p.v, {}, p.key_padding_mask, c, op.here());
  return y.size(1) == n ? y : slice(y, 1, 0, n);
}

}  // namespace

Tensor local_attention(const Tensor& q, const Tensor& k, const Tensor& v, const LocalOptions& o,
                       const Tensor& key_padding_mask, RandomKey key, Here here) {
  const Op op{"local_attention", here};
  return local_with(op, detail::chunked_attention, q, k, v, o, key_padding_mask, key);
}

Tensor local_attention_composed(const Tensor& q, const Tensor& k, const Tensor& v, const LocalOptions& o,
                                const Tensor& key_padding_mask, RandomKey key, Here here) {
  const Op op{"local_attention_composed", here};
  return local_with(op, detail::chunked_attention_composed, q, k, v, o, key_padding_mask, key);
}

}  // namespace attune
