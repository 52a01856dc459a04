// Philox in vectors: the words of philox() for a block a 64-bit lane. Compiled once per instruction set.
#if defined(ATTUNE_KERNELS_PHILOX_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef ATTUNE_KERNELS_PHILOX_INL_H_
#undef ATTUNE_KERNELS_PHILOX_INL_H_
#else
#define ATTUNE_KERNELS_PHILOX_INL_H_
#endif

#include "autograd/kernels/simd-inl.h"
#include "autograd/runtime/philox.h"

HWY_BEFORE_NAMESPACE();
namespace attune::kernels::HWY_NAMESPACE {

#if HWY_TARGET != HWY_SCALAR
/// The words in the lower halves of the lanes; what is in the upper ones is undefined.
template <class V>
struct PhiloxWords {
  V word0, word1, word2, word3;
};

/// A multiplication reads only the lower halves, so that nobody needs to clear the upper ones.
template <class V>
HWY_INLINE PhiloxWords<V> philox_blocks(RandomKey key, V block) {
  const hn::DFromV<V> d;
  const hn::Repartition<std::uint32_t, decltype(d)> half;
  const auto times = [&](V x, V factor)
                         ATTUNE_SIMD { return hn::MulEven(hn::BitCast(half, x), hn::BitCast(half, factor)); };
  const V factor0 = hn::Set(d, 0xD2511F53), factor1 = hn::Set(d, 0xCD9E8D57);
  V c0 = block, c1 = hn::ShiftRight<32>(block);
  V c2 = hn::Set(d, key.counter), c3 = hn::Set(d, key.counter >> 32);
  std::uint64_t k0 = key.seed, k1 = key.seed >> 32;
  for (int round = 0; round < 10; ++round) {
    const V p0 = times(c0, factor0), p1 = times(c2, factor1);
    c0 = hn::Xor(hn::Xor(hn::ShiftRight<32>(p1), c1), hn::Set(d, k0));
    c1 = p1;
    c2 = hn::Xor(hn::Xor(hn::ShiftRight<32>(p0), c3), hn::Set(d, k1));
    c3 = p0;
    k0 += 0x9E3779B9;
    k1 += 0xBB67AE85;
  }
  return {c0, c1, c2, c3};
}
#endif

}  // namespace attune::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
