#include "autograd/ops/attention/local_attention.h"

#include <algorithm>
#include <cmath>

#include "autograd/ops/attention/internal/chunk_inputs.h"
#include "autograd/ops/attention/internal/fused_attention.h"
#include "autograd/ops/attention/pattern.h"
#include "autograd/ops/movement.h"

namespace attune {

namespace {

void check(const Op& op, const LocalOptions& o) {
  if (o.chunk < 1 || o.chunks_before < 0 || o.chunks_after < 0)
    op.fail_value("chunk = " + std::to_string(o.chunk) + ", chunks_before = " + std::to_string(o.chunks_before) +
                  ", chunks_after = " + std::to_string(o.chunks_after) + " make no window");
  if (!(o.dropout >= 0 && o.dropout < 1)) op.fail_value("dropout = " + detail::text(o.dropout) + " is not in [0, 1)");
}

/// What a query sees, in chunks.
struct Window {
  std::int64_t chunk = 1, before = 0, after = 0;
  bool full = false;  ///< there is but one chunk
  std::int64_t keys() const { return chunk * (before + 1 + after); }
};

Window window_of(const Op& op, const LocalOptions& o, std::int64_t n) {
  if (n <= o.chunk) return {.chunk = std::max<std::int64_t>(n, 1), .full = true};
  if (o.ring) {
    detail::check_window(op, o.chunk, o.chunks_before, o.chunks_after);
    return {.chunk = o.chunk, .before = o.chunks_before, .after = o.chunks_after};
  }
  // There is nothing beyond the ends, however far a window reaches.
  const std::int64_t farthest = n / o.chunk;
  return {.chunk = o.chunk, .before = std::min(o.chunks_before, farthest), .after = std::min(o.chunks_after, farthest)};
}

/// Whether a query sees a key round the ends. From the first chunk back a ring goes on with the future, which causality
/// hides until it comes round to the past.
bool sees_around(const LocalOptions& o, const Window& w, std::int64_t n) {
  const std::int64_t chunks = (n - 1) / w.chunk + 1;
  return o.ring && (w.after > 0 || w.before >= (o.causal ? chunks : 1));
}

/// Whether it is exact attention, by a pattern unless all is seen. A pattern's tiles are 64 queries high, and a shorter
/// window hides most of their pairs; the kernel of chunks has tiles as high as a chunk. docs/attention.md has times.
bool is_exact(const LocalOptions& o, const Window& w, std::int64_t n) {
  constexpr std::int64_t least_keys = 64;
  return w.full || (w.keys() >= least_keys && !sees_around(o, w, n));
}

/// The two kernels, or their compositions.
struct Attention {
  decltype(&detail::fused_attention) exact;
  decltype(&detail::chunked_attention) chunked;
};

Tensor in_heads(const Tensor& x) { return permute(x, {0, 2, 1, 3}); }

Tensor local_with(const Op& op, const Attention& attend, const Tensor& q, const Tensor& k, const Tensor& v,
                  const LocalOptions& o, const Tensor& key_padding_mask, RandomKey key) {
  detail::check_heads(op, q, q, "q");
  detail::check_heads(op, k, q, "k");
  detail::check_heads(op, v, q, "v");
  check(op, o);
  const std::int64_t n = q.size(1);
  const Window w = window_of(op, o, n);
  const Tensor padding = detail::checked_padding(op, key_padding_mask, q);
  const double scale = 1 / std::sqrt(static_cast<double>(std::max<std::int64_t>(q.size(3), 1)));
  if (is_exact(o, w, n)) {
    AttentionPattern seen;
    if (!w.full) seen = AttentionPattern::local_blocks(w.chunk, w.before, w.after, op.here());
    const detail::AttentionSettings settings{
        .causal = o.causal, .scale = scale, .dropout = o.dropout, .dropout_key = key, .pattern = seen.rule()};
    const Tensor hidden = padding.defined() ? reshape(padding, {q.size(0), 1, 1, n}) : Tensor();
    return in_heads(attend.exact(in_heads(q), in_heads(k), in_heads(v), hidden, {}, settings, op.here()));
  }
  const detail::ChunkSettings settings{.chunk = w.chunk,
                                       .before = w.before,
                                       .after = w.after,
                                       .ring = o.ring,
                                       .own_chunk_first = false,
                                       .causal = o.causal,
                                       .same_bucket = false,
                                       .correct_duplicates = false,
                                       .self_last = false,
                                       .scale = scale,
                                       .dropout = o.dropout,
                                       .dropout_key = key};
  return detail::attend_in_chunks(op, attend.chunked, {q, k, v, {}, padding}, settings);
}

}  // namespace

Tensor local_attention(const Tensor& q, const Tensor& k, const Tensor& v, const LocalOptions& o,
                       const Tensor& key_padding_mask, RandomKey key, Here here) {
  const Op op{"local_attention", here};
  return local_with(op, {detail::fused_attention, detail::chunked_attention}, q, k, v, o, key_padding_mask, key);
}

Tensor local_attention_composed(const Tensor& q, const Tensor& k, const Tensor& v, const LocalOptions& o,
                                const Tensor& key_padding_mask, RandomKey key, Here here) {
  const Op op{"local_attention_composed", here};
  return local_with(op, {detail::fused_attention_composed, detail::chunked_attention_composed}, q, k, v, o,
                    key_padding_mask, key);
}

}  // namespace attune
