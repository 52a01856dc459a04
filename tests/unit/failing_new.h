// The test program's operator new, which can be made to fail.
#pragma once

namespace attune::tests {

/// The n-th call of operator new from now on (1: the next one), by any thread, in the library too, throws
/// std::bad_alloc; 0: none does. Returns how far the failure asked for before still was: 0 if it came.
long fail_new(long n);

}  // namespace attune::tests
