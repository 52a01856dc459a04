// Walks the chunks of one task: which positions are its queries, which are in its window, and what each may see.
// Internal to chunked_attention.
#pragma once

#include <cstdint>
#include <vector>

#include "autograd/kernels/attention/chunked_attention.h"

namespace attune::kernels {

/// A task is one head of one example. The window is that of a chunk at a time.
class ChunkWindow {
 public:
  ChunkWindow(const ChunkPlan& plan, Size task);

  /// In all rounds.
  Size chunks() const { return settings_.rounds * per_round_; }
  void move_to(Size chunk);

  /// Where a position lies in a round.
  struct Place {
    std::int32_t chunk, bucket;
  };
  /// Whether pairs that meet more than once are to be corrected for.
  bool corrects() const { return !places_.empty(); }
  /// [R]
  const Place* places(std::int32_t position) const { return places_.data() + position * settings_.rounds; }
  /// Whether no bucket is in two rounds: then pairs of one bucket meet within rounds only.
  bool rounds_apart() const { return rounds_apart_; }
  /// Whether only keys of the query's bucket are seen.
  bool by_bucket() const { return settings_.same_bucket && all_buckets_ != nullptr; }

  /// The chunk's positions, [m].
  std::int32_t query(Size i) const { return queries_[static_cast<std::size_t>(i)]; }
  std::int32_t query_bucket(Size i) const { return buckets_[query(i)]; }
  /// The positions in the window, [columns], without the keys that no query of the chunk may see for their bucket or
  /// position.
  const std::int32_t* keys() const { return keys_.data(); }
  Size columns() const { return static_cast<Size>(keys_.size()); }
  /// Their places in the whole window.
  const std::int32_t* offsets() const { return offsets_.data(); }
  Size whole_columns() const { return (settings_.before + 1 + settings_.after) * settings_.chunk; }
  const std::int32_t* key_buckets() const { return key_buckets_.data(); }
  /// Whether the c-th key is padding, which only itself may see.
  bool is_padding(Size c) const { return key_padding_mask_ && key_padding_mask_[keys()[c]]; }

  /// The i-th query's row of dropout factors' random numbers.
  Size dropout_row_number(Size i) const { return (task_ * chunks() + chunk_) * settings_.chunk + i; }
  /// The dropout factors of the i-th query's probabilities: 0 or 1 / (1 - p) [columns].
  void dropout_row(Size i, double* factors) const;

 private:
  /// A chunk's place on the ring; a window may be longer than the ring.
  Size wrapped(Size chunk) const {
    while (chunk < 0) chunk += chunks();
    while (chunk >= chunks()) chunk -= chunks();
    return chunk;
  }
  /// Those of a chunk, in its order.
  const std::int32_t* positions(Size chunk) const;
  /// Those of a chunk's round, by position.
  const std::int32_t* buckets_of(Size chunk) const;
  void append_keys(Size chunk);
  void drop_unseen_keys();
  void find_places();
  bool find_rounds_apart() const;

  const ChunkSettings& settings_;
  Size length_, task_, per_round_, chunk_ = 0;
  const std::int32_t* order_;              // of this task, or null
  const std::int32_t* all_buckets_;        // of this task, or null
  const std::int32_t* buckets_ = nullptr;  // of the current chunk's round
  const bool* key_padding_mask_;           // of this example, or null
  std::vector<std::int32_t> identity_;     // 0..n-1, if there is no order
  std::vector<Place> places_;              // [n, R], if pairs are corrected for
  bool rounds_apart_ = false;
  std::vector<std::int32_t> queries_, keys_, key_buckets_, offsets_;
};

}  // namespace attune::kernels
