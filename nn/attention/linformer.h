// Linformer (Wang et al. 2020): keys and values of n positions are projected to k, over which attention is exact.
//
// Letters: b batch, t queries, s keys, n the projections' length, k projected keys, h heads, d head size.
#pragma once

#include "nn/module.h"

namespace attune::nn {

/// Which heads and which of keys and values share a projection. Layers share one through Parameter::tie().
enum class LinformerSharing : std::uint8_t {
  none,      ///< each head has its own of keys and its own of values
  heads,     ///< one of keys and one of values for all heads (headwise in the paper)
  key_value  ///< one for both, in all heads
};

struct LinformerOptions {
  std::int64_t length = 0;       ///< n: the longest sequence; has to be given
  std::int64_t projected = 256;  ///< k
  LinformerSharing sharing = LinformerSharing::heads;
  double dropout = 0;              ///< of the probabilities, while training
  bool causal = false;             ///< refused: each projected key is a mixture of all positions, future ones too
  Generator* generator = nullptr;  ///< of the dropout; null: the default one
};

/// softmax(q (E k)^T / sqrt(d)) (F v) with learned projections E and F, in time and memory O(n k).
class LinformerAttention : public Module {
 public:
  using Options = LinformerOptions;
  /// proj_k and proj_v (absent if shared with keys) are [n, k], or [h, n, k] if heads do not share them, from
  /// U(-1 / sqrt(k), 1 / sqrt(k)). Throws ValueError for options out of range, and for causal attention.
  LinformerAttention(std::int64_t heads, const LinformerOptions& options, Here here = Here::current());
  /// q [b, t, h, d], k and v [b, s, g, d] with g = h heads, or one for all; key_padding_mask [b, s] bool, true hides;
  /// [b, t, h, d]. Keys of s < n positions take the projections' first s rows. Throws ShapeError if s > n.
  Tensor operator()(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& key_padding_mask = {},
                    Here here = Here::current()) const;

  const LinformerOptions options;
  Parameter &proj_k, &proj_v;

 private:
  std::int64_t heads_;
};

}  // namespace attune::nn
