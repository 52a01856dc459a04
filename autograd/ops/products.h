// Products of tensors along chosen axes, as matrix products.
#pragma once

#include <concepts>
#include <string_view>

#include "autograd/tensor/tensor.h"

namespace attune {

/// Einstein summation: the subscripts name the axes of each operand and, after "->", of the result; a letter that is
/// missing from the result is summed. "..." stands for axes that broadcast; a repeated letter takes the diagonal.
/// Without "->" the result has, after "...", the letters that occur once, in alphabetical order. Throws ValueError for
/// a malformed text, ShapeError if sizes do not agree.
Tensor einsum(std::string_view subscripts, const Tensors& operands, Here here = Here::current());
/// Sums over pairs of axes: axes_a[i] of a with axes_b[i] of b. The result has the other axes of a, then of b.
Tensor tensordot(const Tensor& a, const Tensor& b, const Dims& axes_a, const Dims& axes_b, Here here = Here::current());
namespace detail {
Tensor tensordot_inner(const Tensor& a, const Tensor& b, std::int64_t count, Here here);
}  // namespace detail
/// The same over the last `count` axes of a and the first ones of b. A template, so that {1} can only be a
/// list of axes.
template <std::integral N>
Tensor tensordot(const Tensor& a, const Tensor& b, N count, Here here = Here::current()) {
  return detail::tensordot_inner(a, b, count, here);
}
/// The same over two axes.
inline Tensor tensordot(const Tensor& a, const Tensor& b, Here here = Here::current()) {
  return detail::tensordot_inner(a, b, 2, here);
}
/// a [n], b [m] to a_i b_j [n, m].
Tensor outer(const Tensor& a, const Tensor& b, Here here = Here::current());
/// Sums over the last axis of each: [..., k] and [... , k]; a scalar multiplies.
Tensor inner(const Tensor& a, const Tensor& b, Here here = Here::current());
/// beta x + alpha a b, for matrices or batches of matrices (matmul), to which x broadcasts.
Tensor addmm(const Tensor& x, const Tensor& a, const Tensor& b, double beta = 1, double alpha = 1,
             Here here = Here::current());

}  // namespace attune
