// The feed-forward part of a Transformer block, computed in pieces along the sequence if memory matters.
#pragma once

#include <functional>

#include "nn/layers/dropout.h"
#include "nn/layers/linear.h"

namespace attune::nn {

/// f applied to `chunks` pieces of x [b, t, ...] along t and joined again, which bounds the memory of what f makes
/// inside. f must treat positions independently. Throws ValueError for chunks below 1.
Tensor in_chunks(const Tensor& x, std::int64_t chunks, const std::function<Tensor(const Tensor&)>& f,
                 Here here = Here::current());

/// dropout(down(dropout(up(x)))) in `chunks` pieces, for modules that own the parts themselves; the activation is
/// `up`'s.
Tensor feed_forward(const Tensor& x, const Linear& up, const Linear& down, const Dropout& dropout,
                    std::int64_t chunks = 1, Here here = Here::current());

struct FeedForwardOptions {
  Activation activation = Activation::relu;
  bool bias = true;
  double dropout = 0;              ///< of the hidden layer and of the output, while training
  std::int64_t chunks = 1;         ///< pieces along the sequence; the result is the same
  Generator* generator = nullptr;  ///< of the dropout; null: the default one
};

/// linear2(activation(linear1(x))): x [b, t, d], hidden size d_ff. Throws ValueError for bad options.
class FeedForward : public Module {
 public:
  using Options = FeedForwardOptions;
  FeedForward(std::int64_t d, std::int64_t d_ff, const FeedForwardOptions& options = {}, Here here = Here::current());
  Tensor operator()(const Tensor& x, Here here = Here::current()) const;

 private:
  std::int64_t chunks_;
  Linear &linear1_, &linear2_;
  Dropout& dropout_;
};

struct GatedFeedForwardOptions {
  /// The gate's: sigmoid makes it GLU, relu ReGLU, gelu GEGLU, silu SwiGLU, none Bilinear.
  Activation activation = Activation::silu;
  bool bias = false;
  double dropout = 0;              ///< of the hidden layer, while training
  std::int64_t chunks = 1;         ///< pieces along the sequence; the result is the same
  Generator* generator = nullptr;  ///< of the dropout; null: the default one
};

/// down(activation(gate(x)) up(x)), the gated feed-forward layers of Shazeer 2020: x [b, t, d], hidden size d_ff.
/// Throws ValueError for bad options.
class GatedFeedForward : public Module {
 public:
  using Options = GatedFeedForwardOptions;
  GatedFeedForward(std::int64_t d, std::int64_t d_ff, const GatedFeedForwardOptions& options = {},
                   Here here = Here::current());
  Tensor operator()(const Tensor& x, Here here = Here::current()) const;

 private:
  std::int64_t chunks_;
  Linear &gate_, &up_, &down_;
  Dropout& dropout_;
};

}  // namespace attune::nn
