// What a piece of work takes.
#pragma once

#include <chrono>

#include "autograd/runtime/memory.h"

namespace examples {

struct Cost {
  double seconds = 0;
  double mebibytes = 0;  ///< of tensors, at the most, those from before among them
};

template <class F>
Cost cost_of(F&& f) {
  attune::reset_peak_memory();
  const auto before = std::chrono::steady_clock::now();
  f();
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - before;
  return {took.count(), static_cast<double>(attune::memory_stats().peak_bytes) / (1 << 20)};
}

}  // namespace examples
