// The Reformer language model (Kitaev, Kaiser and Levskaya 2020): axial positions, reversible layers of LSH or local
// attention and feed-forward, an output over both streams. Parameters carry Hugging Face's names below "reformer." and
// "lm_head.".
#pragma once

#include "nn/attention/lsh.h"
#include "nn/layers/positional.h"

namespace attune::nn {

enum class ReformerAttention : std::uint8_t { lsh, local };

struct ReformerConfig {
  std::int64_t vocabulary = 320;
  std::int64_t d_model = 256;
  std::int64_t d_ff = 512;
  std::int64_t heads = 2;
  std::int64_t head_dim = 0;  ///< 0: d_model / heads
  std::vector<ReformerAttention> layers{ReformerAttention::lsh};
  LshOptions lsh{};
  LocalOptions local{};
  bool axial = true;                                 ///< positions by rows and columns; false: a learned vector each
  std::int64_t positions = 4096;                     ///< where they are not axial
  std::int64_t axial_rows = 64, axial_columns = 64;  ///< positions up to their product
  std::int64_t axial_row_dim = 64;                   ///< of d_model; the columns have the rest
  double axial_std = 1;
  double embedding_std = 1;  ///< of the token embeddings
  Activation activation = Activation::relu;
  double dropout = 0;  ///< of embeddings, attention and feed-forward outputs
  double eps = 1e-12;
  std::int64_t ff_chunks = 1;  ///< pieces along the sequence in which feed-forward parts are computed
  bool reversible = true;      ///< recompute activations; false keeps them
};

struct ReformerCall {
  Tensor key_padding_mask{};         ///< [b, n] bool: true hides
  std::vector<LshCall> attention{};  ///< one a layer where given; of a local one the mask alone counts;
                                     ///< buckets are of the padded length, as buckets() gives them
};

class Reformer : public Module {
 public:
  /// Throws ValueError for sizes that do not fit.
  explicit Reformer(const ReformerConfig& config, Here here = Here::current());
  ~Reformer() override;

  /// Loads a file with the published names, passing over what is no weight there (mask constants, the head's tied
  /// bias). Throws as load() does.
  void load_published(const std::string& path, Here here = Here::current());

  /// Logits [b, n, vocabulary] of tokens [b, n] int64. A length that the layers' chunks do not divide is padded for all
  /// layers alike, and cut again at the end.
  Tensor operator()(const Tensor& tokens, const ReformerCall& call = {}, Here here = Here::current());
  /// Mean cross-entropy of predicting token i + 1 at position i, or, where attention is not causal, the label of
  /// position i itself (masked tokens); targets of -100 are ignored.
  Tensor loss(const Tensor& logits, const Tensor& labels, Here here = Here::current()) const;

  /// The buckets [b, h, hashes, n] of every layer (undefined for local layers and short sequences) for these tokens,
  /// off the tape; n is the padded length.
  std::vector<Tensor> buckets(const Tensor& tokens, const ReformerCall& call = {}, Here here = Here::current());

  /// The attention probabilities [b, h, n, n] and the buckets [b, h, hashes, n] of an LSH layer for tokens [b, n], in
  /// evaluation mode; n is the given length.
  struct Pattern {
    Tensor weights, buckets;
  };
  Pattern attention_pattern(const Tensor& tokens, std::size_t layer, Here here = Here::current());

  const ReformerConfig& config() const { return config_; }
  /// Throws ValueError for a local layer, IndexError where there is none.
  LshSelfAttention& lsh_attention(std::size_t layer, Here here = Here::current());

 private:
  struct Parts;  // the tree of children, with the published names

  ReformerConfig config_;
  std::unique_ptr<Parts> parts_;
};

/// Hugging Face's config.json (a Reformer's) as a ReformerConfig. Throws FileError.
ReformerConfig reformer_config_from_file(const std::string& path, Here here = Here::current());

}  // namespace attune::nn
