#include "autograd/runtime/memory.h"

#include <malloc.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <new>
#include <string>

#include "autograd/runtime/error.h"
#include "autograd/runtime/fork.h"
#include "autograd/runtime/internal/failing_memory.h"

// Under AddressSanitizer every block goes through malloc, so that it sees each block's end.
#if defined(__SANITIZE_ADDRESS__)
#define ATTUNE_POOL 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ATTUNE_POOL 0
#endif
#endif
#ifndef ATTUNE_POOL
#define ATTUNE_POOL 1
#endif

namespace attune {

namespace {

using Bytes = std::int64_t;

constexpr bool pooled = ATTUNE_POOL != 0;
constexpr std::size_t alignment = 64;
// More than a machine has, and less than what makes the sanitizers' malloc abort.
constexpr std::size_t largest_request = std::size_t{1} << 39;
constexpr std::size_t thread_limit = std::size_t{64} << 10;        // larger blocks go to the shared lists at once
constexpr std::size_t thread_list_bytes = std::size_t{256} << 10;  // what a thread keeps of one class, at most
constexpr std::size_t counted_at_once = 4096;                      // smaller blocks are counted by their thread first,
constexpr Bytes counted_apart = 32 << 10;                          // as long as they add up to no more than this
constexpr Bytes least_held = Bytes{256} << 20;                     // what the pool may always hold

// Size classes: multiples of 64 bytes up to 1 KiB (indices 1 to 16), then four steps to an octave.
constexpr int linear_classes = 17;

constexpr int class_of(std::size_t bytes) {
  if (bytes <= 1024) return bytes == 0 ? 1 : static_cast<int>((bytes + 63) / 64);
  const int octave = static_cast<int>(std::bit_width(bytes - 1)) - 1;  // 2^octave < bytes <= 2^(octave + 1)
  const std::size_t step = ((bytes - 1) >> (octave - 2)) & 3;
  return linear_classes + 4 * (octave - 10) + static_cast<int>(step);
}

constexpr std::size_t bytes_of(int index) {
  if (index < linear_classes) return static_cast<std::size_t>(index) * 64;
  const int octave = 10 + (index - linear_classes) / 4;
  const auto step = static_cast<std::size_t>((index - linear_classes) % 4 + 1);
  return (std::size_t{1} << octave) + (step << (octave - 2));
}

constexpr int thread_classes = class_of(thread_limit) + 1;
constexpr int class_count = class_of(largest_request) + 1;
static_assert(bytes_of(class_of(1025)) == 1280 && bytes_of(class_of(1280)) == 1280 && class_of(1281) == 18);
static_assert(bytes_of(thread_classes - 1) == thread_limit && bytes_of(class_count - 1) == largest_request);

constexpr std::size_t thread_list_blocks(int index) {
  return std::max<std::size_t>(4, thread_list_bytes / bytes_of(index));
}

/// Free blocks of one class, linked through their first words.
class FreeList {
 public:
  std::size_t size() const { return size_; }
  void push(void* p) {
    head_ = new (p) Block{head_};
    ++size_;
  }
  void* pop() {
    Block* b = head_;
    if (!b) return nullptr;
    head_ = b->next;
    --size_;
    return b;
  }
  void move_to(FreeList& other, std::size_t count) {
    for (; count > 0 && head_; --count) other.push(pop());
  }

 private:
  struct Block {
    Block* next;
  };
  Block* head_ = nullptr;
  std::size_t size_ = 0;
};

// Bytes handed out; the most of them; their blocks; the bytes taken from the system (handed out or free).
constinit std::atomic<Bytes> live_bytes{0}, peak_bytes{0}, live_blocks{0}, held_bytes{0}, budget{0};
constinit std::atomic<std::int64_t> until_failure{0};  // allocations, the last of which is to fail; tests set it
constinit std::atomic<bool> checked{false};            // whether there is a budget or a failure to come

constinit std::mutex shared_mutex;
constinit FreeList shared_lists[class_count];  // trivially destructible: static tensors may outlive any static

void raise_peak(Bytes live) {
  Bytes peak = peak_bytes.load(std::memory_order_relaxed);
  while (live > peak && !peak_bytes.compare_exchange_weak(peak, live, std::memory_order_relaxed)) {
  }
}

struct ThreadCache {
  FreeList lists[thread_classes];
  // Counted here and not yet in the shared counters, and the highest that `bytes` has been meanwhile.
  Bytes bytes = 0, top = 0, blocks = 0;

  ~ThreadCache();
  void count(Bytes b, Bytes n) {
    bytes += b;
    blocks += n;
    top = std::max(top, bytes);
    if (b >= Bytes{counted_at_once} || b <= -Bytes{counted_at_once} || bytes > counted_apart || bytes < -counted_apart)
      flush();
  }
  void flush() {
    raise_peak(live_bytes.fetch_add(bytes, std::memory_order_relaxed) + top);
    live_blocks.fetch_add(blocks, std::memory_order_relaxed);
    bytes = top = blocks = 0;
  }
};

// A plain pointer is read in one instruction; the cache itself is made at a thread's first allocation, and is gone when
// the thread's last destructors run.
[[gnu::tls_model("initial-exec")]] thread_local constinit ThreadCache* this_cache = nullptr;
thread_local constinit bool cache_gone = false;

[[gnu::noinline]] ThreadCache* new_thread_cache() {
  if (cache_gone) return nullptr;
  static thread_local ThreadCache cache;
  return this_cache = &cache;
}

ThreadCache* thread_cache() { return this_cache ? this_cache : new_thread_cache(); }

ThreadCache::~ThreadCache() {
  this_cache = nullptr;
  cache_gone = true;
  flush();
  const ForkSafeLock lock(shared_mutex);
  for (int c = 0; c < thread_classes; ++c) lists[c].move_to(shared_lists[c], lists[c].size());
}

void count(ThreadCache* cache, Bytes bytes, Bytes blocks) {
  if (cache) return cache->count(bytes, blocks);
  raise_peak(live_bytes.fetch_add(bytes, std::memory_order_relaxed) + bytes);
  live_blocks.fetch_add(blocks, std::memory_order_relaxed);
}

std::string text_of(Bytes bytes) {
  char text[48];
  std::snprintf(text, sizeof text, "%.1f MiB", static_cast<double>(bytes) / (1 << 20));
  return text;
}

[[noreturn]] void throw_exhausted(std::size_t bytes) {
  throw MemoryError("memory: the system has no " + text_of(static_cast<Bytes>(std::min(bytes, SIZE_MAX / 2))) +
                    " to give");
}

/// Out of the usual way: refuses an allocation beyond the budget.
[[gnu::noinline]] void check(ThreadCache* cache, Bytes bytes) {
  if (until_failure.load() > 0 && until_failure.fetch_sub(1) == 1)
    throw MemoryError("memory: the allocation that was to fail");
  const Bytes limit = budget.load(std::memory_order_relaxed);
  if (limit == 0) return;
  if (cache) cache->flush();
  const Bytes live = live_bytes.load(std::memory_order_relaxed);
  if (live <= limit - bytes) return;
  throw MemoryError("memory: " + text_of(bytes) + " requested with " + text_of(live) + " live exceeds the budget of " +
                    text_of(limit));
}

void release(FreeList& list, int index) {
  held_bytes.fetch_sub(static_cast<Bytes>(list.size() * bytes_of(index)), std::memory_order_relaxed);
  while (void* p = list.pop()) std::free(p);
}

/// Returns what this thread and the shared lists keep; other threads keep theirs, which is little.
void release_lists() {
  if (ThreadCache* cache = thread_cache())
    for (int c = 1; c < thread_classes; ++c) release(cache->lists[c], c);
  const ForkSafeLock lock(shared_mutex);
  for (int c = 1; c < class_count; ++c) release(shared_lists[c], c);
}

void* from_system(int index) {
  const std::size_t bytes = bytes_of(index);
  // Free blocks of sizes that nobody asks for any more must not pile up.
  const Bytes more = static_cast<Bytes>(bytes);
  const Bytes peak =
      std::max(peak_bytes.load(std::memory_order_relaxed), live_bytes.load(std::memory_order_relaxed) + more);
  if (held_bytes.load(std::memory_order_relaxed) + more > std::max(least_held, 2 * peak)) release_lists();
  void* p = std::aligned_alloc(alignment, bytes);
  if (!p) {
    release_lists();
    p = std::aligned_alloc(alignment, bytes);
  }
  if (!p) throw_exhausted(bytes);
  held_bytes.fetch_add(more, std::memory_order_relaxed);
  return p;
}

/// A block that the thread's own list does not have; if it keeps such blocks, it takes a few at once.
[[gnu::noinline]] void* from_others(ThreadCache* cache, int index) {
  if (pooled) {
    const ForkSafeLock lock(shared_mutex);
    FreeList& list = shared_lists[index];
    if (void* p = list.pop()) {
      if (cache && index < thread_classes) list.move_to(cache->lists[index], thread_list_blocks(index) / 2);
      return p;
    }
  }
  return from_system(index);
}

[[gnu::noinline]] void to_others(ThreadCache* cache, void* p, int index) noexcept {
  if (!pooled) {
    held_bytes.fetch_sub(static_cast<Bytes>(bytes_of(index)), std::memory_order_relaxed);
    return std::free(p);
  }
  const ForkSafeLock lock(shared_mutex);
  shared_lists[index].push(p);
  if (cache && index < thread_classes) cache->lists[index].move_to(shared_lists[index], thread_list_blocks(index) / 2);
}

}  // namespace

namespace pool {

void* allocate(std::size_t bytes) {
  if (bytes > largest_request) throw_exhausted(bytes);
  const int index = class_of(bytes);
  const auto rounded = static_cast<Bytes>(bytes_of(index));
  ThreadCache* const cache = thread_cache();
  if (checked.load(std::memory_order_relaxed)) [[unlikely]]
    check(cache, rounded);
  void* p = cache && index < thread_classes ? cache->lists[index].pop() : nullptr;
  if (!p) p = from_others(cache, index);
  count(cache, rounded, 1);
  return p;
}

void deallocate(void* p, std::size_t bytes) noexcept {
  if (!p) return;
  const int index = class_of(bytes);
  ThreadCache* const cache = thread_cache();
  count(cache, -static_cast<Bytes>(bytes_of(index)), -1);
  if (pooled && cache && index < thread_classes && cache->lists[index].size() < thread_list_blocks(index))
    cache->lists[index].push(p);
  else
    to_others(cache, p, index);
}

}  // namespace pool

MemoryStats memory_stats() {
  if (ThreadCache* cache = thread_cache()) cache->flush();
  const Bytes live = live_bytes.load();
  return {live, peak_bytes.load(), live_blocks.load(), std::max<Bytes>(0, held_bytes.load() - live)};
}

void reset_peak_memory() {
  if (ThreadCache* cache = thread_cache()) cache->flush();
  peak_bytes.store(live_bytes.load());
}

void set_memory_budget(std::int64_t bytes) {
  if (bytes < 0) throw ValueError("set_memory_budget: " + std::to_string(bytes) + " bytes is negative");
  budget.store(bytes);
  checked.store(bytes > 0 || until_failure.load() > 0);
}

std::int64_t detail::fail_allocation(std::int64_t n) {
  const std::int64_t left = until_failure.exchange(n);
  checked.store(n > 0 || budget.load() > 0);
  return left;
}

std::int64_t memory_budget() { return budget.load(); }

void release_cached_memory() {
  release_lists();
#ifdef __GLIBC__
  malloc_trim(0);  // small blocks leave holes in its heap
#endif
}

}  // namespace attune
