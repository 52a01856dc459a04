#include "autograd/tape/modes.h"

#include <cstdint>
#include <utility>

#include "autograd/runtime/parallel.h"
#include "autograd/tape/internal/thread_state.h"
#include "autograd/tape/tracing.h"

namespace attune {

thread_local constinit ThreadState thread_state;
constinit std::atomic<bool> traced_everywhere{false};
constinit std::atomic<BackwardWatcher*> backward_watcher{nullptr};

namespace {

// Threads that run pieces of a parallel_for do so under their caller's modes.
constexpr detail::CarriedModes carried{[]() noexcept {
                                         const ThreadState& s = thread_state;
                                         return std::uint64_t{s.grad_enabled} | std::uint64_t{s.anomaly} << 1 |
                                                std::uint64_t{s.tracing} << 2;
                                       },
                                       [](std::uint64_t modes) noexcept {
                                         thread_state.grad_enabled = (modes & 1) != 0;
                                         thread_state.anomaly = (modes & 2) != 0;
                                         thread_state.tracing = (modes & 4) != 0;
                                       }};
[[maybe_unused]] const bool registered = (detail::carry_modes(&carried), true);

}  // namespace

bool grad_enabled() { return thread_state.grad_enabled; }

GradMode::GradMode(bool on) noexcept : before_(std::exchange(thread_state.grad_enabled, on)) {}
GradMode::~GradMode() { thread_state.grad_enabled = before_; }

DetectAnomaly::DetectAnomaly() noexcept : before_(std::exchange(thread_state.anomaly, true)) {}
DetectAnomaly::~DetectAnomaly() { thread_state.anomaly = before_; }

bool tracing() { return tracing_here(); }
void trace_everywhere(bool on) noexcept { traced_everywhere.store(on, std::memory_order_relaxed); }

Tracing::Tracing() noexcept : before_(std::exchange(thread_state.tracing, true)) {}
Tracing::~Tracing() { thread_state.tracing = before_; }

}  // namespace attune
