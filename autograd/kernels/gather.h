// Gathering and scattering along one axis. Indices are int64, already checked to lie in range.
#pragma once

#include <cstdint>

#include "autograd/kernels/size.h"
#include "autograd/runtime/dtype.h"

namespace attune::kernels {

/// y[outer, k, inner] = x[outer, index[k], inner] for a dense x[outer, n, inner], any dtype: index_select
/// and embedding rows.
void index_select(DType t, const void* x, Size outer, Size n, Size inner, const std::int64_t* index, Size k, void* y);

/// y[outer, index[k], inner] += x[outer, k, inner]; y is [outer, n, inner]. Repeated indices add up in the order of k,
/// at any thread count and as accurately as reduce() does.
template <class T>
void index_add(const T* x, Size outer, Size n, Size inner, const std::int64_t* index, Size k, T* y);

/// y[o, k, i] = x[o, index[o, k, i], i] for dense x[outer, n, inner] and index[outer, k, inner], any dtype.
void gather(DType t, const void* x, Size outer, Size n, Size inner, const std::int64_t* index, Size k, void* y);

/// y[o, index[o, k, i], i] += x[o, k, i], likewise.
template <class T>
void scatter_add(const T* x, Size outer, Size n, Size inner, const std::int64_t* index, Size k, T* y);

/// The first position whose index is outside [0, n), or -1.
Size first_out_of_range(const std::int64_t* index, Size count, Size n);

}  // namespace attune::kernels
