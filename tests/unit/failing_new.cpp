// A file of its own: where they were inlined, g++ would take the pairs of new and delete for mismatched.

#include "tests/unit/failing_new.h"

#include <atomic>
#include <cstdlib>
#include <new>

namespace {

constinit std::atomic<long> until_failure{0};  // calls, the last of which is to fail

[[maybe_unused]] void* checked(void* p) {
  if (!p) throw std::bad_alloc();
  return p;
}

[[maybe_unused]] void count() {
  if (until_failure.load(std::memory_order_relaxed) > 0 && until_failure.fetch_sub(1) == 1) throw std::bad_alloc();
}

}  // namespace

namespace attune::tests {
long fail_new(long n) { return until_failure.exchange(n); }
}  // namespace attune::tests

#if ATTUNE_OWN_NEW

// The whole program's. The forms for arrays and without exceptions call these.
void* operator new(std::size_t bytes) {
  count();
  return checked(std::malloc(bytes == 0 ? 1 : bytes));
}
void* operator new(std::size_t bytes, std::align_val_t alignment) {
  count();
  const auto unit = static_cast<std::size_t>(alignment);
  return checked(std::aligned_alloc(unit, (bytes / unit + 1) * unit));
}
void operator delete(void* p) noexcept { std::free(p); }
void operator delete(void* p, std::size_t) noexcept { std::free(p); }
void operator delete(void* p, std::align_val_t) noexcept { std::free(p); }
void operator delete(void* p, std::size_t, std::align_val_t) noexcept { std::free(p); }

#endif
