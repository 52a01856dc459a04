#include "autograd/ops/attention/local_attention.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "autograd/ops/attention/internal/chunk_inputs.h"

namespace attune {

using detail::ChunkSettings;

namespace {

void check(const Op& op, const LocalOptions& o) {
  if (o.chunk < 1 || o.chunks_before < 0 || o.chunks_after < 0)
    op.fail_value("chunk = " + std::to_string(o.chunk) + ", chunks_before = " + std::to_string(o.chunks_before) +
                  ", chunks_after = " + std::to_string(o.chunks_after) + " make no window");
  if (!(o.dropout >= 0 && o.dropout < 1)) op.fail_value("dropout = " + detail::text(o.dropout) + " is not in [0, 1)");
}

ChunkSettings settings_of(const Op& op, const LocalOptions& o, const Tensor& q, RandomKey key) {
  const std::int64_t n = q.size(1);
  const bool full = n <= o.chunk;
  // Without a ring there is nothing beyond the ends, however far a window reaches.
  const std::int64_t farthest = o.ring ? std::numeric_limits<std::int64_t>::max() : n / o.chunk;
  const ChunkSettings settings{.chunk = full ? std::max<std::int64_t>(n, 1) : o.chunk,
                               .before = full ? 0 : std::min(o.chunks_before, farthest),
                               .after = full ? 0 : std::min(o.chunks_after, farthest),
                               .ring = o.ring,
                               .own_chunk_first = false,
                               .causal = o.causal,
                               .same_bucket = false,
                               .correct_duplicates = false,
                               .self_last = false,
                               .scale = 1 / std::sqrt(static_cast<double>(q.size(3))),
                               .dropout = o.dropout,
                               .dropout_key = key};
  if (o.ring) detail::check_window(op, settings.chunk, settings.before, settings.after);
  return settings;
}

Tensor local_with(const Op& op, detail::ChunkedAttention attend, const Tensor& q, const Tensor& k, const Tensor& v,
                  const LocalOptions& o, const Tensor& key_padding_mask, RandomKey key) {
  detail::check_heads(op, q, q, "q");
  detail::check_heads(op, k, q, "k");
  detail::check_heads(op, v, q, "v");
  check(op, o);
  const ChunkSettings settings = settings_of(op, o, q, key);
  return detail::attend_in_chunks(op, attend, {q, k, v, {}, detail::checked_padding(op, key_padding_mask, q)},
                                  settings);
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
