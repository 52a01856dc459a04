// Random fills from Philox streams: element i depends on (key, i) alone. T is float or double.
#pragma once

#include <cstdint>

#include "autograd/kernels/size.h"
#include "autograd/runtime/philox.h"

namespace attune::kernels {

template <class T>
void uniform(RandomKey key, T low, T high, T* y, Size n);  ///< in [low, high)
template <class T>
void normal(RandomKey key, T mean, T std, T* y, Size n);  ///< Box-Muller
/// In [low, high), unbiased.
void random_integers(RandomKey key, std::int64_t low, std::int64_t high, std::int64_t* y, Size n);

/// y = x * mask / (1 - p), mask_i = 1 with probability 1 - p; p = 1 gives zeros. Also its own backward, with dy for x.
template <class T>
void dropout(RandomKey key, double p, const T* x, T* y, Size n);

/// A random permutation of 0..n-1 (Fisher-Yates over the stream).
void permutation(RandomKey key, std::int64_t* y, Size n);

}  // namespace attune::kernels
