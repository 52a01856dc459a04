// Convolution over time.
#pragma once

#include "autograd/tensor/tensor.h"

namespace attune {

/// For Conv1dCall::padding: as many zeros as keep the length, the odd one after; for a stride of 1.
inline constexpr std::int64_t same_padding = -1;
inline constexpr std::int64_t valid_padding = 0;

struct Conv1dCall {
  std::int64_t stride = 1;
  std::int64_t padding = valid_padding;  ///< zeros on either side, or same_padding
  std::int64_t dilation = 1;             ///< distance between the elements of a window
  std::int64_t groups = 1;               ///< channels in as many groups that do not see each other
};

/// y[n, o, l] = bias[o] + sum of w[o, c, k] x[n, c, l stride + k dilation - padding] over a group's channels c and k.
/// x [N, C, L] or [C, L], w [O, C / groups, K], bias [O] or undefined; y [N, O, (L + padding - dilation (K - 1) - 1) /
/// stride + 1], where padding counts both sides. Throws ShapeError if they do not fit or a window is longer than the
/// padded input, ValueError for options out of range, DTypeError unless all are the same floating dtype.
Tensor conv1d(const Tensor& x, const Tensor& w, const Tensor& bias = {}, const Conv1dCall& call = {},
              Here here = Here::current());

}  // namespace attune
