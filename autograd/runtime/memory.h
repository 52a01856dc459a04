// A size-class memory pool: 64-byte aligned blocks, counters, and an optional budget.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace attune {

/// What the pool has handed out, in bytes (rounded to size classes), and how many blocks.
struct MemoryStats {
  std::int64_t live_bytes = 0;
  std::int64_t peak_bytes = 0;
  std::int64_t live_blocks = 0;
  std::int64_t cached_bytes = 0;  ///< free blocks kept for reuse
};

MemoryStats memory_stats();
void reset_peak_memory();  ///< peak_bytes = live_bytes
/// 0: none. A request that would exceed it throws MemoryError before anything is allocated.
void set_memory_budget(std::int64_t bytes);
std::int64_t memory_budget();
void release_cached_memory();  ///< returns free blocks to the system

namespace pool {
/// At least `bytes` bytes at a multiple of 64. Throws MemoryError over the budget or if the system has none. bytes =
/// 0 gives a valid block.
void* allocate(std::size_t bytes);
void deallocate(void* p, std::size_t bytes) noexcept;  ///< `bytes` as it was allocated

/// For a container that is made again and again: malloc would return its memory to the system each time.
template <class T>
struct Allocator {
  using value_type = T;
  Allocator() = default;
  template <class U>
  Allocator(const Allocator<U>&) {}
  T* allocate(std::size_t n) { return static_cast<T*>(pool::allocate(n * sizeof(T))); }
  void deallocate(T* p, std::size_t n) noexcept { pool::deallocate(p, n * sizeof(T)); }
  bool operator==(const Allocator&) const = default;
};
template <class T>
using Vector = std::vector<T, Allocator<T>>;
}  // namespace pool

}  // namespace attune
