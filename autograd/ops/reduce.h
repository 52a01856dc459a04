// Reductions. An empty axis list means all axes; keep_axes leaves them as size 1.
#pragma once

#include "autograd/tensor/tensor.h"

namespace attune {

/// Any dtype; int32 and bool sum to int64.
Tensor sum(const Tensor& x, const Dims& axes = {}, bool keep_axes = false, Here here = Here::current());
/// NaN over nothing. Sums beyond the dtype's range do not matter.
Tensor mean(const Tensor& x, const Dims& axes = {}, bool keep_axes = false, Here here = Here::current());
/// The product, also where products on the way are beyond the dtype's range; its gradient is right with zeros inside.
Tensor prod(const Tensor& x, const Dims& axes = {}, bool keep_axes = false, Here here = Here::current());
/// Largest and smallest element, NaN winning; ties share the gradient equally. Throws ShapeError over nothing.
Tensor amax(const Tensor& x, const Dims& axes = {}, bool keep_axes = false, Here here = Here::current());
Tensor amin(const Tensor& x, const Dims& axes = {}, bool keep_axes = false, Here here = Here::current());
/// The first position (int64) of the largest or smallest element along an axis.
Tensor argmax(const Tensor& x, std::int64_t axis = -1, bool keep_axis = false, Here here = Here::current());
Tensor argmin(const Tensor& x, std::int64_t axis = -1, bool keep_axis = false, Here here = Here::current());
struct ExtremeResult {
  Tensor values;
  Tensor indices;  ///< int64, off the tape: the first position of the value, which alone gets the gradient
};
/// Largest (smallest) elements along one axis, with their positions.
ExtremeResult max(const Tensor& x, std::int64_t axis, bool keep_axis = false, Here here = Here::current());
ExtremeResult min(const Tensor& x, std::int64_t axis, bool keep_axis = false, Here here = Here::current());
/// The sum of what is not NaN; NaN elements get no gradient.
Tensor nansum(const Tensor& x, const Dims& axes = {}, bool keep_axes = false, Here here = Here::current());
/// sum((x - mean)^2) / (n - correction); two passes.
Tensor var(const Tensor& x, const Dims& axes = {}, double correction = 1, bool keep_axes = false,
           Here here = Here::current());
struct VarMeanResult {
  Tensor var, mean;
};
VarMeanResult var_mean(const Tensor& x, const Dims& axes = {}, double correction = 1, bool keep_axes = false,
                       Here here = Here::current());
/// sqrt(var), with gradient 0 if it is 0; squares beyond the dtype's range do not matter.
Tensor std_dev(const Tensor& x, const Dims& axes = {}, double correction = 1, bool keep_axes = false,
               Here here = Here::current());
/// (sum |x|^p)^(1/p): 2 is the Euclidean norm, infinity and -infinity the largest and smallest |x|, 0 the number of
/// elements that are not 0 (Golub and Van Loan 2013, section 2.2). The gradient at 0 is 0. Throws ShapeError if
/// there is no element and p is infinite or negative.
Tensor vector_norm(const Tensor& x, double p, const Dims& axes = {}, bool keep_axes = false,
                   Here here = Here::current());
/// sqrt(sum x^2), with gradient 0 at 0; squares neither overflow nor vanish.
Tensor norm(const Tensor& x, const Dims& axes = {}, bool keep_axes = false, Here here = Here::current());
/// log(sum(exp(x))), stable; -inf, with gradient 0, if all elements are.
Tensor logsumexp(const Tensor& x, const Dims& axes = {}, bool keep_axes = false, Here here = Here::current());
Tensor cumsum(const Tensor& x, std::int64_t axis, Here here = Here::current());  ///< running sum, inclusive
/// Running product, inclusive, also where products on the way are beyond the dtype's range; its gradient is right with
/// zeros inside.
Tensor cumprod(const Tensor& x, std::int64_t axis, Here here = Here::current());
/// Whether all (any) elements of a bool tensor are true, as a C++ bool.
bool all(const Tensor& x, Here here = Here::current());
bool any(const Tensor& x, Here here = Here::current());
/// x summed down to `shape`, from which it was broadcast.
Tensor sum_to(const Tensor& x, const Shape& shape, Here here = Here::current());

}  // namespace attune
