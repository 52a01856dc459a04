#include "autograd/runtime/parallel.h"

#include <omp.h>

#include <atomic>
#include <cstdlib>
#include <exception>
#include <mutex>

#include "autograd/runtime/error.h"

namespace attune {

namespace {

int initial_threads() {
  if (const char* text = std::getenv("ATTUNE_NUM_THREADS")) {
    const int n = std::atoi(text);
    if (n >= 1) return n;
  }
  return omp_get_max_threads();
}

std::atomic<int>& thread_count() {
  static std::atomic<int> n{initial_threads()};
  return n;
}

thread_local constinit bool inside = false;

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
  if (n < 1) throw ValueError("set_num_threads: " + std::to_string(n) + " threads; at least 1 is needed");
  thread_count().store(n);
}

namespace detail {

void parallel_chunks(std::int64_t chunks, void* context, void (*run)(void*, std::int64_t)) {
  const int threads = static_cast<int>(chunks < num_threads() ? chunks : num_threads());
  if (threads <= 1 || inside) {
    for (std::int64_t c = 0; c < chunks; ++c) run(context, c);
    return;
  }
  FirstFailure failure;
#pragma omp parallel for schedule(dynamic, 1) num_threads(threads)
  for (std::int64_t c = 0; c < chunks; ++c) {
    inside = true;
    try {
      run(context, c);
    } catch (...) {
      failure.keep(c);
    }
    inside = false;
  }
  failure.rethrow();
}

}  // namespace detail
}  // namespace attune
