// Sequences of different lengths, padded to batches, with the masks that layers take.
#pragma once

#include <vector>

#include "nn/data/batches.h"
#include "nn/text/side.h"

namespace attune::nn {

using Sequence = std::vector<std::int64_t>;  ///< token ids

/// What pad() makes.
struct Padded {
  Tensor tokens;            ///< [b, n] int64, n the longest
  Tensor key_padding_mask;  ///< [b, n] bool: true hides
};

/// Sequences as one tensor; an empty one is a row of padding. Throws ValueError for none of them.
Padded pad(const std::vector<Sequence>& sequences, std::int64_t pad_token = 0, Side side = Side::right,
           Here here = Here::current());

/// A batch of single sequences.
struct PaddedBatch {
  Tensor tokens;                   ///< [b, n] int64
  Tensor key_padding_mask;         ///< [b, n] bool: true hides
  Tensor labels;                   ///< [b, n]: the tokens, -100 at padding
  std::vector<std::int64_t> rows;  ///< which samples they are
};

/// Batches of single sequences. Throws as make_batches().
Batches<PaddedBatch> padded_batches(std::vector<Sequence> samples, const BatchOptions& options,
                                    std::int64_t pad_token = 0, Side side = Side::right, Here here = Here::current());

/// A batch of pairs of sequences.
struct PairBatch {
  Tensor source;                   ///< [b, s] int64
  Tensor source_mask;              ///< [b, s] bool: true hides
  Tensor target;                   ///< [b, t] int64
  Tensor target_mask;              ///< [b, t] bool: true hides
  Tensor labels;                   ///< [b, t]: the target, -100 at padding
  std::vector<std::int64_t> rows;  ///< which samples they are
};

/// Batches of source and target sequences, padded on the right; a pair counts as its longer half for max_tokens and
/// group. Throws ValueError for different numbers of both, and as make_batches().
///
///     auto batches = nn::pair_batches(sources, targets, {.max_tokens = 4096, .group = 20, .seed = 1});
///     auto b = batches.next();
///     Tensor logits = t5(b.source, t5.shift_right(b.labels), {.key_padding_mask = b.source_mask});
///     Tensor loss = t5.loss(logits, b.labels);
Batches<PairBatch> pair_batches(std::vector<Sequence> sources, std::vector<Sequence> targets,
                                const BatchOptions& options, std::int64_t pad_token = 0, Here here = Here::current());

}  // namespace attune::nn
