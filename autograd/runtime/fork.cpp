#include "autograd/runtime/fork.h"

#include <pthread.h>
#include <sched.h>

#include <array>
#include <atomic>
#include <cstddef>

namespace attune {

namespace {

/// Threads inside a section, counted in one of several places so that they seldom share a cache line.
struct alignas(64) Count {
  std::atomic<int> inside{0};
};

constexpr std::size_t most_resets = 8;

constinit std::array<Count, 16> counts;
constinit std::atomic<int> forking{0};
constinit std::atomic<unsigned> next_place{0};
constinit std::array<std::atomic<void (*)() noexcept>, most_resets> resets{};

[[gnu::tls_model("initial-exec")]] thread_local constinit int depth = 0;
[[gnu::tls_model("initial-exec")]] thread_local constinit unsigned place = 0;  // 1 + an index of counts

std::atomic<int>& count_of_this_thread() {
  if (place == 0) place = 1 + next_place.fetch_add(1, std::memory_order_relaxed) % counts.size();
  return counts[place - 1].inside;
}

void before_fork() {
  forking.fetch_add(1);
  if (depth > 0) return;  // a signal handler's fork, inside a section of its own thread: it must not wait for itself
  for (const Count& c : counts)
    while (c.inside.load() > 0) sched_yield();
}

void in_parent() { forking.fetch_sub(1); }

void in_child() {
  forking.store(0);
  for (Count& c : counts) c.inside.store(0);
  if (depth > 0) count_of_this_thread().store(1);
  for (auto& reset : resets)
    if (auto* call = reset.load()) call();
}

[[maybe_unused]] const int registered = pthread_atfork(before_fork, in_parent, in_child);

}  // namespace

ForkSection::ForkSection() noexcept {
  if (depth++ > 0) return;
  std::atomic<int>& inside = count_of_this_thread();
  // Either this thread sees the fork, or the fork sees this thread.
  for (inside.fetch_add(1); forking.load() > 0; inside.fetch_add(1)) {
    inside.fetch_sub(1);
    while (forking.load() > 0) sched_yield();
  }
}

ForkSection::~ForkSection() {
  if (--depth == 0) count_of_this_thread().fetch_sub(1, std::memory_order_release);
}

namespace detail {

void in_forked_child(void (*reset)() noexcept) {
  for (auto& place_for : resets) {
    void (*none)() noexcept = nullptr;
    if (place_for.compare_exchange_strong(none, reset) || none == reset) return;
  }
}

}  // namespace detail
}  // namespace attune
