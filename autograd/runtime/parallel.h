// Threads: OpenMP underneath, fixed chunks above, so that the number of threads never changes a result.
#pragma once

#include <cstdint>
#include <type_traits>

namespace attune {

/// At the start: ATTUNE_NUM_THREADS, or OMP_NUM_THREADS, or the number of cores, which bounds the latter.
int num_threads();
void set_num_threads(int n);  ///< 1 <= n <= 4096, also more than there are cores; throws ValueError otherwise

namespace detail {
void parallel_chunks(std::int64_t chunks, void* context, void (*run)(void* context, std::int64_t chunk));
}

/// Calls body(begin, end) for consecutive pieces of [0, n) of `grain` elements each (the last one shorter). The pieces
/// depend on n and grain alone, never on the number of threads. One piece, or a call from inside another parallel_for,
/// runs on the calling thread. An exception thrown by a body is rethrown here (the one of the lowest piece).
template <class F>
void parallel_for(std::int64_t n, std::int64_t grain, F&& body) {
  if (n <= 0) return;
  if (n <= grain) {
    body(std::int64_t{0}, n);
    return;
  }
  struct Context {
    std::remove_reference_t<F>* body;
    std::int64_t n, grain;
  } context{&body, n, grain};
  detail::parallel_chunks((n + grain - 1) / grain, &context, [](void* p, std::int64_t chunk) {
    auto& c = *static_cast<Context*>(p);
    const std::int64_t begin = chunk * c.grain;
    (*c.body)(begin, begin + c.grain < c.n ? begin + c.grain : c.n);
  });
}

}  // namespace attune
