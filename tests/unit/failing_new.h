// The test program's operator new, which can be made to fail.
#pragma once

// Some sanitizers link an operator new of their own.
#if defined(__SANITIZE_THREAD__)
#define ATTUNE_OWN_NEW 0
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer) || __has_feature(address_sanitizer)
#define ATTUNE_OWN_NEW 0
#endif
#endif
#ifndef ATTUNE_OWN_NEW
#define ATTUNE_OWN_NEW 1
#endif

namespace attune::tests {

inline constexpr bool new_can_fail = ATTUNE_OWN_NEW != 0;

/// The n-th call of operator new from now on (1: the next one), by any thread, in the library too, throws
/// std::bad_alloc; 0: none does. Returns how far the failure asked for before still was: 0 if it came.
long fail_new(long n);

}  // namespace attune::tests
