#include "autograd/ops/attention/internal/chunk_inputs.h"

#include <algorithm>

#include "autograd/ops/create.h"
#include "autograd/ops/internal/apply.h"
#include "autograd/ops/internal/views.h"
#include "autograd/ops/movement.h"

namespace attune::detail {

void check_heads(const Op& op, const Tensor& x, const Tensor& like, const char* what) {
  op.check_floating(x);
  if (x.rank() != 4)
    op.fail_shape(std::string(what) + " must be [batch, length, heads, head size], got " + x.shape().str());
  if (x.shape() != like.shape())
    op.fail_shape(std::string(what) + " " + x.shape().str() + " differs from " + like.shape().str());
  op.check_same_dtype(x, like);
}

void check_window(const Op& op, std::int64_t chunk, std::int64_t before, std::int64_t after) {
  constexpr std::int64_t most_keys = 1 << 24;
  const std::int64_t most = most_keys / std::max<std::int64_t>(chunk, 1);
  if (before > most || after > most - before)
    op.fail_value("chunks_before = " + std::to_string(before) + " and chunks_after = " + std::to_string(after) +
                  " make a window of more than " + std::to_string(most_keys) + " keys");
}

Tensor checked_padding(const Op& op, const Tensor& key_padding_mask, const Tensor& x) {
  if (!key_padding_mask.defined()) return {};
  check_bool(op, key_padding_mask, "key_padding_mask");
  if (key_padding_mask.shape() != Shape{x.size(0), x.size(1)})
    op.fail_shape("key_padding_mask " + key_padding_mask.shape().str() + " must be [batch, length] of " +
                  x.shape().str());
  return contiguous(key_padding_mask);
}

ChunkInputs padded_to_chunks(const ChunkInputs& x, std::int64_t chunk) {
  const std::int64_t b = x.q.size(0), n = x.q.size(1), extra = (chunk - n % chunk) % chunk;
  if (extra == 0) return x;
  const Tensor mask = x.key_padding_mask.defined() ? x.key_padding_mask : zeros({b, n}, DType::boolean);
  ChunkInputs y{
      pad(x.q, 1, 0, extra), pad(x.k, 1, 0, extra), pad(x.v, 1, 0, extra), {}, contiguous(pad(mask, 1, 0, extra, 1))};
  if (x.buckets.defined()) {
    const auto* bucket = elements<const std::int32_t>(x.buckets);
    const std::int32_t last = x.buckets.numel() == 0 ? 0 : *std::max_element(bucket, bucket + x.buckets.numel());
    y.buckets = contiguous(pad(x.buckets, 3, 0, extra, last + 1));
  }
  return y;
}

Tensor attend_in_chunks(const Op& op, ChunkedAttention attend, const ChunkInputs& x, const ChunkSettings& settings) {
  const ChunkInputs p = padded_to_chunks(x, settings.chunk);
  const Tensor y = attend(p.q, p.k, p.v, p.buckets, p.key_padding_mask, settings, op.here());
  const std::int64_t n = x.q.size(1);
  return y.size(1) == n ? y : slice(y, 1, 0, n);
}

}  // namespace attune::detail
