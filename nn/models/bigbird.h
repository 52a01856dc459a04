// BigBird (Zaheer et al. 2020): BERT's encoder with attention in blocks: the first and last see and are seen by all,
// the others see their neighbours and a few drawn at random. Children carry Hugging Face's names.
#pragma once

#include "autograd/ops/attention/pattern.h"
#include "nn/layers/containers.h"
#include "nn/layers/embedding.h"
#include "nn/models/bert.h"

namespace attune::nn {

struct BigBirdConfig {
  std::int64_t vocabulary = 50358;
  std::int64_t positions = 4096;  ///< the longest sequence
  std::int64_t token_types = 2;
  std::int64_t d_model = 768;
  std::int64_t d_ff = 3072;
  std::int64_t heads = 12;
  std::int64_t layers = 12;
  bool block_sparse = true;        ///< false: full attention
  std::int64_t block = 64;         ///< tokens
  std::int64_t random_blocks = 3;  ///< that each head of a block sees besides
  Activation activation = Activation::gelu_tanh;
  double dropout = 0.1;  ///< of the embeddings and of the blocks' outputs
  double attention_dropout = 0.1;
  double classifier_dropout = -1;  ///< before the classifiers; -1: as `dropout`
  double eps = 1e-12;
  double std = 0.02;                ///< of all weights; biases begin as zeros
  std::int64_t padding_token = 0;   ///< its embedding begins as zeros and learns from the head alone; -1: none
  std::int64_t separator = 66;      ///< the token that ends the question of spans
  bool tied = true;                 ///< the head of words is the embedding; false: it has a weight of its own
  bool causal = false;              ///< a token sees no later one: with full attention alone
  bool attention_bias = true;       ///< queries, keys and values have biases
  bool rescale_embeddings = false;  ///< words are multiplied by sqrt(d_model)
  BertHeads heads_on_top = BertHeads::pretraining;
  BertProblem problem = BertProblem::by_labels;
  std::vector<std::string> labels{"LABEL_0", "LABEL_1"};  ///< the classifiers' classes
};

/// Hugging Face's config.json (a BigBird's) as a BigBirdConfig; as bert_config_from_file().
BigBirdConfig bigbird_config_from_file(const std::string& path, Here here = Here::current());
void save_config(const std::string& path, const BigBirdConfig& config, Here here = Here::current());

struct BigBirdCall {
  Tensor token_types{};       ///< [b, n] int64; undefined: all of the first; of spans: the second behind the question
  Tensor key_padding_mask{};  ///< [b, n] bool: true hides. Positions are places, so padding belongs on the right
  /// For each layer [heads, blocks - 2, r] int64, what AttentionPattern::bigbird() takes. Empty: drawn from the layer's
  /// number, the same ones at each call of a length.
  std::vector<Tensor> random_blocks{};
};

/// BigBird with its heads: those of BertHeads without next_sentence.
///
///     nn::BigBird model({.vocabulary = 2000, .d_model = 128, .d_ff = 512, .heads = 4, .layers = 4});
///     nn::BertResult y = model(tokens, {.key_padding_mask = padding});
///     model.loss(y, {.words = masked}).backward();
struct BigBird : Module {
  using Options = BigBirdConfig;

  /// Throws ValueError for sizes, blocks and heads that do not fit.
  explicit BigBird(const BigBirdConfig& config, Here here = Here::current());

  /// Of tokens [b, n] int64. A sequence of at most (5 + 2 random_blocks) block tokens has full attention; a longer one
  /// is padded to whole blocks inside, and the results cut again. Throws as Bert does; ShapeError and IndexError for
  /// random blocks that do not fit, ValueError for a long sequence if the model is causal.
  BertResult operator()(const Tensor& tokens, const BigBirdCall& call = {}, Here here = Here::current()) const;
  /// As Bert::loss().
  Tensor loss(const BertResult& result, const BertTargets& targets, Reduction reduction = Reduction::mean,
              Here here = Here::current()) const;

  /// As Bert's.
  void load_published(const std::string& path, Here here = Here::current());
  void save_published(const std::string& path, Here here = Here::current()) const;

  // ---- the parts, under their published names

  struct Embeddings : Module {
    explicit Embeddings(const BigBirdConfig& c, Here here = Here::current());
    Tensor operator()(const Tensor& tokens, const Tensor& types, Here here = Here::current()) const;

    const BigBirdConfig config;
    Embedding& words;
    Embedding& positions;
    Embedding& token_types;
    LayerNorm& norm;
    Dropout& dropout;
  };

  /// What the layers of a call see, but for their random blocks: made once for all of them.
  struct Sight {
    /// padding [b, n] bool; undefined: there is none. random: for each layer, or empty. If `sparse`, n is whole blocks.
    explicit Sight(const Tensor& padding = {}, bool sparse = false, std::vector<Tensor> random = {});

    AttentionPattern unpadded;  ///< what is no padding
    bool sparse = false;
    std::vector<Tensor> random;
  };

  struct SelfAttention : Module {
    using Config = BigBirdConfig;
    using Beside = Sight;
    SelfAttention(const BigBirdConfig& c, std::int64_t layer, Here here = Here::current());
    Tensor operator()(const Tensor& x, const Sight& sight, Here here = Here::current()) const;

    const BigBirdConfig config;
    const std::int64_t layer;
    Linear& query;
    Linear& key;
    Linear& value;
  };

  using Layer = BertLayer<SelfAttention>;

  struct Encoder : Module {
    explicit Encoder(const BigBirdConfig& c, Here here = Here::current());
    Tensor operator()(const Tensor& tokens, const Tensor& types, const Sight& sight, Here here = Here::current()) const;

    const BigBirdConfig config;
    Embeddings& embeddings;
    ModuleList<Layer>& layers;
    Linear* pooler = nullptr;
  };

  /// Where an answer begins and ends: a feed-forward layer with its norm, and a map to two scores [b, n, 2].
  struct SpanHead : Module {
    explicit SpanHead(const BigBirdConfig& c, Here here = Here::current());
    Tensor operator()(const Tensor& hidden, Here here = Here::current()) const;

    Dropout& dropout;
    Linear& up;
    Linear& down;
    LayerNorm& norm;
    Linear& outputs;
  };

  const BigBirdConfig config;
  Encoder& bert;
  Bert::WordHead* words = nullptr;
  BertClassifier* sequence_classifier = nullptr;
  Linear *next_sentence = nullptr, *classifier = nullptr;  ///< classifier: of tokens and of choices
  SpanHead* spans = nullptr;
  Dropout* dropout = nullptr;  ///< before the classifier
};

}  // namespace attune::nn
