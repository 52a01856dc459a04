// Attention within local windows: queries see the keys of their chunk and of its neighbours.
//
// What a query does not see, or sees with a weight of 0, has no influence on it, forward or backward, not even if it
// holds NaN.
//
// Where a window has at least 64 keys or there is but one chunk, and no ring is seen, it is exact attention by
// AttentionPattern::local_blocks, and recorded as that. Shorter windows would leave most of that kernel's tiles, 64
// queries high, hidden: these, and a ring that is seen, take the kernel of LSH attention.
//
// Letters: b batch, n length, h heads, d head size, m chunk length. Time and memory are linear in n for a fixed m,
// but for second derivatives beside dropout or by the kernel of LSH attention.
#pragma once

#include "autograd/runtime/philox.h"
#include "autograd/tensor/tensor.h"

namespace attune {

struct LocalOptions {
  std::int64_t chunk = 64;         ///< m; need not divide the length
  std::int64_t chunks_before = 1;  ///< chunks a query sees before its own ...
  std::int64_t chunks_after = 0;   ///< ... and after it
  bool causal = true;
  /// The first chunk's predecessor is the last chunk, as Hugging Face has it. Causal attention sees what lies round the
  /// ends only where that is past: with chunks after, or with as many before as there are.
  bool ring = false;
  double dropout = 0;  ///< of the attention probabilities
};

/// softmax(q k^T / sqrt(d)) v within windows of chunks: q, k, v [b, n, h, d], key_padding_mask [b, n] bool or
/// undefined, true hides; [b, n, h, d]. A query that sees nothing gives zeros. Throws ShapeError and DTypeError for
/// tensors that do not fit, ValueError for options that make no window.
Tensor local_attention(const Tensor& q, const Tensor& k, const Tensor& v, const LocalOptions& options,
                       const Tensor& key_padding_mask = {}, RandomKey dropout_key = {}, Here here = Here::current());
/// The same by its definition, with n x n matrices.
Tensor local_attention_composed(const Tensor& q, const Tensor& k, const Tensor& v, const LocalOptions& options,
                                const Tensor& key_padding_mask = {}, RandomKey dropout_key = {},
                                Here here = Here::current());

}  // namespace attune
