// What self-attention over projected heads shares. Internal to nn/attention/.
#pragma once

#include <string>

#include "autograd/ops/movement.h"
#include "autograd/runtime/error.h"
#include "autograd/tape/op.h"
#include "nn/internal/check.h"
#include "nn/layers/linear.h"

namespace attune::nn::detail {

/// head_dim, or if it is 0 what the heads leave of d. Throws ValueError for sizes that do not fit.
inline std::int64_t head_size(const Check& check, std::int64_t d, std::int64_t heads, std::int64_t head_dim) {
  check.at_least(1, d, "d_model");
  check.at_least(1, heads, "heads");
  return check.at_least(0, head_dim, "head_dim") == 0 ? check.head_dim(d, heads) : head_dim;
}

inline constexpr LinearOptions no_bias{.bias = false};

/// [b, n, heads head_dim] to [b, n, heads, head_dim].
inline Tensor split_heads(const Tensor& y, std::int64_t heads, std::int64_t head_dim) {
  return reshape(y, {y.size(0), y.size(1), heads, head_dim});
}

/// Throws DTypeError, naming it, unless a mask is bool.
inline void check_mask(const Op& op, const Tensor& mask, const char* name) {
  if (mask.dtype() != DType::boolean)
    op.fail_dtype(std::string(name) + " needs bool, got " + name_of(mask.dtype()) + " " + mask.shape().str());
}

/// Throws DTypeError and ShapeError unless key_padding_mask is undefined or bool [b, s] for keys [b, s, ..].
inline void check_padding(const Op& op, const Tensor& key_padding_mask, const Tensor& keys) {
  if (!key_padding_mask.defined()) return;
  check_mask(op, key_padding_mask, "key_padding_mask");
  if (key_padding_mask.shape() != Shape{keys.size(0), keys.size(1)})
    op.fail_shape("key_padding_mask " + key_padding_mask.shape().str() + " must be " +
                  Shape{keys.size(0), keys.size(1)}.str());
}

/// Throws ShapeError unless x is [b, n, d].
inline void check_input(const char* type, const Tensor& x, std::int64_t d, Here here) {
  if (x.rank() != 3 || x.size(2) != d)
    throw ShapeError(
        std::string(type) + ": x must be [batch, length, " + std::to_string(d) + "], got " + x.shape().str(), here);
}

}  // namespace attune::nn::detail
