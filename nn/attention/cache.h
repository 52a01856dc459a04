// Keys and values of earlier tokens, or sums of them, and attention over them: what a decoder keeps from step to step.
//
// Letters: b rows of the batch, t new tokens, n tokens in the cache, h heads of queries, g heads of keys and values.
#pragma once

#include <span>

#include "autograd/ops/attention/attention.h"
#include "nn/attention/performer.h"

namespace attune::nn {

/// The keys and values of one attention layer, a row each of the batch, in memory that doubles as it fills. It is off
/// the tape: what is appended is copied, and no gradient flows through it.
///
///     nn::KeyValueCache cache;
///     cache.append(k, v);                                                   // [b, t, g d], [b, t, g d']
///     Tensor y = nn::cached_attention(q, cache, heads, {.causal = true});   // q [b, t, h d] of the last t tokens
///
/// Linear attention and Performers keep sums of one size instead, however many tokens there were: those of now, and
/// those before the last step.
class KeyValueCache {
 public:
  std::int64_t length() const { return length_; }      ///< n
  std::int64_t capacity() const { return capacity_; }  ///< tokens that fit before memory is taken again
  /// Room for `tokens` in all. Before the first append() it is only noted.
  void reserve(std::int64_t tokens);
  /// k [b, t, g d] and v [b, t, g d'] of the next t tokens. Throws ShapeError unless they fit each other and what is
  /// there, DTypeError unless all have one floating dtype.
  void append(const Tensor& k, const Tensor& v, Here here = Here::current());
  /// Row i becomes what row rows[i] was: rows [b'] int64, any number of them. If all stay where they are, it
  /// costs nothing. Throws IndexError for a row that is not there. An empty cache has no rows and stays as it is.
  void reorder(const Tensor& rows, Here here = Here::current());
  /// Keeps the first `tokens` only. Throws ValueError outside [0, length()]. Sums can become those of 0 tokens, and
  /// once those before the last step; it throws ValueError for others.
  void truncate(std::int64_t tokens, Here here = Here::current());

  /// [b, n, g d] and [b, n, g d']: views, which the next change may overwrite. Undefined before the first append().
  Tensor keys() const;
  Tensor values() const;
  /// [b, capacity, ..] with what is there beyond length(), which means nothing. Undefined before the first append().
  const Tensor& key_memory() const { return keys_; }
  const Tensor& value_memory() const { return values_; }

  /// The sums in the place of keys and values, and how many tokens they are of; linear attention has `sums` alone.
  const PerformerState& sums() const { return sums_; }
  /// The sums after a step. Throws ValueError for fewer tokens than before, or where there are keys and values.
  void advance(const PerformerState& next, Here here = Here::current());

 private:
  Tensor keys_, values_;              // [b, capacity, ..]
  Tensor spare_keys_, spare_values_;  // of the same shape, which reorder() fills and exchanges
  std::int64_t length_ = 0, capacity_ = 0, reserved_ = 0;
  PerformerState sums_, sums_before_;  // before_: the last step
};

namespace detail {

/// What `step` gives; if it throws, the caches are again of as many tokens as before: of each it is the last step that
/// is undone.
template <class F>
Tensor or_back_to_before(std::span<KeyValueCache> caches, F step) {
  std::vector<std::int64_t> before;
  for (const KeyValueCache& cache : caches) before.push_back(cache.length());
  try {
    return step();
  } catch (...) {
    for (std::size_t i = 0; i < caches.size(); ++i)
      if (caches[i].length() > before[i]) caches[i].truncate(before[i]);
    throw;
  }
}

}  // namespace detail

struct CachedAttentionOptions {
  double scale = 0;     ///< of the scores; 0: 1 / sqrt(d)
  bool causal = false;  ///< the queries are of the last t tokens of the cache, and see none after their own
  /// Only with `causal`: a query sees this many tokens up to and with its own; 0: all.
  std::int64_t window = 0;
  AttentionPattern pattern{};  ///< which keys a query sees, by their positions in the cache; not beside a window
  Tensor key_padding_mask{};   ///< [b, n] bool: true hides
  Tensor bias{};               ///< added to the scores: [1 or b, h, t, n]
};

/// Attention of q [b, t, h d] over what the cache holds, in `heads` heads, of which those of keys and values may be
/// fewer (g divides h): [b, t, h d']. Off the tape. Time is that of reading the keys and values that are seen once, and
/// for few queries no memory is taken beside the result. A query that sees nothing gives zeros. Throws ShapeError,
/// DTypeError and ValueError for what does not fit; an empty cache is a ValueError.
Tensor cached_attention(const Tensor& q, const KeyValueCache& cache, std::int64_t heads,
                        const CachedAttentionOptions& options = {}, Here here = Here::current());

}  // namespace attune::nn
