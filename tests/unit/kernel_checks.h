// What the kernel tests share: runs on every instruction set that the machine has, random data, and errors in epsilons.
#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "autograd/kernels/simd_targets.h"
// After simd_targets.h:
#include <hwy/highway.h>

namespace attune {

/// Calls f once for every instruction set that the kernels are compiled for and the machine has.
template <class F>
void for_each_target(F f) {
  for (std::int64_t target : {HWY_AVX3, HWY_AVX2, HWY_STATIC_TARGET}) {
    if ((hwy::SupportedTargets() & HWY_TARGETS & target) == 0) continue;
    INFO("instruction set: ", std::string(hwy::TargetName(target)));
    hwy::GetChosenTarget().Update(target);
    f();
  }
  hwy::GetChosenTarget().DeInit();  // back to the best, at the next call
}

using Real = long double;
using Reals = std::vector<Real>;

template <class T>
inline constexpr T inf_of = std::numeric_limits<T>::infinity();
template <class T>
inline constexpr T nan_of = std::numeric_limits<T>::quiet_NaN();

template <class T>
std::vector<T> random_values(std::int64_t n, double scale = 1, unsigned seed = 3) {
  std::mt19937_64 random(seed);
  std::normal_distribution<double> normal(0, scale);
  std::vector<T> v(static_cast<std::size_t>(n));
  for (T& x : v) x = static_cast<T>(normal(random));
  return v;
}

/// The largest |got - want| / max(1, |want|), in epsilons of T; NaN and infinities must agree.
template <class T>
double error(const std::vector<T>& got, const Reals& want) {
  double worst = got.size() == want.size() ? 0 : 1e30;
  for (std::size_t i = 0; i < got.size(); ++i) {
    const T rounded = static_cast<T>(want[i]);
    double e = 1e30;
    if (std::isfinite(got[i]) && std::isfinite(rounded))
      e = static_cast<double>(std::abs(static_cast<Real>(got[i]) - want[i]) / std::max<Real>(1, std::abs(want[i]))) /
          static_cast<double>(std::numeric_limits<T>::epsilon());
    else if (got[i] == rounded || (std::isnan(got[i]) && std::isnan(rounded)))
      e = 0;
    worst = std::max(worst, e);
  }
  return worst;
}

}  // namespace attune
