#include "autograd/runtime/parallel.h"

#include <omp.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdlib>
#include <exception>
#include <mutex>
#include <string>

#include "autograd/runtime/error.h"

namespace attune {

namespace {

constexpr int most_threads = 4096;  // OpenMP aborts if the system has no more of them

/// ATTUNE_NUM_THREADS if it is a number of at least 1; else OpenMP's (OMP_NUM_THREADS), but no more than the cores.
int initial_threads() {
  if (const char* text = std::getenv("ATTUNE_NUM_THREADS")) {
    char* end = nullptr;
    const long n = std::strtol(text, &end, 10);
    if (end != text && *end == '\0' && n >= 1) return static_cast<int>(std::min<long>(n, most_threads));
  }
  return std::min(omp_get_max_threads(), omp_get_num_procs());
}

std::atomic<int>& thread_count() {
  static std::atomic<int> n{initial_threads()};
  return n;
}

thread_local constinit bool inside = false;  // of a piece of a parallel_for: what it calls stays on its thread

constexpr int most_shares = 32;

/// Consecutive chunks, and which of them is next; on a cache line of its own.
struct alignas(64) Share {
  std::atomic<std::int64_t> next{0};
  std::int64_t end = 0;
};

/// The exception of the lowest chunk that threw.
class FirstFailure {
 public:
  void keep(std::int64_t chunk) {
    const std::lock_guard lock(mutex_);
    if (error_ && chunk_ < chunk) return;
    chunk_ = chunk;
    error_ = std::current_exception();
  }
  void rethrow() const {
    if (error_) std::rethrow_exception(error_);
  }

 private:
  std::mutex mutex_;
  std::int64_t chunk_ = 0;
  std::exception_ptr error_;
};

}  // namespace

int num_threads() { return thread_count().load(std::memory_order_relaxed); }

void set_num_threads(int n) {
  if (n < 1 || n > most_threads)
    throw ValueError("set_num_threads: " + std::to_string(n) + " threads; it takes 1 to " +
                     std::to_string(most_threads));
  thread_count().store(n);
}

namespace detail {

void parallel_chunks(std::int64_t chunks, void* context, void (*run)(void*, std::int64_t)) {
  const int threads = static_cast<int>(std::min<std::int64_t>(chunks, num_threads()));
  if (threads <= 1 || inside) {
    for (std::int64_t c = 0; c < chunks; ++c) run(context, c);
    return;
  }
  // Each thread begins with the same share of every loop, since what it wrote in the last one is in its own caches;
  // then it helps the others.
  const int shares = std::min(threads, most_shares);
  std::array<Share, most_shares> all;
  for (int i = 0; i < shares; ++i) {
    all[static_cast<std::size_t>(i)].next.store(chunks * i / shares, std::memory_order_relaxed);
    all[static_cast<std::size_t>(i)].end = chunks * (i + 1) / shares;
  }
  FirstFailure failure;
#pragma omp parallel num_threads(threads)
  {
    inside = true;
    for (int i = 0; i < shares; ++i) {
      Share& share = all[static_cast<std::size_t>((omp_get_thread_num() + i) % shares)];
      for (std::int64_t c; (c = share.next.fetch_add(1, std::memory_order_relaxed)) < share.end;) {
        try {
          run(context, c);
        } catch (...) {
          failure.keep(c);
        }
      }
    }
    inside = false;
  }
  failure.rethrow();
}

}  // namespace detail
}  // namespace attune
