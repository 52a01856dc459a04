// The GPT-2 language model (Radford et al. 2019): learned positions, pre-norm blocks of causal self-attention and
// feed-forward, a head tied to the token embeddings. Parameters carry Hugging Face's names below "transformer.";
// projections are stored as [in, out].
#pragma once

#include "autograd/ops/matmul.h"
#include "nn/module.h"

namespace attune::nn {

struct Gpt2Config {
  std::int64_t vocabulary = 50257;
  std::int64_t positions = 1024;  ///< the longest sequence
  std::int64_t d_model = 768;
  std::int64_t d_ff = 0;  ///< 0: 4 d_model
  std::int64_t heads = 12;
  std::int64_t layers = 12;
  Activation activation = Activation::gelu_tanh;
  double dropout = 0.1;  ///< of the blocks' two outputs
  double embedding_dropout = 0.1, attention_dropout = 0.1;
  double eps = 1e-5;
  double std = 0.02;                    ///< of the weights; 1 / sqrt(2 layers) of it in the blocks' output projections
  bool scale_by_head_dim = true;        ///< scores are divided by sqrt(d_model / heads)
  bool scale_by_inverse_layer = false;  ///< scores of layer i are divided by i + 1
};

class Gpt2 : public Module {
 public:
  /// Throws ValueError for sizes that do not fit.
  explicit Gpt2(const Gpt2Config& config, Here here = Here::current());
  ~Gpt2() override;

  /// Loads a file with the published names, with or without "transformer." before them, passing over what is no weight
  /// there (causal masks, the tied head). Throws as load() does.
  void load_published(const std::string& path, Here here = Here::current());

  /// Logits [b, n, vocabulary] of tokens [b, n] int64; key_padding_mask [b, n] bool, true hides. Throws ShapeError
  /// for a sequence longer than the positions.
  Tensor operator()(const Tensor& tokens, const Tensor& key_padding_mask = {}, Here here = Here::current()) const;
  /// Mean cross-entropy of predicting token i + 1 at position i; targets of -100 are ignored.
  Tensor loss(const Tensor& logits, const Tensor& labels, Here here = Here::current()) const;

  const Gpt2Config& config() const { return config_; }

 private:
  struct Parts;  // the tree of children, with the published names

  Gpt2Config config_;
  std::unique_ptr<Parts> parts_;
};

/// Hugging Face's config.json (a GPT-2's) as a Gpt2Config. Throws FileError.
Gpt2Config gpt2_config_from_file(const std::string& path, Here here = Here::current());

}  // namespace attune::nn
