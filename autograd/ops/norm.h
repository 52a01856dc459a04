// Normalisation over the last axes, fused. Squares of large elements do not overflow, those of small ones do not vanish
// (unless eps is larger). A row whose cotangent is 0 has no gradient and gives none, whatever it holds.
#pragma once

#include "autograd/tensor/tensor.h"

namespace attune {

/// (x - mean) / sqrt(var + eps) * weight + bias over the axes that weight and bias have ([d] or more; or, without
/// them, the last one); Ba et al. 2016. Either may be undefined. Mean and variance take two passes, so a large mean
/// does not cancel. Throws ShapeError if they do not fit, DTypeError unless all are the same floating dtype.
Tensor layer_norm(const Tensor& x, const Tensor& weight = {}, const Tensor& bias = {}, double eps = 1e-5,
                  Here here = Here::current());
/// x / sqrt(mean(x^2) + eps) * weight over the last axis; Zhang and Sennrich 2019. weight [d] may be undefined.
Tensor rms_norm(const Tensor& x, const Tensor& weight = {}, double eps = 1e-6, Here here = Here::current());
/// x / max(vector_norm(x, p), eps) along an axis.
Tensor normalize(const Tensor& x, double p = 2, std::int64_t axis = -1, double eps = 1e-12,
                 Here here = Here::current());
/// <a, b> / (max(|a|, eps) max(|b|, eps)) along an axis; both broadcast.
Tensor cosine_similarity(const Tensor& a, const Tensor& b, std::int64_t axis = -1, double eps = 1e-8,
                         Here here = Here::current());

}  // namespace attune
