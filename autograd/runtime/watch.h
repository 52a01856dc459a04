// Who watches the work being done: nobody, except while a profile is taken. Then every operation's frame and every
// matrix product is told; otherwise that costs a branch.
#pragma once

#include <atomic>
#include <cstdint>

namespace attune {

class Frame;

class Watcher {
 public:
  virtual void entered(const Frame& frame) noexcept = 0;
  virtual void left(const Frame& frame) noexcept = 0;

 protected:
  ~Watcher() = default;
};

namespace watch {

extern std::atomic<Watcher*> watcher;  // null: nobody; one that was here once lives as long as the process
// What was done while somebody watched, by all threads.
extern std::atomic<std::int64_t> flops;  // of matrix products: a multiplication and an addition are two
extern std::atomic<std::int64_t> bytes;  // of the tensors that operations read and wrote

inline bool on() { return watcher.load(std::memory_order_relaxed) != nullptr; }

inline void multiplied(std::int64_t m, std::int64_t n, std::int64_t k) {
  if (on()) [[unlikely]]
    flops.fetch_add(2 * m * n * k, std::memory_order_relaxed);
}

}  // namespace watch

}  // namespace attune
