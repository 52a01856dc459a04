// One step of causal attention over features, from what is kept of all earlier keys. Internal to nn/attention/.
#pragma once

#include "autograd/ops/attention/linear_attention.h"
#include "autograd/tape/op.h"

namespace attune::nn::detail {

/// The outputs [b, n, h, m] of n more tokens: features of queries and keys [b, n, h, f], values [b, n, h, m], after the
/// sums s [b, h, f, m] and z [b, h, f] of earlier ones. Off the tape.
Tensor after_sums(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& s, const Tensor& z,
                  const LinearAttentionOptions& options);

/// s += the sum of k_j^T v_j and z += that of k_j, in new tensors.
void add_keys(const Tensor& k, const Tensor& v, Tensor& s, Tensor& z);

/// Of "Module: step()" with q, k [b, n, h, d] and v [b, n, h, m]. Throws ValueError unless `causal` and for undefined
/// tensors, DTypeError and ShapeError unless they fit each other, and unless s is undefined or [b, h, f, m] of theirs.
/// d = 0: of any size; f = 0: that of d.
void check_step(const Op& op, bool causal, const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& s,
                std::int64_t d = 0, std::int64_t f = 0);

}  // namespace attune::nn::detail
