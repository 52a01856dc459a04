#include <algorithm>

#include "autograd/runtime/fork.h"
#include "autograd/runtime/internal/helper_budget.h"

namespace attune::detail {

void HelperBudget::lost(Nanoseconds waited, int helpers, Nanoseconds now) {
  const ForkSafeLock lock(mutex_);
  const Nanoseconds earned = std::max<Nanoseconds>(0, now - counted_at_) / rate;
  counted_at_ = now;
  credit_ = std::max(std::min(credit_ + earned, full_credit) - waited, -largest_debt);
  if (credit_ >= 0) return;
  allowed_.store(std::min(allowed_.load(std::memory_order_relaxed), helpers / 2), std::memory_order_relaxed);
  next_raise_.store(now - credit_ * rate, std::memory_order_relaxed);
}

void HelperBudget::reset() {
  const ForkSafeLock lock(mutex_);
  credit_ = full_credit;
  allowed_.store(everybody, std::memory_order_relaxed);
}

int HelperBudget::raised(int wanted, int most, Nanoseconds now) {
  Nanoseconds when = next_raise_.load(std::memory_order_relaxed);
  if (now < when) return most;
  // One thread raises; who comes second finds the next time.
  if (!next_raise_.compare_exchange_strong(when, now + between_raises, std::memory_order_relaxed)) return most;
  const int more = most < wanted / 2 ? 2 * most + 1 : wanted;
  allowed_.compare_exchange_strong(most, more == wanted ? everybody : more, std::memory_order_relaxed);
  return more;
}

}  // namespace attune::detail
