// What LSH and local attention ask of their inputs, and how these reach chunked_attention. Internal to ops/attention/.
#pragma once

#include "autograd/ops/attention/internal/chunked_attention.h"
#include "autograd/tape/op.h"

namespace attune::detail {

/// x is `what` of an operation: [batch, length, heads, head size], of `like`'s shape and dtype. Throws ShapeError and
/// DTypeError.
void check_heads(const Op& op, const Tensor& x, const Tensor& like, const char* what);
/// Throws ValueError for a window of more keys than a query's places can be counted in.
void check_window(const Op& op, std::int64_t chunk, std::int64_t before, std::int64_t after);
/// The mask for x [b, n, h, d], dense; undefined if it is. Throws ShapeError and DTypeError.
Tensor checked_padding(const Op& op, const Tensor& key_padding_mask, const Tensor& x);

struct ChunkInputs {
  Tensor q, k, v, buckets, key_padding_mask;
};

/// Longer ones, which the chunk divides; what is added is hidden.
ChunkInputs padded_to_chunks(const ChunkInputs& x, std::int64_t chunk);

/// chunked_attention or its composition.
using ChunkedAttention = decltype(&chunked_attention);

/// For inputs of any length.
Tensor attend_in_chunks(const Op& op, ChunkedAttention attend, const ChunkInputs& x, const ChunkSettings& settings);

}  // namespace attune::detail
