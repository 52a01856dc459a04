// What weighs nothing has no influence: 0 times NaN or infinity as 0. Internal to ops/.
#pragma once

#include "autograd/tensor/tensor.h"

namespace attune::detail {

/// Whose exact zeros leave out what they meet, whatever that is.
enum class Zeros : std::uint8_t { left, right, both };

/// a b as matmul has it for operands of at least two axes, its gradients alike. Nothing but a search of the result is
/// spent on it if all is finite.
Tensor matmul_past_zeros(const Tensor& a, const Tensor& b, Zeros zeros);

bool has_non_finite(const Tensor& x);

/// x with 0 in place of what is not finite where `weight`, which broadcasts to x, is 0.
Tensor finite_where_weightless(const Tensor& x, const Tensor& weight);

/// For second derivatives of fused attention: rows [..., 1] of which dy [..., d] asks nothing, if one of xs holds what
/// is not finite; else undefined. Off the tape.
Tensor unasked_rows(const Tensor& dy, const Tensors& xs);

}  // namespace attune::detail
