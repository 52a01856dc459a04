// Moving elements without changing them. Views share storage; any dtype.
#pragma once

#include <climits>
#include <limits>

#include "autograd/runtime/scalar.h"
#include "autograd/tensor/tensor.h"

namespace attune {

inline constexpr std::int64_t to_end = std::numeric_limits<std::int64_t>::max();

/// The same elements in row-major order under another shape (one size may be -1: inferred): a view if strides allow,
/// else a copy.
Tensor reshape(const Tensor& x, const Shape& shape, Here here = Here::current());
/// Merges axes first..last into one.
Tensor flatten(const Tensor& x, std::int64_t first = 0, std::int64_t last = -1, Here here = Here::current());
/// Axis i of the result is axis axes[i] of x; a view.
Tensor permute(const Tensor& x, const Dims& axes, Here here = Here::current());
/// Swaps two axes; a view.
Tensor transpose(const Tensor& x, std::int64_t a = -2, std::int64_t b = -1, Here here = Here::current());
/// x read as the broader shape; -1 keeps a size. A view with strides of 0; its gradient is summed.
Tensor expand(const Tensor& x, const Shape& shape, Here here = Here::current());
/// Removes an axis of size 1 (ShapeError otherwise); a view.
Tensor squeeze(const Tensor& x, std::int64_t axis, Here here = Here::current());
Tensor squeeze(const Tensor& x, Here here = Here::current());  ///< removes every axis of size 1
/// Adds an axis of size 1 at `axis` of the result; a view.
Tensor unsqueeze(const Tensor& x, std::int64_t axis, Here here = Here::current());
/// x[..., start:stop:step, ...] along `axis`; negative bounds count from the end, bounds are clamped to the axis, step
/// >= 1. A view.
Tensor slice(const Tensor& x, std::int64_t axis, std::int64_t start, std::int64_t stop = to_end, std::int64_t step = 1,
             Here here = Here::current());
/// Zeros of `shape` with x at start, start + step, ... along `axis`: the gradient of slice.
/// Throws ShapeError if x does not fit.
Tensor slice_scatter(const Tensor& x, const Shape& shape, std::int64_t axis, std::int64_t start, std::int64_t step = 1,
                     Here here = Here::current());
/// x[..., index, ...]: one position along `axis`, which goes. Throws IndexError outside [-n, n). A view.
Tensor select(const Tensor& x, std::int64_t axis, std::int64_t index, Here here = Here::current());
/// Dense, row-major: x itself, or a copy.
Tensor contiguous(const Tensor& x, Here here = Here::current());
/// A dense copy, always.
Tensor clone(const Tensor& x, Here here = Here::current());
/// Joins along an existing axis; all other sizes equal. An empty tensor [0] fits any others: a list may start from one.
Tensor cat(const Tensors& xs, std::int64_t axis = 0, Here here = Here::current());
/// Joins along a new axis; all shapes equal.
Tensor stack(const Tensors& xs, std::int64_t axis = 0, Here here = Here::current());
namespace by_argument {  // tensor.h says why
/// Pieces of the given sizes along `axis`, which must add up to it; views.
Tensors split(const Tensor& x, const std::vector<std::int64_t>& sizes, std::int64_t axis = 0,
              Here here = Here::current());
/// Pieces of ceil(size / n) elements along `axis`, the last one smaller if they do not divide it: at most n; views.
/// An empty axis gives n empty pieces, up to 65536.
Tensors chunk(const Tensor& x, std::int64_t n, std::int64_t axis = 0, Here here = Here::current());
}  // namespace by_argument
Tensors unbind(const Tensor& x, std::int64_t axis = 0, Here here = Here::current());
Tensor flip(const Tensor& x, const Dims& axes, Here here = Here::current());
/// Elements moved by `shift` along `axis`, those pushed off the end coming in at the start.
Tensor roll(const Tensor& x, std::int64_t shift, std::int64_t axis, Here here = Here::current());
/// The same along several axes, shifts[i] along axes[i]; without axes x is rolled as one row by shifts[0].
Tensor roll(const Tensor& x, const Dims& shifts, const Dims& axes = {}, Here here = Here::current());
namespace by_argument {  // tensor.h says why
/// `before` and `after` elements of `value` added along `axis`; negative counts cut.
Tensor pad(const Tensor& x, std::int64_t axis, std::int64_t before, std::int64_t after, const Scalar& value = 0,
           Here here = Here::current());
}  // namespace by_argument
/// Constant padding of several axes at once, as (before, after) pairs from the last axis on.
Tensor constant_pad(const Tensor& x, const std::vector<std::int64_t>& pairs, const Scalar& value = 0,
                    Here here = Here::current());
/// Each element along `axis` repeated `count` times, or counts[i] times (int64 [size of the axis]).
Tensor repeat_interleave(const Tensor& x, std::int64_t count, std::int64_t axis, Here here = Here::current());
Tensor repeat_interleave(const Tensor& x, const Tensor& counts, std::int64_t axis, Here here = Here::current());
namespace by_argument {  // tensor.h says why
/// x repeated counts[i] times along each axis (counts may have more axes than x).
Tensor repeat(const Tensor& x, const Dims& counts, Here here = Here::current());
}  // namespace by_argument
/// The diagonal of axes a and b as a last axis, `offset` places above the main one; a view.
Tensor diagonal(const Tensor& x, std::int64_t offset = 0, std::int64_t a = 0, std::int64_t b = 1,
                Here here = Here::current());
/// Its inverse: zeros of `shape` with x on that diagonal.
Tensor diagonal_scatter(const Tensor& x, const Shape& shape, std::int64_t offset = 0, std::int64_t a = 0,
                        std::int64_t b = 1, Here here = Here::current());
/// Square matrices along axes a and b of the result, with x's last axis on their diagonal.
Tensor diag_embed(const Tensor& x, std::int64_t offset = 0, std::int64_t a = -2, std::int64_t b = -1,
                  Here here = Here::current());
/// The axes `from` moved to the places `to`, the others in their order around them; a view.
Tensor movedim(const Tensor& x, const Dims& from, const Dims& to, Here here = Here::current());
/// Windows of `size` elements, `dilation` apart, every `step` along `axis`, which becomes their number; a new last axis
/// runs through a window. A view.
Tensor unfold(const Tensor& x, std::int64_t axis, std::int64_t size, std::int64_t step = 1, std::int64_t dilation = 1,
              Here here = Here::current());
/// `length` elements along `axis` from `start` on, which must be there (IndexError otherwise); a view.
Tensor narrow(const Tensor& x, std::int64_t axis, std::int64_t start, std::int64_t length, Here here = Here::current());
/// The lower (upper) triangle of the last two axes, zeros elsewhere; `diagonal` shifts it up.
Tensor tril(const Tensor& x, std::int64_t diagonal = 0, Here here = Here::current());
Tensor triu(const Tensor& x, std::int64_t diagonal = 0, Here here = Here::current());

}  // namespace attune
