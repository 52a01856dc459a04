#include "autograd/kernels/random.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <numbers>
#include <numeric>
#include <type_traits>

#include "autograd/kernels/simd_targets.h"
#include "autograd/runtime/parallel.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "autograd/kernels/random.cpp"
#include "hwy/foreach_target.h"
// After foreach_target.h:
#include "autograd/kernels/philox-inl.h"

HWY_BEFORE_NAMESPACE();
namespace attune::kernels::HWY_NAMESPACE {

/// words[4 i + j] = philox(key, first + i)[j] for i < blocks.
void philox_words(RandomKey key, std::uint64_t first, Size blocks, std::uint32_t* HWY_RESTRICT words) {
  Size i = 0;
#if HWY_TARGET != HWY_SCALAR
  const hn::ScalableTag<std::uint64_t> d;
  const Size step = lanes(d);
  const auto low = hn::Set(d, 0xFFFFFFFF), steps = hn::Set(d, static_cast<std::uint64_t>(step));
  // Even lanes hold the first half of the blocks, odd lanes the second, so that interleaving within 128 bits leaves
  // either half in order.
  const auto lane = hn::Iota(d, 0);
  const auto half = hn::Set(d, static_cast<std::uint64_t>(step / 2));
  const auto odd = hn::MaskFromVec(hn::Sub(hn::Zero(d), hn::And(lane, hn::Set(d, 1))));
  auto block = hn::Add(hn::Set(d, first), hn::Add(hn::ShiftRight<1>(lane), hn::IfThenElseZero(odd, half)));
  for (; i + step <= blocks; i += step, block = hn::Add(block, steps)) {
    const auto w = philox_blocks(key, block);
    static_assert(std::endian::native == std::endian::little);
    const auto first_words = hn::Or(hn::And(w.word0, low), hn::ShiftLeft<32>(w.word1));
    const auto last_words = hn::Or(hn::And(w.word2, low), hn::ShiftLeft<32>(w.word3));
    auto* to = reinterpret_cast<std::uint64_t*>(words + 4 * i);
    hn::StoreU(hn::InterleaveLower(d, first_words, last_words), d, to);
    hn::StoreU(hn::InterleaveUpper(d, first_words, last_words), d, to + step);
  }
#endif
  for (; i < blocks; ++i) {
    const auto w = philox(key, first + static_cast<std::uint64_t>(i));
    std::copy_n(w.data(), 4, words + 4 * i);
  }
}

/// y = x factor where words <= last, else 0.
template <class T>
void keep_words(const std::uint32_t* words, std::uint32_t last, T factor, const T* x, T* y, Size n) {
  const hn::ScalableTag<T> d;
  const hn::Rebind<std::uint32_t, decltype(d)> dw;
  const hn::Rebind<std::make_unsigned_t<hwy::MakeSigned<T>>, decltype(d)> du;
  const auto f = hn::Set(d, factor);
  const auto bound = hn::Set(du, last);
  for_vectors(d, n, [=](auto s, Size i) ATTUNE_SIMD {
    // The buffer of words ends with whole vectors.
    const auto w = [&]() ATTUNE_SIMD {
      if constexpr (sizeof(T) == 4)
        return hn::LoadU(dw, words + i);
      else
        return hn::PromoteTo(du, hn::LoadU(dw, words + i));
    }();
    s.store(hn::IfThenZeroElse(hn::RebindMask(d, hn::Gt(w, bound)), hn::Mul(s.load(x + i), f)), y + i);
  });
}
void keep_words_f32(const std::uint32_t* words, std::uint32_t last, float factor, const float* x, float* y, Size n) {
  keep_words(words, last, factor, x, y, n);
}
void keep_words_f64(const std::uint32_t* words, std::uint32_t last, double factor, const double* x, double* y, Size n) {
  keep_words(words, last, factor, x, y, n);
}

}  // namespace attune::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace attune::kernels {

HWY_EXPORT(philox_words);
HWY_EXPORT(keep_words_f32);
HWY_EXPORT(keep_words_f64);

namespace {

constexpr Size grain = 8192;
constexpr Size block_run = 256;  // blocks drawn at once: their words stay in the first-level cache

std::uint64_t join(std::uint32_t low, std::uint32_t high) { return low | std::uint64_t{high} << 32; }

/// In [0, 1): 24 bits of a word for float, 53 of two for double. `words` are those of the element's run, at 0.
template <class T>
T unit(const std::uint32_t* words, Size i) {
  if constexpr (sizeof(T) == 4)
    return static_cast<float>(static_cast<std::int32_t>(words[i] >> 8)) * 0x1p-24F;
  else
    return static_cast<double>(static_cast<Size>(join(words[2 * i], words[2 * i + 1]) >> 11)) * 0x1p-53;
}

/// body(words, begin, count) for runs of elements, `each` elements to a block of four words.
template <class F>
void over_words(RandomKey key, Size n, Size each, F&& body) {
  parallel_for(n, grain, [&](Size begin, Size end) {
    alignas(64) std::uint32_t words[4 * block_run];
    for (Size i = begin; i < end; i += each * block_run) {
      const Size count = std::min(each * block_run, end - i);
      HWY_DYNAMIC_DISPATCH(philox_words)(key, static_cast<std::uint64_t>(i / each), (count + each - 1) / each, words);
      body(words, i, count);
    }
  });
}

template <class T>
constexpr Size per_block = sizeof(T) == 4 ? 4 : 2;

}  // namespace

template <class T>
void uniform(RandomKey key, T low, T high, T* y, Size n) {
  const T last = std::nextafter(high, low);  // rounding may reach the end that is not included
  over_words(key, n, per_block<T>, [=](const std::uint32_t* words, Size begin, Size count) {
    for (Size i = 0; i < count; ++i) {
      const T v = low + (high - low) * unit<T>(words, i);
      y[begin + i] = v < high ? v : last;
    }
  });
}

template <class T>
void normal(RandomKey key, T mean, T std, T* y, Size n) {
  over_words(key, n, per_block<T>, [=](const std::uint32_t* words, Size begin, Size count) {
    for (Size i = 0; i < count; i += 2) {
      const T radius = std::sqrt(-2 * std::log(1 - unit<T>(words, i)));  // of (0, 1]
      const T angle = 2 * std::numbers::pi_v<T> * unit<T>(words, i + 1);
      y[begin + i] = mean + std * (radius * std::cos(angle));
      if (i + 1 < count) y[begin + i + 1] = mean + std * (radius * std::sin(angle));
    }
  });
}

void random_integers(RandomKey key, Size low, Size high, Size* y, Size n) {
  // Lemire's multiplication; the product's high word is uniform once the low word is not among the first 2^64
  // mod range values.
  const std::uint64_t range = static_cast<std::uint64_t>(high) - static_cast<std::uint64_t>(low);
  const std::uint64_t unfair = (0 - range) % range;
  over_words(key, n, 1, [=](const std::uint32_t* words, Size begin, Size count) {
    for (Size i = 0; i < count; ++i) {
      auto product = static_cast<unsigned __int128>(join(words[4 * i], words[4 * i + 1])) * range;
      // Element i owns the blocks i, i + 2^40, i + 2^41, ...: more of them only where a draw is refused.
      for (std::uint64_t attempt = 1; static_cast<std::uint64_t>(product) < unfair; ++attempt) {
        const auto w = philox(key, static_cast<std::uint64_t>(begin + i) + (attempt << 40));
        product = static_cast<unsigned __int128>(join(w[0], w[1])) * range;
      }
      y[begin + i] = static_cast<Size>(static_cast<std::uint64_t>(low) + static_cast<std::uint64_t>(product >> 64));
    }
  });
}

template <class T>
void dropout(RandomKey key, double p, const T* x, T* y, Size n) {
  if (p >= 1) {
    std::fill_n(y, n, T{0});
    return;
  }
  // A word below (1 - p) 2^32 keeps its element: the last one that does.
  const auto last = static_cast<std::uint32_t>(std::ceil((1 - p) * 0x1p32) - 1);
  const T factor = static_cast<T>(1 / (1 - p));
  over_words(key, n, 4, [=](const std::uint32_t* words, Size begin, Size count) {
    if constexpr (sizeof(T) == 4)
      HWY_DYNAMIC_DISPATCH(keep_words_f32)(words, last, factor, x + begin, y + begin, count);
    else
      HWY_DYNAMIC_DISPATCH(keep_words_f64)(words, last, factor, x + begin, y + begin, count);
  });
}

void permutation(RandomKey key, Size* y, Size n) {
  std::iota(y, y + n, Size{0});
  for (Size i = n - 1; i > 0; --i) {
    const auto w = philox(key, static_cast<std::uint64_t>(i));
    const auto product = static_cast<unsigned __int128>(join(w[0], w[1])) * static_cast<std::uint64_t>(i + 1);
    std::swap(y[i], y[static_cast<Size>(product >> 64)]);
  }
}

template void uniform<float>(RandomKey, float, float, float*, Size);
template void uniform<double>(RandomKey, double, double, double*, Size);
template void normal<float>(RandomKey, float, float, float*, Size);
template void normal<double>(RandomKey, double, double, double*, Size);
template void dropout<float>(RandomKey, double, const float*, float*, Size);
template void dropout<double>(RandomKey, double, const double*, double*, Size);

}  // namespace attune::kernels
#endif
