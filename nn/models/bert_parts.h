// What encoders of BERT's kind share, whatever their attention.
#pragma once

#include "nn/layers/dropout.h"
#include "nn/layers/linear.h"
#include "nn/layers/norm.h"

namespace attune::nn {

/// A post-norm block: attention and feed-forward, each with its residual and norm, under Hugging Face's names. An
/// Attention has a `Config`, is made of (config, number of the layer), and called with x [b, n, d_model] and its
/// `Beside`, what all layers of a call are given.
template <class Attention>
struct BertLayer : Module {
  using Config = typename Attention::Config;
  using Beside = typename Attention::Beside;
  BertLayer(const Config& c, std::int64_t layer, Here here = Here::current());
  Tensor operator()(const Tensor& input, const Beside& beside, Here here = Here::current()) const;

  const Config config;
  Attention& attention;
  Linear& attention_output;
  LayerNorm& attention_norm;
  Linear& up;
  Linear& down;
  LayerNorm& norm;
  Dropout& dropout;
};

/// A classifier of whole sequences with a hidden layer: out_proj(activation(dense(x))), dropout before both; x
/// [b, d_model] to [b, labels]. Throws ValueError for sizes below 1.
struct BertClassifier : Module {
  BertClassifier(std::int64_t d_model, std::int64_t labels, Activation activation, double dropout,
                 Here here = Here::current());
  Tensor operator()(const Tensor& input, Here here = Here::current()) const;

  Dropout& dropout;
  Linear& dense;
  Linear& out_proj;
};

}  // namespace attune::nn
