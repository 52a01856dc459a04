// Positions as embeddings.
#pragma once

#include "nn/module.h"

namespace attune::nn {

/// Axial position embeddings (trax's Reformer): tables [n1, 1, d1] and [1, n2, d2]; position p has rows p / n2 and p %
/// n2, side by side: d1 + d2.
class AxialPositionEmbedding : public Module {
 public:
  /// Throws ValueError for sizes below 1. The tables start from N(0, std^2).
  AxialPositionEmbedding(std::int64_t n1, std::int64_t n2, std::int64_t d1, std::int64_t d2, double std = 1,
                         Here here = Here::current());
  /// Embeddings [n, d1 + d2] of the first n positions. Throws ShapeError beyond n1 n2.
  Tensor operator()(std::int64_t n, Here here = Here::current()) const;

 private:
  std::int64_t n1_, n2_, d1_, d2_;
  Tensor &rows_, &columns_;
};

}  // namespace attune::nn
