// Threads: a pool of them underneath, fixed chunks above, so that the number of threads never changes a result.
#pragma once

#include <cstdint>
#include <type_traits>

namespace attune {

/// The most threads that work on a loop. At the start ATTUNE_NUM_THREADS; or the number of processors that this process
/// may use (its affinity mask, its control group's share of time), or OMP_NUM_THREADS if that is less.
int num_threads();
/// 1 <= n <= 4096, also more than there are processors; throws ValueError otherwise. From any thread, at any time.
void set_num_threads(int n);

namespace detail {
void parallel_chunks(std::int64_t chunks, void* context, void (*run)(void* context, std::int64_t chunk));

/// What a thread hands on to those that run chunks of its loops, besides its frames: the tape's modes, as bits.
struct CarriedModes {
  std::uint64_t (*get)() noexcept;
  void (*set)(std::uint64_t modes) noexcept;
};
void carry_modes(const CarriedModes* modes) noexcept;
}  // namespace detail

/// Calls body(begin, end) for consecutive pieces of [0, n) of `grain` elements each (the last one shorter). The pieces
/// depend on n and grain alone, never on the number of threads. One piece, or a call from inside another parallel_for,
/// runs on the calling thread. Other threads help as they come: this one waits only for pieces that somebody has begun.
/// If it has to wait for threads that the system does not let run, later loops get fewer. The pieces run under the
/// caller's modes (NoGrad, DetectAnomaly). An exception thrown by a body is rethrown here (that of the lowest piece).
/// Works in the child of a fork; in one made inside a body, pieces begun by other threads are lost, which throws.
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
  detail::parallel_chunks((n - 1) / grain + 1, &context, [](void* p, std::int64_t chunk) {
    auto& c = *static_cast<Context*>(p);
    const std::int64_t begin = chunk * c.grain;
    (*c.body)(begin, c.grain < c.n - begin ? begin + c.grain : c.n);
  });
}

}  // namespace attune
