#include "autograd/kernels/random.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <numeric>

#include "autograd/runtime/parallel.h"

namespace attune::kernels {

namespace {

using Size = std::int64_t;
constexpr Size grain = 8192;  // a multiple of the four words of a block

std::uint64_t join(std::uint32_t low, std::uint32_t high) { return low | std::uint64_t{high} << 32; }

/// 24 bits of a word, or 53 of two: in [0, 1).
float unit(std::uint32_t w) { return static_cast<float>(w >> 8) * 0x1p-24f; }
double unit(std::uint64_t w) { return static_cast<double>(w >> 11) * 0x1p-53; }

/// Elements a block of four words gives: four floats or two doubles.
template <class T>
constexpr Size per_block = sizeof(T) == 4 ? 4 : 2;

/// f(values of a block, which block) for all blocks that n elements touch; values are in [0, 1).
template <class T, class F>
void over_blocks(RandomKey key, Size n, F&& f) {
  constexpr Size each = per_block<T>;
  parallel_for(n, grain, [&](Size begin, Size end) {
    for (Size i = begin; i < end; i += each) {
      const auto w = philox(key, static_cast<std::uint64_t>(i / each));
      T u[4] = {};
      if constexpr (each == 4)
        for (std::size_t j = 0; j < 4; ++j) u[j] = unit(w[j]);
      else
        for (std::size_t j = 0; j < 2; ++j) u[j] = unit(join(w[2 * j], w[2 * j + 1]));
      f(u, i, std::min(each, end - i));
    }
  });
}

}  // namespace

template <class T>
void uniform(RandomKey key, T low, T high, T* y, Size n) {
  over_blocks<T>(key, n, [=](const T* u, Size i, Size count) {
    for (Size j = 0; j < count; ++j) {
      const T v = low + (high - low) * u[j];
      y[i + j] = v < high ? v : std::nextafter(high, low);  // rounding may reach the end that is not included
    }
  });
}

template <class T>
void normal(RandomKey key, T mean, T std, T* y, Size n) {
  over_blocks<T>(key, n, [=](const T* u, Size i, Size count) {
    T z[4] = {};
    for (Size j = 0; j < per_block<T>; j += 2) {
      const T radius = std::sqrt(-2 * std::log(1 - u[j]));  // 1 - u is in (0, 1]
      const T angle = 2 * std::numbers::pi_v<T> * u[j + 1];
      z[j] = radius * std::cos(angle);
      z[j + 1] = radius * std::sin(angle);
    }
    for (Size j = 0; j < count; ++j) y[i + j] = mean + std * z[j];
  });
}

void random_integers(RandomKey key, Size low, Size high, Size* y, Size n) {
  // Lemire's multiplication; the product's high word is uniform once the low word is not among the first 2^64 mod range
  // values.
  const std::uint64_t range = static_cast<std::uint64_t>(high) - static_cast<std::uint64_t>(low);
  const std::uint64_t unfair = (0 - range) % range;
  parallel_for(n, grain, [=](Size begin, Size end) {
    for (Size i = begin; i < end; ++i) {
      // Element i owns the blocks i, i + 2^40, i + 2^41, ...: more of them only where a draw is refused.
      for (std::uint64_t attempt = 0;; ++attempt) {
        const auto w = philox(key, static_cast<std::uint64_t>(i) + (attempt << 40));
        const auto product = static_cast<unsigned __int128>(join(w[0], w[1])) * range;
        if (static_cast<std::uint64_t>(product) < unfair) continue;
        y[i] = static_cast<Size>(static_cast<std::uint64_t>(low) + static_cast<std::uint64_t>(product >> 64));
        break;
      }
    }
  });
}

template <class T>
void dropout(RandomKey key, double p, const T* x, T* y, Size n) {
  if (p >= 1) {
    std::fill_n(y, n, T{0});
    return;
  }
  const double kept_below = (1 - p) * 4294967296.0;
  const T factor = static_cast<T>(1 / (1 - p));
  parallel_for(n, grain, [=](Size begin, Size end) {
    for (Size i = begin; i < end; i += 4) {
      const auto w = philox(key, static_cast<std::uint64_t>(i / 4));
      for (Size j = i; j < std::min(i + 4, end); ++j)
        y[j] = static_cast<double>(w[static_cast<std::size_t>(j - i)]) < kept_below ? x[j] * factor : T{0};
    }
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
