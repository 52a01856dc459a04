// Positions: as embeddings to be added, as rotations of queries and keys, as biases of attention scores.
#pragma once

#include "nn/module.h"

namespace attune::nn {

/// Sines and cosines of positions 0..n-1 at geometric wavelengths: [n, d], d even (Vaswani et al. 2017, 3.5).
Tensor sinusoidal_positions(std::int64_t n, std::int64_t d, DType dtype = DType::float32, Here here = Here::current());

/// Positions below `most` as rows of a table; a call gives positions offset .. offset + n - 1 as [n, d]. Throws
/// ShapeError for others.
class SinusoidalPositionEmbedding : public Module {
 public:
  /// The table of sinusoidal_positions(), neither trained nor saved. Throws ValueError for a negative `most` or odd d.
  SinusoidalPositionEmbedding(std::int64_t most, std::int64_t d, Here here = Here::current());
  Tensor operator()(std::int64_t n, std::int64_t offset = 0, DType dtype = DType::float32,
                    Here here = Here::current()) const;

 private:
  Tensor table_;  // float64
};
/// A learned vector a position: rows offset, ..., offset + n - 1 of the weight, [n, d].
class LearnedPositionEmbedding : public Module {
 public:
  /// weight [most, d] starts from N(0, std^2). Throws ValueError for sizes below 1.
  LearnedPositionEmbedding(std::int64_t most, std::int64_t d, double std = 0.02, Here here = Here::current());
  Tensor operator()(std::int64_t n, std::int64_t offset = 0, Here here = Here::current()) const;

  Parameter& weight;
};

/// Which elements a rotary embedding turns together.
enum class RotaryPairs : std::uint8_t {
  halves,      ///< i and i + d/2, as GPT-NeoX and LLaMA have it
  interleaved  ///< 2i and 2i + 1, as the paper and GPT-J have it
};
struct RotaryOptions {
  RotaryPairs pairs = RotaryPairs::halves;
  double base = 10000;
};

/// Rotary positions (Su et al. 2021): the i-th pair of the element at position p is turned by p base^(-2i/d), so that
/// the product of a query and a key depends on their distance alone.
class RotaryEmbedding : public Module {
 public:
  using Options = RotaryOptions;
  /// For positions below `most` and heads of even size d. Throws ValueError for other sizes or a base not above 0.
  RotaryEmbedding(std::int64_t most, std::int64_t d, const RotaryOptions& options = {}, Here here = Here::current());
  /// x [..., n, d], queries or keys at positions offset .. offset + n - 1, turned. Throws ShapeError.
  Tensor operator()(const Tensor& x, std::int64_t offset = 0, Here here = Here::current()) const;

 private:
  RotaryPairs pairs_;
  Tensor cos_, sin_;  // [most, d/2] float64
};

struct RelativeBiasOptions {
  std::int64_t buckets = 32;
  std::int64_t max_distance = 128;  ///< from here on all distances share a bucket
  bool bidirectional = true;        ///< half of the buckets for keys after the query; otherwise those share bucket 0
  double std = 1;                   ///< of the initial table
};

/// The bucket, in [0, options.buckets), of a key `relative` places behind its query (negative: before it): one each for
/// near ones, then wider ones in proportion to the distance, the last for all from max_distance on (Raffel et al.
/// 2019). Computed in single precision, as the published models were trained.
std::int64_t relative_position_bucket(std::int64_t relative, const RelativeBiasOptions& options = {});

/// The bucket (int64 [t, s]) of each key's distance from each query, queries at offset .. offset + t - 1, keys at
/// 0 .. s - 1, as above. Throws ValueError.
Tensor relative_position_buckets(std::int64_t t, std::int64_t s, const RelativeBiasOptions& options = {},
                                 std::int64_t offset = 0, Here here = Here::current());

/// T5's relative position bias: a learned number for each bucket and head, weight [buckets, heads].
class RelativePositionBias : public Module {
 public:
  using Options = RelativeBiasOptions;
  explicit RelativePositionBias(std::int64_t heads, const RelativeBiasOptions& options = {},
                                Here here = Here::current());
  /// To be added to attention scores: [heads, t, s].
  Tensor operator()(std::int64_t t, std::int64_t s, std::int64_t offset = 0, Here here = Here::current()) const;

  Parameter& weight;

 private:
  RelativeBiasOptions options_;
};

/// Axial position embeddings (trax's Reformer): tables [n1, 1, d1] and [1, n2, d2]; position p has rows p / n2 and p %
/// n2, side by side: d1 + d2.
class AxialPositionEmbedding : public Module {
 public:
  /// Throws ValueError for sizes below 1. The tables start from N(0, std^2).
  AxialPositionEmbedding(std::int64_t n1, std::int64_t n2, std::int64_t d1, std::int64_t d2, double std = 1,
                         Here here = Here::current());
  /// Embeddings [n, d1 + d2] of the positions offset .. offset + n - 1. Throws ShapeError beyond n1 n2.
  Tensor operator()(std::int64_t n, std::int64_t offset = 0, Here here = Here::current()) const;

 private:
  std::int64_t n1_, n2_, d1_, d2_;
  Parameter &rows_, &columns_;
};

}  // namespace attune::nn
