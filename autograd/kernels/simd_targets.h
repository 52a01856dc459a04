// Include before anything of Highway: limits each kernel file to three instruction sets (AVX-512, AVX2 with FMA, and
// the portable baseline), of which the best that the machine has is chosen at run time.
#pragma once

#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_SSE4 | HWY_AVX3_DL)
#define HWY_BROKEN_EMU128 \
  1  // its MaskedLoad reads whole vectors, beyond the end of an array; HWY_SCALAR takes its place

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"  // g++ 12's own AVX-512 header (_mm512_undefined_ps)
#endif
