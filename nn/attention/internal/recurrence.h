// One step of causal attention over features, from what is kept of all earlier keys. Internal to nn/attention/.
#pragma once

#include "autograd/ops/attention/linear_attention.h"

namespace attune::nn::detail {

/// The outputs [b, n, h, m] of n more tokens: features of queries and keys [b, n, h, f], values [b, n, h, m], after the
/// sums s [b, h, f, m] and z [b, h, f] of earlier ones. Off the tape.
Tensor after_sums(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& s, const Tensor& z,
                  const LinearAttentionOptions& options);

/// s += the sum of k_j^T v_j and z += that of k_j, in new tensors.
void add_keys(const Tensor& k, const Tensor& v, Tensor& s, Tensor& z);

/// Throws ValueError unless `causal`, ShapeError unless s is undefined or [b, h, f, m] of these features and values.
void check_step(const char* type, bool causal, const Tensor& q, const Tensor& v, const Tensor& s, std::int64_t features,
                Here here);

}  // namespace attune::nn::detail
