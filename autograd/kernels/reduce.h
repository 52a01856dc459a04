// Reductions of a dense [outer, n, inner] array over its middle axis, in a fixed tree: the same bits at
// any thread count.
#pragma once

#include "autograd/kernels/size.h"

namespace attune::kernels {

enum class Reduce : std::uint8_t { sum, prod, max, min };  // max and min propagate NaN

/// y[outer, inner] from x[outer, n, inner]; T is float, double, int64 or int32. n = 0 gives 0 or 1 for sum and prod,
/// and is the caller's error for max and min. Float sums are pairwise: 10^7 elements stay within 1e-6 relative.
template <class T>
void reduce(Reduce f, const T* x, Size outer, Size n, Size inner, T* y);

/// The index of the first largest (smallest) element along n, NaN counting as the largest (smallest). T as for reduce.
template <class T>
void arg_extreme(bool largest, const T* x, Size outer, Size n, Size inner, std::int64_t* y);

/// Inclusive running sum along n.
template <class T>
void cumsum(const T* x, Size outer, Size n, Size inner, T* y);

/// sqrt(sum x^2) over n dense elements in the fixed tree; squares neither overflow nor vanish.
template <class T>
double norm(const T* x, Size n);

/// y[rows] of the rows of x[rows, n].
template <class T>
void norms(const T* x, Size rows, Size n, T* y);

/// <a, b> over n dense elements in the fixed tree.
template <class T>
double dot(const T* a, const T* b, Size n);

}  // namespace attune::kernels
