// Numbers below the smallest normal one, which processors compute with slowly.
#pragma once

#if defined(__SSE__)
#include <xmmintrin.h>
#endif

namespace attune::kernels {

/// While it lives, subnormal operands and results count as 0 on the calling thread. Elsewhere than on x86 it does
/// nothing.
class FlushSubnormals {
 public:
  FlushSubnormals(const FlushSubnormals&) = delete;
  FlushSubnormals& operator=(const FlushSubnormals&) = delete;
#if defined(__SSE__)
  FlushSubnormals() : before_(_mm_getcsr()) { _mm_setcsr(before_ | flush_to_zero | denormals_are_zero); }
  ~FlushSubnormals() { _mm_setcsr(before_); }

 private:
  static constexpr unsigned flush_to_zero = 0x8000, denormals_are_zero = 0x0040;  // of the register MXCSR
  const unsigned before_;
#else
  FlushSubnormals() {}
#endif
};

}  // namespace attune::kernels
