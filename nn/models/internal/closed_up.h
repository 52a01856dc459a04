// Padded rows of tokens closed up, so that padding may stand anywhere. Internal to nn/models.
#pragma once

#include "autograd/tensor/tensor.h"

namespace attune::nn::detail {

/// The tokens of each row that are not hidden, in their order or the last one first, from place 0 on.
struct ClosedUp {
  Tensor tokens;   ///< [b, n], n the most that a row has, at least 1; 0 behind a row's own
  Tensor lengths;  ///< [b] int64; undefined: nothing is hidden
  Tensor hidden;   ///< [b, n] bool; undefined: nothing is hidden
  Tensor places;   ///< [b, s] int64, where each given token went, n if it is hidden; undefined: it stayed
  std::int64_t hidden_place() const { return tokens.size(1); }
};

/// tokens [b, s >= 1] and their key_padding_mask [b, s] bool, true hides, or undefined. Throws ShapeError and
/// DTypeError under the model's name.
ClosedUp closed_up(const char* model, const char* what, const Tensor& tokens, const Tensor& key_padding_mask,
                   bool reversed, Here here);

/// x [b, m, n] with its last axis as the tokens were given, [b, m, s], zeros where they are hidden; `places` as above.
Tensor columns_as_given(const Tensor& x, const Tensor& places);
/// x [b, n, m] likewise, [b, s, m].
Tensor rows_as_given(const Tensor& x, const Tensor& places);

}  // namespace attune::nn::detail
