// Waiting for another thread: first turning round, then asleep.
#pragma once

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <climits>
#include <cstdint>

namespace attune::detail {

using Nanoseconds = std::int64_t;

inline Nanoseconds now() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

inline void pause() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

/// Whether `done()` came true within so long.
template <class Done>
bool spin(Nanoseconds limit, Done done) {
  for (Nanoseconds until = 0;;) {
    for (int turn = 0; turn < 32; ++turn) {  // between looks at the clock
      if (done()) return true;
      pause();
    }
    const Nanoseconds at = now();
    if (until == 0) until = at + limit;
    if (at >= until) return done();
  }
}

/// Sleeps, unless the word has another value; may return without cause.
inline void wait_while(std::atomic<std::uint32_t>& word, std::uint32_t value) {
  static_assert(sizeof word == sizeof(std::uint32_t));
  syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, value, nullptr, nullptr, 0);
}

inline void wake_waiting(std::atomic<std::uint32_t>& word) {
  syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, INT_MAX, nullptr, nullptr, 0);
}

}  // namespace attune::detail
