// How many threads may help with a loop, on a machine that others use too.
#pragma once

#include <atomic>
#include <cstdint>
#include <limits>
#include <mutex>

#include "autograd/runtime/internal/waiting.h"

namespace attune::detail {

/// Waiting for a piece whose thread the system has set aside is a loss. Losses may cost a twentieth of the time: they
/// are paid from a credit that grows at that rate, up to what a quiet machine's rare hiccups need. Whoever overdraws it
/// halves the helpers, until time has paid; then they are let in again, one more than twice as many at a time. So
/// helpers that only cost are tried ever again, at a price that is bounded.
class HelperBudget {
 public:
  /// Of `wanted` helpers, those that a loop may have now. `now` is called only if it may have fewer.
  template <class Now>
  int allowed(int wanted, Now now) {
    const int most = allowed_.load(std::memory_order_relaxed);
    return most >= wanted ? wanted : raised(wanted, most, now());
  }
  /// A loop that had `helpers` waited so long for threads that did not run.
  void lost(Nanoseconds waited, int helpers, Nanoseconds now);
  /// As at the start: all helpers, full credit.
  void reset();

 private:
  int raised(int wanted, int most, Nanoseconds now);

  static constexpr int everybody = std::numeric_limits<int>::max();
  static constexpr Nanoseconds full_credit = 10'000'000, largest_debt = 50'000'000, between_raises = 10'000'000;
  static constexpr Nanoseconds rate = 20;  // one of so many nanoseconds may be lost

  std::atomic<int> allowed_{everybody};
  std::atomic<Nanoseconds> next_raise_{0};
  std::mutex mutex_;
  Nanoseconds credit_ = full_credit, counted_at_ = 0;
};

}  // namespace attune::detail
