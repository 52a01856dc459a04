// BERT (Devlin et al. 2018): a bidirectional encoder of post-norm blocks over words, positions and token types, with
// the heads that it is trained and used with. Children carry Hugging Face's names.
#pragma once

#include "nn/layers/containers.h"
#include "nn/layers/embedding.h"
#include "nn/models/bert_parts.h"
#include "nn/models/blocks.h"

namespace attune::nn {

/// What a BERT has above its encoder: the published classes.
enum class BertHeads : std::uint8_t {
  none,             ///< hidden states and the pooled first one (BertModel)
  pretraining,      ///< masked words and next sentence (BertForPreTraining)
  masked_words,     ///< (BertForMaskedLM)
  next_word,        ///< the same head, with labels one to the left; for a causal encoder (BertLMHeadModel)
  next_sentence,    ///< (BertForNextSentencePrediction)
  sequence_labels,  ///< dropout and a classifier of whole sequences (BertForSequenceClassification)
  token_labels,     ///< and of each token (BertForTokenClassification)
  spans,            ///< where an answer begins and ends (BertForQuestionAnswering)
  choices           ///< a score for each sequence, of which one is right (BertForMultipleChoice)
};

/// How scores depend on the distance of query and key, besides the absolute positions that are added to the words
/// (Shaw et al. 2018; Huang et al. 2020).
enum class BertPositions : std::uint8_t {
  absolute,           ///< not at all
  relative_key,       ///< instead: a vector a distance, times the query
  relative_key_query  ///< and times the key as well
};

/// What the classifier of sequences is trained for.
enum class BertProblem : std::uint8_t {
  by_labels,      ///< regression for a single label, classes for int64 labels, independent labels for floating ones
  regression,     ///< mean squared error
  one_label,      ///< cross-entropy
  several_labels  ///< binary cross-entropy of each label
};

struct BertConfig {
  std::int64_t vocabulary = 30522;
  std::int64_t positions = 512;  ///< the longest sequence
  std::int64_t token_types = 2;
  std::int64_t d_model = 768;
  std::int64_t d_ff = 3072;
  std::int64_t heads = 12;
  std::int64_t layers = 12;
  Activation activation = Activation::gelu;
  double dropout = 0.1;  ///< of the embeddings and of the blocks' outputs
  double attention_dropout = 0.1;
  double classifier_dropout = -1;  ///< before the classifiers; -1: as `dropout`
  double eps = 1e-12;
  double std = 0.02;               ///< of all weights; biases begin as zeros
  std::int64_t padding_token = 0;  ///< its embedding begins as zeros and learns from the head alone; -1: none
  bool tied = true;                ///< the head of words is the embedding; false: it has a weight of its own
  bool causal = false;             ///< a token sees no later one
  BertPositions position_kind = BertPositions::absolute;
  BertHeads heads_on_top = BertHeads::pretraining;
  BertProblem problem = BertProblem::by_labels;
  std::vector<std::string> labels{"LABEL_0", "LABEL_1"};  ///< the classifiers' classes
};

/// Hugging Face's config.json (a BERT's) as a BertConfig. Each key is used, known to be without effect on what the
/// model computes, or refused; "architectures" says which heads there are, those of pretraining if it is not there.
/// Throws FileError, which names the key.
BertConfig bert_config_from_file(const std::string& path, Here here = Here::current());
/// Writes a config.json that bert_config_from_file() reads as the same BertConfig, and Hugging Face's library as the
/// class that the heads are of. Throws ValueError, which names the key, for a value out of its range; FileError.
void save_config(const std::string& path, const BertConfig& config, Here here = Here::current());

struct BertCall {
  Tensor token_types{};       ///< [b, n] int64, which sentence a token is of; undefined: all of the first
  Tensor key_padding_mask{};  ///< [b, n] bool: true hides. Positions are places, so padding belongs on the right
  Tensor positions{};         ///< [b, n] or [n] int64; undefined: 0, 1, 2, ...
};

struct BertResult {
  Tensor hidden;         ///< [b, n, d_model]
  Tensor pooled;         ///< [b, d_model]: tanh of a map of the first token's; undefined for heads that need none
  Tensor words;          ///< logits [b, n, vocabulary], if there is a head of words
  Tensor next_sentence;  ///< logits [b, 2], if there is that head; 0: the second sentence follows, 1: it is another
  Tensor labels;         ///< of the classifiers: logits [b, labels], [b, n, labels], or [b, 1] of choices
  Tensor spans;          ///< logits [b, n, 2]: that an answer begins, and that it ends, at a token
};

/// What a batch should be. Class numbers of -100 are ignored.
struct BertTargets {
  Tensor words{};          ///< [b, n] int64: the words at the masked places, -100 elsewhere
  Tensor next_sentence{};  ///< [b] int64
  Tensor labels{};         ///< of sequences [b] int64 (regression: [b] or [b, labels], several labels: [b, labels],
                           ///< floating), of tokens [b, n] int64, the right one among choices [b / choices] int64
  Tensor starts{};         ///< [b] int64, where the answer begins; not counted if that is not in the sequence
  Tensor ends{};           ///< [b] int64, its last token
};

/// BERT with its heads.
///
///     nn::Bert model({.vocabulary = 2000, .positions = 128, .d_model = 128, .d_ff = 512, .heads = 4, .layers = 4});
///     nn::BertResult y = model(tokens, {.token_types = types, .key_padding_mask = padding});
///     model.loss(y, {.words = masked, .next_sentence = follows}).backward();
///
///     nn::Bert published(nn::bert_config_from_file("bert/config.json"));
///     published.load_published("bert/model.safetensors");
struct Bert : Module {
  using Options = BertConfig;

  /// Throws ValueError for sizes that do not fit.
  explicit Bert(const BertConfig& config, Here here = Here::current());

  /// Of tokens [b, n] int64. What padding holds has no influence on other tokens. Throws ShapeError for a sequence
  /// longer than the positions and for what does not fit the tokens, IndexError for tokens and types out of range.
  BertResult operator()(const Tensor& tokens, const BertCall& call = {}, Here here = Here::current()) const;
  /// The sum of the losses of all targets that are given: cross-entropies, or what the problem says. With
  /// BertHeads::next_word token i + 1 is the target of place i. Each is reduced by itself. Throws ValueError for no
  /// target and for one that no head is there for, and for several with Reduction::none; ShapeError and DTypeError for
  /// targets that do not fit.
  Tensor loss(const BertResult& result, const BertTargets& targets, Reduction reduction = Reduction::mean,
              Here here = Here::current()) const;

  /// Loads a file with the published names, with or without "bert." before them, norms also as gamma and beta:
  /// safetensors, whole or in shards, or a PyTorch checkpoint. Heads of BERT that this model does not have are left
  /// out; what else is there beside the weights must be what the model has anyway: position numbers, a head that
  /// equals the word embedding it is tied to. Throws FileError for others, another model's file, and everything
  /// missing, unexpected and misshaped, all of it listed; then nothing is changed.
  void load_published(const std::string& path, Here here = Here::current());
  /// The encoder alone, from any BERT's file: what fine-tuning begins with. The heads stay as they are, the pooler too
  /// if the file has none.
  void load_encoder(const std::string& path, Here here = Here::current());
  /// Writes the weights as load_published() reads them, without position numbers and the tied head; with "bert." before
  /// the encoder's names, unless the encoder is all there is.
  void save_published(const std::string& path, Here here = Here::current()) const;

  // ---- the parts, under their published names

  struct Embeddings : Module {
    explicit Embeddings(const BertConfig& c, Here here = Here::current());
    Tensor operator()(const Tensor& tokens, const BertCall& call, Here here = Here::current()) const;

    const BertConfig config;
    Embedding& words;
    Embedding& positions;
    Embedding& token_types;
    LayerNorm& norm;
    Dropout& dropout;
  };

  struct SelfAttention : Module {
    using Config = BertConfig;
    using Beside = Tensor;  ///< the attention_mask
    SelfAttention(const BertConfig& c, std::int64_t layer, Here here = Here::current());
    Tensor operator()(const Tensor& x, const Tensor& attention_mask, Here here = Here::current()) const;

    const BertConfig config;
    Linear& query;
    Linear& key;
    Linear& value;
    Embedding* distances = nullptr;  ///< a row a distance, from 1 - positions on, unless positions are absolute
  };

  using Layer = BertLayer<SelfAttention>;

  /// Embeddings, layers and pooler: what every BERT has.
  struct Encoder : Module {
    explicit Encoder(const BertConfig& c, Here here = Here::current());
    /// The hidden states; attention_mask [b, 1, 1, n] or undefined.
    Tensor operator()(const Tensor& tokens, const BertCall& call, const Tensor& attention_mask,
                      Here here = Here::current()) const;

    const BertConfig config;
    Embeddings& embeddings;
    ModuleList<Layer>& layers;
    Linear* pooler = nullptr;
  };

  /// Words from hidden states: a dense layer, a norm, the word embedding, a bias.
  struct WordHead : Module {
    explicit WordHead(const BertConfig& c, Here here = Here::current());
    Tensor operator()(const Tensor& hidden, const Tensor& embedding, Here here = Here::current()) const;

    const BertConfig config;
    Parameter& bias;
    Linear& dense;
    LayerNorm& norm;
    Linear* decoder = nullptr;  ///< null: tied
  };

  const BertConfig config;
  Encoder& bert;
  WordHead* words = nullptr;
  Linear *next_sentence = nullptr, *classifier = nullptr, *spans = nullptr;
  Dropout* dropout = nullptr;  ///< before the classifier
};

}  // namespace attune::nn
