#include "autograd/tape/modes.h"

#include <utility>

#include "autograd/tape/internal/thread_state.h"

namespace attune {

thread_local constinit ThreadState thread_state;

bool grad_enabled() { return thread_state.grad_enabled; }

GradMode::GradMode(bool on) noexcept : before_(std::exchange(thread_state.grad_enabled, on)) {}
GradMode::~GradMode() { thread_state.grad_enabled = before_; }

DetectAnomaly::DetectAnomaly() noexcept : before_(std::exchange(thread_state.anomaly, true)) {}
DetectAnomaly::~DetectAnomaly() { thread_state.anomaly = before_; }

Tracing::Tracing() noexcept : before_(std::exchange(thread_state.tracing, true)) {}
Tracing::~Tracing() { thread_state.tracing = before_; }

}  // namespace attune
