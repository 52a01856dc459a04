#include "autograd/runtime/memory.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <new>
#include <vector>

#include "autograd/runtime/error.h"

#if defined(__SANITIZE_ADDRESS__)
#define ATTUNE_NO_POOL 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ATTUNE_NO_POOL 1
#endif
#endif

namespace attune {

namespace {

#ifdef ATTUNE_NO_POOL
constexpr bool pooled = false;  // so that the sanitizer sees every block's end
#else
constexpr bool pooled = true;
#endif

constexpr std::size_t alignment = 64;
constexpr int small_classes = 17;                      // 64, 128, ..., 1024 bytes at index 1..16
constexpr int class_count = small_classes + 4 * 50;    // then four sizes to an octave
constexpr std::size_t thread_block_limit = 64 << 10;   // larger blocks go to the shared lists at once
constexpr std::size_t thread_class_bytes = 256 << 10;  // what a thread keeps of one class
constexpr std::int64_t flush_bytes = 32 << 10;         // a thread's counts may differ from the shared ones by this much
constexpr std::int64_t least_cache_limit = 256 << 20;

struct SizeClass {
  int index;
  std::size_t bytes;
};

SizeClass class_of(std::size_t bytes) {
  if (bytes <= 1024) {
    const std::size_t units = bytes == 0 ? 1 : (bytes + 63) / 64;
    return {static_cast<int>(units), units * 64};
  }
  const int octave = static_cast<int>(std::bit_width(bytes - 1)) - 1;  // 2^octave < bytes <= 2^(octave + 1)
  const std::size_t step = std::size_t{1} << (octave - 2);
  const std::size_t steps = (bytes - (std::size_t{1} << octave) + step - 1) / step;  // 1..4
  return {small_classes + 4 * (octave - 10) + static_cast<int>(steps) - 1, (std::size_t{1} << octave) + steps * step};
}

std::atomic<std::int64_t> live_bytes{0}, peak_bytes{0}, live_blocks{0}, cached_bytes{0}, budget{0};

void raise_peak(std::int64_t live) {
  std::int64_t peak = peak_bytes.load(std::memory_order_relaxed);
  while (live > peak && !peak_bytes.compare_exchange_weak(peak, live, std::memory_order_relaxed)) {
  }
}

/// The lists that all threads share. Never destroyed: static tensors may outlive any static.
struct Shared {
  std::mutex mutex;
  std::array<std::vector<void*>, class_count> free;
};
Shared& shared() {
  static Shared* s = new Shared;
  return *s;
}

struct ThreadCache {
  std::array<std::vector<void*>, class_count> free;
  std::int64_t bytes = 0, blocks = 0;  // counted here, not yet in the shared counters

  void flush() {
    const std::int64_t live = live_bytes.fetch_add(bytes, std::memory_order_relaxed) + bytes;
    live_blocks.fetch_add(blocks, std::memory_order_relaxed);
    bytes = blocks = 0;
    raise_peak(live);
  }
  ~ThreadCache();
};

enum class CacheState : std::uint8_t { none, alive, gone };
thread_local constinit CacheState cache_state = CacheState::none;
thread_local constinit ThreadCache* this_cache = nullptr;

ThreadCache* thread_cache() {
  if (cache_state == CacheState::alive) return this_cache;
  if (cache_state == CacheState::gone) return nullptr;
  static thread_local ThreadCache cache;
  this_cache = &cache;
  cache_state = CacheState::alive;
  return this_cache;
}

ThreadCache::~ThreadCache() {
  cache_state = CacheState::gone;
  flush();
  Shared& s = shared();
  const std::lock_guard lock(s.mutex);
  for (int c = 0; c < class_count; ++c) {
    auto& to = s.free[static_cast<std::size_t>(c)];
    auto& from = free[static_cast<std::size_t>(c)];
    to.insert(to.end(), from.begin(), from.end());
  }
}

std::string mebibytes(double bytes) {
  char text[32];
  std::snprintf(text, sizeof text, "%.1f MiB", bytes / (1 << 20));
  return text;
}

void check_budget(std::size_t bytes) {
  const std::int64_t limit = budget.load(std::memory_order_relaxed);
  if (limit == 0) return;
  if (ThreadCache* cache = thread_cache()) cache->flush();
  const std::int64_t live = live_bytes.load(std::memory_order_relaxed);
  if (bytes <= static_cast<std::size_t>(limit) && live <= limit - static_cast<std::int64_t>(bytes)) return;
  throw MemoryError("memory: " + mebibytes(static_cast<double>(bytes)) + " requested with " +
                    mebibytes(static_cast<double>(live)) + " live exceeds the budget of " +
                    mebibytes(static_cast<double>(limit)));
}

void count(ThreadCache* cache, std::int64_t bytes, std::int64_t blocks) {
  if (cache) {
    cache->bytes += bytes;
    cache->blocks += blocks;
    if (cache->bytes > flush_bytes || cache->bytes < -flush_bytes) cache->flush();
    return;
  }
  raise_peak(live_bytes.fetch_add(bytes, std::memory_order_relaxed) + bytes);
  live_blocks.fetch_add(blocks, std::memory_order_relaxed);
}

void* pop(std::vector<void*>& list) {
  if (list.empty()) return nullptr;
  void* p = list.back();
  list.pop_back();
  return p;
}

void* from_system(std::size_t bytes) {
  constexpr std::size_t most =
      std::size_t{1} << 47;  // beyond any address space: not worth asking, and an abort under AddressSanitizer
  if (bytes < most) {
    if (void* p = std::aligned_alloc(alignment, bytes)) return p;
    release_cached_memory();
    if (void* p = std::aligned_alloc(alignment, bytes)) return p;
  }
  throw MemoryError("memory: the system has no " + mebibytes(static_cast<double>(bytes)) + " to give");
}

}  // namespace

namespace pool {

void* allocate(std::size_t bytes) {
  if (bytes > (std::size_t{1} << 60))
    throw MemoryError("memory: the system has no " + mebibytes(static_cast<double>(bytes)) + " to give");
  const SizeClass c = class_of(bytes);
  check_budget(c.bytes);
  ThreadCache* cache = thread_cache();
  void* p = nullptr;
  if (pooled) {
    if (cache && c.bytes <= thread_block_limit) p = pop(cache->free[static_cast<std::size_t>(c.index)]);
    if (!p) {
      Shared& s = shared();
      const std::lock_guard lock(s.mutex);
      p = pop(s.free[static_cast<std::size_t>(c.index)]);
    }
    if (p) cached_bytes.fetch_sub(static_cast<std::int64_t>(c.bytes), std::memory_order_relaxed);
  }
  if (!p) p = from_system(c.bytes);
  count(cache, static_cast<std::int64_t>(c.bytes), 1);
  return p;
}

void deallocate(void* p, std::size_t bytes) noexcept {
  if (!p) return;
  const SizeClass c = class_of(bytes);
  ThreadCache* cache = thread_cache();
  count(cache, -static_cast<std::int64_t>(c.bytes), -1);
  const std::int64_t limit = std::max(least_cache_limit, peak_bytes.load(std::memory_order_relaxed));
  if (!pooled || cached_bytes.load(std::memory_order_relaxed) + static_cast<std::int64_t>(c.bytes) > limit) {
    std::free(p);
    return;
  }
  cached_bytes.fetch_add(static_cast<std::int64_t>(c.bytes), std::memory_order_relaxed);
  if (cache && c.bytes <= thread_block_limit) {
    auto& list = cache->free[static_cast<std::size_t>(c.index)];
    if (list.size() * c.bytes < thread_class_bytes) {
      list.push_back(p);
      return;
    }
  }
  Shared& s = shared();
  const std::lock_guard lock(s.mutex);
  s.free[static_cast<std::size_t>(c.index)].push_back(p);
}

}  // namespace pool

MemoryStats memory_stats() {
  if (ThreadCache* cache = thread_cache()) cache->flush();
  return {live_bytes.load(), peak_bytes.load(), live_blocks.load(), cached_bytes.load()};
}

void reset_peak_memory() {
  if (ThreadCache* cache = thread_cache()) cache->flush();
  peak_bytes.store(live_bytes.load());
}

void set_memory_budget(std::int64_t bytes) {
  if (bytes < 0) throw ValueError("set_memory_budget: " + std::to_string(bytes) + " bytes is negative");
  budget.store(bytes);
}

std::int64_t memory_budget() { return budget.load(); }

void release_cached_memory() {
  const auto drop = [](auto& lists) {
    for (int c = 0; c < class_count; ++c)
      for (void*& p : lists[static_cast<std::size_t>(c)]) std::free(p);
    for (auto& list : lists) list.clear();
  };
  Shared& s = shared();
  const std::lock_guard lock(s.mutex);
  // What other threads keep (at most 256 KiB a class) stays with them.
  std::int64_t dropped = 0;
  const auto add = [&](const auto& lists) {
    for (int c = 1; c < class_count; ++c) {
      const std::size_t octave_step = static_cast<std::size_t>(c - small_classes);
      const std::size_t bytes = c < small_classes
                                    ? static_cast<std::size_t>(c) * 64
                                    : (std::size_t{1} << (10 + octave_step / 4)) +
                                          (octave_step % 4 + 1) * (std::size_t{1} << (8 + octave_step / 4));
      dropped += static_cast<std::int64_t>(lists[static_cast<std::size_t>(c)].size() * bytes);
    }
  };
  add(s.free);
  drop(s.free);
  if (ThreadCache* cache = thread_cache()) {
    add(cache->free);
    drop(cache->free);
  }
  cached_bytes.fetch_sub(dropped);
}

}  // namespace attune
