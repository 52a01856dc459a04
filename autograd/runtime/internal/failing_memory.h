// What tests do to the memory pool.
#pragma once

#include <cstdint>

namespace attune::detail {

/// The n-th allocation from now on (1: the next one), of any thread, throws MemoryError; 0: none does. Returns how
/// far the failure asked for before still was: 0 if it came.
std::int64_t fail_allocation(std::int64_t n);

}  // namespace attune::detail
