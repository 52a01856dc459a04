// Walks the chunks of one task: which positions are its queries, which are in its window, and what each may see.
// Internal to chunked_attention.
#pragma once

#include <cstdint>
#include <vector>

#include "autograd/kernels/chunked_attention.h"

namespace attune::kernels {

class ChunkWindow {
 public:
  ChunkWindow(const ChunkPlan& plan, std::int64_t task);

  const ChunkPlan& plan() const { return plan_; }
  std::int64_t chunks() const { return plan_.rounds * per_round_; }
  /// Whether pairs that meet more than once are to be corrected for.
  bool corrects() const { return !chunk_of_.empty(); }
  void move_to(std::int64_t chunk);

  const std::int32_t* queries() const { return queries_.data(); }  // [m] positions
  std::int32_t query(std::int64_t i) const { return queries_[static_cast<std::size_t>(i)]; }
  std::int32_t query_bucket(std::int64_t i) const { return buckets_[query(i)]; }
  std::int64_t columns() const { return static_cast<std::int64_t>(keys_.size()); }
  const std::int32_t* keys() const { return keys_.data(); }                // [columns] positions
  const std::int32_t* key_buckets() const { return key_buckets_.data(); }  // [columns]
  const std::uint8_t* keys_valid() const { return valid_.empty() ? nullptr : valid_.data(); }

  /// How often the i-th query meets each column's key in all rounds, by windows and buckets: [columns], at least 1
  /// where it may see it.
  const std::int32_t* times_seen(std::int64_t i);
  /// log 0 (as 0), log 1, ..., log of the largest count.
  template <class T>
  const T* log_counts() const {
    if constexpr (sizeof(T) == 4)
      return logs_float_.data();
    else
      return logs_double_.data();
  }
  double* row_scratch() { return row_scratch_.data(); }  // [m]

  /// The dropout factors of the i-th query's probabilities: 0 or 1 / (1 - p) [columns].
  template <class T>
  void dropout_row(std::int64_t i, T* mask) const;

 private:
  /// A chunk's place on the ring; a window may be longer than the ring.
  std::int64_t wrapped(std::int64_t chunk) const {
    while (chunk < 0) chunk += chunks();
    while (chunk >= chunks()) chunk -= chunks();
    return chunk;
  }
  std::int32_t chunk_of(std::int64_t round, std::int32_t position) const {
    return chunk_of_[static_cast<std::size_t>(round * plan_.length + position)];
  }
  void append_keys(std::int64_t chunk);

  const ChunkPlan& plan_;
  std::int64_t task_, per_round_, chunk_ = 0;
  const std::int32_t* order_;              // of this task, or null
  const std::int32_t* all_buckets_;        // of this task, or null
  const std::int32_t* buckets_ = nullptr;  // of the current chunk's round
  const bool* key_valid_;
  std::vector<std::int32_t> identity_;
  std::vector<std::int32_t> chunk_of_;  // [R, n], for times_seen
  std::vector<std::int32_t> queries_, keys_, key_buckets_, seen_;
  std::vector<std::uint8_t> valid_;
  std::vector<float> logs_float_;
  std::vector<double> logs_double_, row_scratch_;
};

}  // namespace attune::kernels
