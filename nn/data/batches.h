// Batches in an order that a seed decides, prepared in the background, with a position that can be saved.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "autograd/runtime/philox.h"
#include "nn/module.h"

namespace attune::nn {

/// Where a batch stands. A batch is a function of its place alone (and of the data and options), which is what makes
/// positions small, and lets a thread prepare batches that come later.
struct BatchPlace {
  std::int64_t epoch = 0, batch = 0;
  bool operator==(const BatchPlace&) const = default;
};

namespace detail {

/// Batches of whatever type, behind their functions. Those of one source are never called by two threads at once.
struct BatchSource {
  std::string name;  ///< data and options, in words: positions of others are refused
  std::function<std::int64_t(std::int64_t epoch)> count;  ///< batches of an epoch, at least one
  std::function<std::shared_ptr<void>(BatchPlace)> make;
};

/// The place of the next batch, and a thread that makes it before it is asked for.
class BatchFeed {
 public:
  BatchFeed(BatchSource source, bool prefetch);
  ~BatchFeed();
  BatchFeed(BatchFeed&&) noexcept;
  BatchFeed& operator=(BatchFeed&&) noexcept;
  std::shared_ptr<void> next();
  /// A batch of one's own, for a pass besides; null at the epoch's end.
  std::shared_ptr<void> at(BatchPlace place) const;
  BatchPlace place() const;
  std::int64_t count(std::int64_t epoch) const;
  StateDict state_dict() const;
  void load_state_dict(const StateDict& state, Here here);

 private:
  struct State;
  State& state() const;  // throws ValueError after a move
  std::unique_ptr<State> state_;
};

}  // namespace detail

/// Batches of T without end: after an epoch's last comes the next epoch's first. Made by token_windows(),
/// padded_batches(), pair_batches(), or from a function of one's own by make_batches(). Can be moved, not copied; a
/// destructor waits for the batch that its thread is making. One object is for one thread.
///
///     auto batches = nn::token_windows(tokens, {.length = 64, .batch = 12, .seed = 1});
///     auto [x, y] = batches.next();                  // training: the position moves on
///     for (auto [x, y] : validation) ...;            // one epoch, the first: the position stays
template <class T>
class Batches {
 public:
  Batches(detail::BatchSource source, bool prefetch) : feed_(std::move(source), prefetch) {}

  /// What the making of the batch throws, this throws; the position then stays.
  T next() { return std::move(*std::static_pointer_cast<T>(feed_.next())); }
  BatchPlace place() const { return feed_.place(); }                              ///< of the next batch
  std::int64_t size(std::int64_t epoch = 0) const { return feed_.count(epoch); }  ///< batches of an epoch

  /// The position; training that loads it goes on with the very next batch. Throws ValueError for the position in other
  /// data or under other options.
  StateDict state_dict() const { return feed_.state_dict(); }
  void load_state_dict(const StateDict& state, Here here = Here::current()) { feed_.load_state_dict(state, here); }

  struct End {};
  class Iterator {
   public:
    explicit Iterator(const detail::BatchFeed& feed) : feed_(&feed) { load(); }
    T& operator*() const { return *now_; }
    Iterator& operator++() {
      ++place_.batch;
      load();
      return *this;
    }
    bool operator!=(End) const { return now_ != nullptr; }

   private:
    void load() { now_ = std::static_pointer_cast<T>(feed_->at(place_)); }
    const detail::BatchFeed* feed_;
    BatchPlace place_;
    std::shared_ptr<T> now_;
  };
  Iterator begin() const { return Iterator(feed_); }
  End end() const { return {}; }

 private:
  detail::BatchFeed feed_;
};

/// How samples become batches.
struct BatchOptions {
  std::int64_t batch = 0;  ///< samples in a batch
  /// Or instead: as many samples as fit, padded to the longest of them. One without tokens counts as one of them.
  std::int64_t max_tokens = 0;
  bool shuffle = true;  ///< anew in each epoch
  /// Batches of samples of similar length, which waste little on padding: each `group` batches' worth of shuffled
  /// samples is sorted by length, and the batches are shuffled again. 0: samples as they come.
  std::int64_t group = 0;
  /// Leave out samples that do not fill a batch of `batch`: other ones in each epoch, if shuffled.
  bool drop_last = false;
  std::uint64_t seed = 0;
  bool prefetch = true;  ///< a thread makes the next batch
};

/// Batches from a function of one's own: `collate` makes one from the numbers of its samples, with a generator that is
/// seeded by the batch's place, for whatever is drawn (masks, noise). It is called in another thread unless
/// prefetch = false, and never by two at once; what it refers to must live as long as the batches. `lengths` counts the
/// tokens of each sample, for max_tokens and group. Throws ValueError for no samples, negative lengths, options that do
/// not fit, a sample longer than max_tokens, drop_last that drops all.
///
///     auto batches = nn::make_batches<Batch>(lengths, {.batch = 32}, [&](const auto& rows, Generator& random) {...});
template <class T>
Batches<T> make_batches(std::vector<std::int64_t> lengths, const BatchOptions& options,
                        std::function<T(const std::vector<std::int64_t>& rows, Generator& random)> collate,
                        Here here = Here::current());

namespace detail {
/// `checksum` is of the samples; that of the lengths goes on from it.
BatchSource sample_source(std::uint32_t checksum, std::vector<std::int64_t> lengths, const BatchOptions& options,
                          std::function<std::shared_ptr<void>(const std::vector<std::int64_t>&, Generator&)> collate,
                          Here here);

template <class T>
Batches<T> make_batches(std::uint32_t checksum, std::vector<std::int64_t> lengths, const BatchOptions& options,
                        std::function<T(const std::vector<std::int64_t>& rows, Generator& random)> collate, Here here) {
  return {sample_source(
              checksum, std::move(lengths), options,
              [collate = std::move(collate)](const std::vector<std::int64_t>& rows, Generator& random) {
                return std::static_pointer_cast<void>(std::make_shared<T>(collate(rows, random)));
              },
              here),
          options.prefetch};
}
}  // namespace detail

template <class T>
Batches<T> make_batches(std::vector<std::int64_t> lengths, const BatchOptions& options,
                        std::function<T(const std::vector<std::int64_t>& rows, Generator& random)> collate, Here here) {
  return detail::make_batches<T>(0, std::move(lengths), options, std::move(collate), here);
}

}  // namespace attune::nn
