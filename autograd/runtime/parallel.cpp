#include "autograd/runtime/parallel.h"

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <string>

#include "autograd/runtime/error.h"
#include "autograd/runtime/internal/processors.h"
#include "autograd/runtime/internal/thread_pool.h"

namespace attune {

namespace {

using detail::most_threads;

/// A variable that begins with a number of at least 1 (OMP_NUM_THREADS may be a list, a level of nesting each); else 0.
int threads_in(const char* variable, bool list) {
  const char* text = std::getenv(variable);
  if (!text) return 0;
  char* end = nullptr;
  const long n = std::strtol(text, &end, 10);
  if (end == text || (*end != '\0' && !(list && *end == ',')) || n < 1) return 0;
  return static_cast<int>(std::min<long>(n, most_threads));
}

int initial_threads() {
  if (const int n = threads_in("ATTUNE_NUM_THREADS", false)) return n;
  const int processors = std::min(detail::usable_processors(), most_threads);
  const int n = threads_in("OMP_NUM_THREADS", true);
  return n > 0 ? std::min(n, processors) : processors;
}

std::atomic<int>& thread_count() {
  static std::atomic<int> n{initial_threads()};
  return n;
}

}  // namespace

int num_threads() { return thread_count().load(std::memory_order_relaxed); }

void set_num_threads(int n) {
  if (n < 1 || n > most_threads)
    throw ValueError("set_num_threads: " + std::to_string(n) + " threads; it takes 1 to " +
                     std::to_string(most_threads));
  thread_count().store(n);
  detail::ThreadPool::instance().trust();
}

namespace detail {

void parallel_chunks(std::int64_t chunks, void* context, void (*run)(void*, std::int64_t)) {
  const int threads = static_cast<int>(std::min<std::int64_t>(chunks, num_threads()));
  if (threads > 1 && !ThreadPool::inside()) return ThreadPool::instance().run(threads, chunks, context, run);
  for (std::int64_t c = 0; c < chunks; ++c) run(context, c);
}

}  // namespace detail
}  // namespace attune
