// The number of owners of a shared object.
#pragma once

#include <sys/single_threaded.h>

#include <atomic>
#include <cstdint>

namespace attune {

/// Starts at one. An atomic read-modify-write costs as much as a small operation's arithmetic, so it is spared where it
/// is not needed: while the process has one thread (glibc knows), and when the last owner leaves.
class RefCount {
 public:
  void retain() noexcept {
    if (__libc_single_threaded)
      count_.store(count_.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
    else
      count_.fetch_add(1, std::memory_order_relaxed);
  }
  /// Whether that was the last owner.
  [[nodiscard]] bool release() noexcept {
    if (unique()) return true;  // nobody else can share what only the caller owns
    if (__libc_single_threaded) {
      count_.store(count_.load(std::memory_order_relaxed) - 1, std::memory_order_relaxed);
      return false;
    }
    return count_.fetch_sub(1, std::memory_order_acq_rel) == 1;
  }
  std::uint32_t count() const noexcept { return count_.load(std::memory_order_acquire); }
  bool unique() const noexcept { return count_.load(std::memory_order_acquire) == 1; }

 private:
  std::atomic<std::uint32_t> count_{1};
};

}  // namespace attune
