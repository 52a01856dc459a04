// The GPT-2 language model (Radford et al. 2019): learned positions, pre-norm blocks of causal self-attention and
// feed-forward, a head tied to the token embeddings. Children carry Hugging Face's names.
#pragma once

#include "nn/attention/cache.h"
#include "nn/layers/containers.h"
#include "nn/layers/dropout.h"
#include "nn/layers/embedding.h"
#include "nn/layers/linear.h"
#include "nn/layers/norm.h"
#include "nn/models/blocks.h"

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
  bool tied = true;                     ///< the head is the token embedding; false: it has a weight of its own
  /// GPT-3's form (Brown et al. 2020): layers 1, 3, 5, ... are locally banded, a token sees this many up to and with
  /// itself (Child et al. 2019); the others are dense. 0: all are dense, which is GPT-2. In a configuration file it is
  /// a key "band", which no other program knows.
  std::int64_t band = 0;
  /// The tokens that begin and end a text, -1: none. The model does without them: they are kept for a configuration
  /// file, and for generate(). A published file that does not say them means GPT-2's, 50256.
  std::int64_t begin_token = -1, end_token = -1;

  double output_std() const;
};

/// Hugging Face's config.json (a GPT-2's) as a Gpt2Config. Each key is used, known to be without effect on what the
/// model computes, or refused. Throws FileError, which names the key.
Gpt2Config gpt2_config_from_file(const std::string& path, Here here = Here::current());
/// Writes a config.json that gpt2_config_from_file() reads as the same Gpt2Config, and Hugging Face's library as one of
/// its GPT2LMHeadModel. Throws ValueError, which names the key, for a value out of its range; FileError.
void save_config(const std::string& path, const Gpt2Config& config, Here here = Here::current());

/// What a Gpt2 keeps from step to step: keys and values of all layers, and what of the prompt is padding.
class Gpt2State {
 public:
  std::int64_t length() const;  ///< tokens so far, padding too
  /// Room for `tokens` in all.
  void reserve(std::int64_t tokens);
  /// Row i becomes what row rows[i] was: rows [b'] int64. Throws IndexError for a row that is not there.
  void reorder(const Tensor& rows, Here here = Here::current());

 private:
  friend struct Gpt2;
  bool padded() const { return hidden_.defined(); }
  /// The places [b, n] int64 of the next n tokens.
  Tensor positions(std::int64_t n) const;
  /// What is hidden of all tokens up to and with the next n: [b, length() + n].
  Tensor hidden_with(std::int64_t n);

  std::vector<KeyValueCache> layers_;
  Tensor hidden_;            // [b, at least length()]: true hides; undefined: nothing is hidden
  Tensor prompt_positions_;  // [b, prompt]
  Tensor hidden_counts_;     // [b, 1] int64
  std::int64_t reserved_ = 0;
};

/// The language model.
///
///     nn::Gpt2 model({.vocabulary = 256, .positions = 128, .d_model = 64, .heads = 4, .layers = 2});
///     Tensor logits = model(tokens);                // tokens [b, n] int64, logits [b, n, 256]
///     model.loss(logits, tokens).backward();        // predicts token i + 1 at position i
///
///     nn::Gpt2 published(nn::gpt2_config_from_file("gpt2/config.json"));
///     published.load_published("gpt2/model.safetensors");
///
///     Tensor more = nn::generate(published, prompt, {.max_new_tokens = 20}).sequences;  // nn/decode
struct Gpt2 : Module {
  using Options = Gpt2Config;
  using State = Gpt2State;

  /// Throws ValueError for sizes that do not fit.
  explicit Gpt2(const Gpt2Config& config, Here here = Here::current());

  /// Logits [b, n, vocabulary] of tokens [b, n] int64; in key_padding_mask [b, n] bool true hides. Positions count the
  /// tokens that are not hidden, so that padding on the left, as on the right, leaves the logits of the others as they
  /// are without it. Throws ShapeError for a sequence longer than the positions.
  Tensor operator()(const Tensor& tokens, const Tensor& key_padding_mask = {}, Here here = Here::current()) const;
  /// Cross-entropy of predicting token i + 1 at position i; targets of -100 are ignored. Reduction::none gives
  /// [b, n - 1]. Over batches of unequal counts, the gradient of the mean over all targets is that of
  /// loss(..., Reduction::sum) / (the sum of target_count(labels)).
  Tensor loss(const Tensor& logits, const Tensor& labels, Reduction reduction = Reduction::mean,
              Here here = Here::current()) const;
  /// How many targets the loss counts.
  std::int64_t target_count(const Tensor& labels, Here here = Here::current()) const;

  /// A state for step(), before the first token. In the prompt's key_padding_mask [b, n] bool true hides; what the
  /// first n tokens are is said by it, whether they come in one step or in several.
  State start(const Tensor& key_padding_mask = {}, Here here = Here::current()) const;
  /// The logits [b, vocabulary] of the token after the next n >= 1 tokens [b, n] int64, which the state then has: what
  /// operator() gives at the last position of all tokens so far. Off the tape; in training mode the attention's
  /// probabilities are not dropped. Throws ShapeError if there are more tokens than positions, IndexError for a token
  /// that is not in the vocabulary, and then the state is as it was.
  Tensor step(const Tensor& tokens, State& state, Here here = Here::current()) const;
  /// The longest sequence that it can continue to.
  std::int64_t most_tokens() const { return config.positions; }

  /// Loads a file with the published names, with or without "transformer." before them: safetensors, whole or in
  /// shards, or a PyTorch checkpoint. What is there beside the weights must be what the model has anyway: causal masks,
  /// a head that equals the token embedding it is tied to. Throws FileError for other masks and heads, another model's
  /// file, and everything missing, unexpected and misshaped, all of it listed; then nothing is changed.
  void load_published(const std::string& path, Here here = Here::current());
  /// Writes the weights as load_published() reads them: the names with "transformer.", no masks, a tied head left out.
  void save_published(const std::string& path, Here here = Here::current()) const;

  // ---- the parts, under their published names

  struct SelfAttention : Module {
    SelfAttention(const Gpt2Config& c, std::int64_t layer, Here here = Here::current());
    Tensor operator()(const Tensor& x, const Tensor& attention_mask, Here here = Here::current()) const;
    /// The same for the next tokens x [b, n, d_model], whose keys and values the cache takes.
    Tensor step(const Tensor& x, KeyValueCache& cache, const Tensor& key_padding_mask,
                Here here = Here::current()) const;

    const Gpt2Config config;
    const double scale;
    const std::int64_t window;  ///< the tokens that a token sees, itself too; 0: all
    Projection& c_attn;
    Projection& c_proj;
  };

  struct FeedForward : Module {
    explicit FeedForward(const Gpt2Config& c, Here here = Here::current());
    Tensor operator()(const Tensor& x, Here here = Here::current()) const;

    const Gpt2Config config;
    Projection& c_fc;
    Projection& c_proj;
  };

  struct Block : Module {
    Block(const Gpt2Config& c, std::int64_t i, Here here = Here::current());
    Tensor operator()(const Tensor& input, const Tensor& attention_mask, Here here = Here::current()) const;
    Tensor step(const Tensor& x, KeyValueCache& cache, const Tensor& key_padding_mask,
                Here here = Here::current()) const;

    const Gpt2Config config;
    const std::int64_t layer;
    LayerNorm& ln_1;
    SelfAttention& attn;
    LayerNorm& ln_2;
    FeedForward& mlp;
    Dropout& dropout;

   private:
    Tensor with(const Tensor& x, const Tensor& attended) const;
  };

  const Gpt2Config config;
  Embedding& wte;
  Embedding& wpe;
  Dropout& drop;
  ModuleList<Block>& blocks;
  LayerNorm& ln_f;
  Linear* lm_head = nullptr;  ///< null: tied to wte
};

}  // namespace attune::nn
