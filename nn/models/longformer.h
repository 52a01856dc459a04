// Longformer (Beltagy et al. 2020): BERT's encoder with attention to a window around each token, and chosen global
// tokens that see and are seen by all, through projections of their own. Children carry Hugging Face's names.
#pragma once

#include "autograd/ops/attention/pattern.h"
#include "nn/layers/containers.h"
#include "nn/layers/embedding.h"
#include "nn/models/bert.h"

namespace attune::nn {

struct LongformerConfig {
  std::int64_t vocabulary = 50265;
  std::int64_t positions = 4098;  ///< the longest sequence, and padding_token + 1 more
  std::int64_t token_types = 1;
  std::int64_t d_model = 768;
  std::int64_t d_ff = 3072;
  std::int64_t heads = 12;
  std::int64_t layers = 12;
  /// How many keys around its own a token sees, half to each side: even, one for each layer or one for all.
  std::vector<std::int64_t> windows{512};
  Activation activation = Activation::gelu;
  double dropout = 0.1;  ///< of the embeddings, of the blocks' outputs and before the classifiers
  double attention_dropout = 0.1;
  double classifier_dropout = -1;  ///< written and read; the published classifiers use `dropout`
  double eps = 1e-5;
  double std = 0.02;               ///< of all weights; biases begin as zeros
  std::int64_t padding_token = 1;  ///< positions count from the next number on; its embeddings learn nothing
  std::int64_t separator = 2;      ///< the token that ends the question, by which spans and choices find what is global
  bool tied = true;                ///< the head of words is the embedding; false: it has a weight of its own
  BertHeads heads_on_top = BertHeads::masked_words;
  BertProblem problem = BertProblem::by_labels;
  std::vector<std::string> labels{"LABEL_0", "LABEL_1"};  ///< the classifiers' classes
};

/// Hugging Face's config.json (a Longformer's) as a LongformerConfig; as bert_config_from_file().
LongformerConfig longformer_config_from_file(const std::string& path, Here here = Here::current());
void save_config(const std::string& path, const LongformerConfig& config, Here here = Here::current());

struct LongformerCall {
  Tensor token_types{};       ///< [b, n] int64; undefined: all of the first
  Tensor key_padding_mask{};  ///< [b, n] bool: true hides
  /// [b, n] bool: true marks the global tokens; those of padding are none. Undefined: none; but for sequence_labels the
  /// first token, for spans those before the first separator, for choices those behind it and its neighbour; these two
  /// refuse a sequence without a separator.
  Tensor global_tokens{};
};

/// Longformer with its heads: those of BertHeads without pretraining, next_word and next_sentence.
///
///     nn::Longformer model({.vocabulary = 2000, .positions = 4098, .d_model = 128, .d_ff = 512, .heads = 4,
///                           .layers = 4, .windows = {256}});
///     nn::BertResult y = model(tokens, {.key_padding_mask = padding, .global_tokens = first});
///     model.loss(y, {.words = masked}).backward();
struct Longformer : Module {
  using Options = LongformerConfig;

  /// Throws ValueError for sizes, windows and heads that do not fit.
  explicit Longformer(const LongformerConfig& config, Here here = Here::current());

  /// Of tokens [b, n] int64, which need not be padded to the window. Throws as Bert does; ShapeError for more tokens
  /// than positions - padding_token - 1; ValueError for spans and choices without a separator unless global_tokens are
  /// given.
  BertResult operator()(const Tensor& tokens, const LongformerCall& call = {}, Here here = Here::current()) const;
  /// As Bert::loss().
  Tensor loss(const BertResult& result, const BertTargets& targets, Reduction reduction = Reduction::mean,
              Here here = Here::current()) const;

  /// As Bert's, with "longformer." before the encoder's names or without it.
  void load_published(const std::string& path, Here here = Here::current());
  void save_published(const std::string& path, Here here = Here::current()) const;

  // ---- the parts, under their published names

  struct Embeddings : Module {
    explicit Embeddings(const LongformerConfig& c, Here here = Here::current());
    Tensor operator()(const Tensor& tokens, const Tensor& types, Here here = Here::current()) const;

    const LongformerConfig config;
    Embedding& words;
    Embedding& positions;
    Embedding& token_types;
    LayerNorm& norm;
    Dropout& dropout;
  };

  /// What the layers of a call see, but for their windows: made once for all of them.
  struct Sight {
    Sight() = default;
    /// [b, n] bool; undefined: there is none.
    Sight(const Tensor& padding, const Tensor& global);

    bool has_global = false;
    AttentionPattern global_keys;  ///< if there are any
    AttentionPattern by_ordinary;  ///< keys that are no padding, for queries that are neither padding nor global
    AttentionPattern by_global;    ///< the same for global queries
  };

  struct SelfAttention : Module {
    using Config = LongformerConfig;
    using Beside = Sight;
    SelfAttention(const LongformerConfig& c, std::int64_t layer, Here here = Here::current());
    Tensor operator()(const Tensor& x, const Sight& sight, Here here = Here::current()) const;

    const LongformerConfig config;
    const AttentionPattern window;
    Linear& query;
    Linear& key;
    Linear& value;
    Linear& query_global;
    Linear& key_global;
    Linear& value_global;
  };

  using Layer = BertLayer<SelfAttention>;

  struct Encoder : Module {
    explicit Encoder(const LongformerConfig& c, Here here = Here::current());
    Tensor operator()(const Tensor& tokens, const Tensor& types, const Sight& sight, Here here = Here::current()) const;

    const LongformerConfig config;
    Embeddings& embeddings;
    ModuleList<Layer>& layers;
    Linear* pooler = nullptr;
  };

  /// Words from hidden states: a dense layer with gelu, a norm, the word embedding, a bias.
  struct WordHead : Module {
    explicit WordHead(const LongformerConfig& c, Here here = Here::current());
    Tensor operator()(const Tensor& hidden, const Tensor& embedding, Here here = Here::current()) const;

    const LongformerConfig config;
    Parameter& bias;
    Linear& dense;
    LayerNorm& norm;
    Linear* decoder = nullptr;  ///< null: tied
  };

  const LongformerConfig config;
  Encoder& longformer;
  WordHead* words = nullptr;
  BertClassifier* sequence_classifier = nullptr;
  Linear *classifier = nullptr, *spans = nullptr;  ///< classifier: of tokens and of choices
  Dropout* dropout = nullptr;                      ///< before the classifier

 private:
  Tensor usual_global(const Tensor& tokens, Here here) const;
};

}  // namespace attune::nn
