// T5, text to text (Raffel et al. 2019): an encoder and a causal decoder of pre-norm blocks with RMS norms and without
// biases, positions as a learned bias of the scores, one a head and bucket of distances. Both published
// forms: v1.0, and v1.1, whose feed-forward layers are gated (Shazeer 2020) and whose head is not tied. Children carry
// Hugging Face's names.
#pragma once

#include "autograd/ops/attention/attention.h"
#include "nn/layers/containers.h"
#include "nn/layers/dropout.h"
#include "nn/layers/embedding.h"
#include "nn/layers/linear.h"
#include "nn/layers/norm.h"
#include "nn/layers/positional.h"
#include "nn/models/blocks.h"
#include "nn/models/encoder_decoder_state.h"

namespace attune::nn {

struct T5Config {
  std::int64_t vocabulary = 32128;
  std::int64_t d_model = 512;
  std::int64_t d_kv = 64;  ///< of a head's queries, keys and values; heads d_kv need not be d_model
  std::int64_t d_ff = 2048;
  std::int64_t heads = 8;
  std::int64_t layers = 6;          ///< of the encoder
  std::int64_t decoder_layers = 0;  ///< 0: as many as the encoder's
  std::int64_t buckets = 32;        ///< of relative positions; the encoder's are half for each direction
  std::int64_t max_distance = 128;  ///< from here on all distances are in one bucket
  Activation activation = Activation::relu;
  bool gated = false;    ///< v1.1: wo(activation(wi_0(x)) wi_1(x)) in the place of wo(activation(wi(x)))
  double dropout = 0.1;  ///< of embeddings, attention probabilities, hidden layers and each block's and stack's output
  double eps = 1e-6;
  double factor = 1;  ///< of all initial weights
  bool tied = true;   ///< the head is the token embedding, over sqrt(d_model); false (v1.1): it has a weight of its own
  std::int64_t padding_token = 0;
  std::int64_t end_token = 1;
  std::int64_t start_token = 0;  ///< the first that the decoder sees
};

/// Hugging Face's config.json (a T5's) as a T5Config. Each key is used, known to be without effect on what the model
/// computes, or refused. Throws FileError, which names the key.
T5Config t5_config_from_file(const std::string& path, Here here = Here::current());
/// Writes a config.json that t5_config_from_file() reads as the same T5Config, and Hugging Face's library as one of its
/// T5ForConditionalGeneration. Throws ValueError, which names the key, for a value out of its range; FileError.
void save_config(const std::string& path, const T5Config& config, Here here = Here::current());

struct T5Call {
  Tensor key_padding_mask{};          ///< of the source tokens, [b, s] bool: true hides
  Tensor decoder_key_padding_mask{};  ///< of the decoder's tokens, [b, t] bool: true hides
};

/// What a T5 keeps from step to step.
class T5State : public EncoderDecoderState {
 public:
  T5State() : EncoderDecoderState("T5State") {}
  /// Room for `tokens` of the decoder in all.
  void reserve(std::int64_t tokens);

 private:
  friend struct T5;

  Tensor bias_;  // [1, heads, 1, room_] of a token's scores, the farthest first: its end serves any step
  std::int64_t room_ = 0;
};

/// The model that writes text when given text.
///
///     nn::T5 model({.vocabulary = 256, .d_model = 64, .d_kv = 16, .d_ff = 128, .heads = 4, .layers = 2});
///     Tensor logits = model(source, model.shift_right(labels));  // source [b, s], labels [b, t], logits [b, t, 256]
///     model.loss(logits, labels).backward();
///
///     nn::T5 published(nn::t5_config_from_file("t5/config.json"));
///     published.load_published("t5/model.safetensors");
///
///     Tensor answers = nn::generate(published, source, {.max_length = 20, .eos = 1}).sequences;  // nn/decode
struct T5 : Module {
  using Options = T5Config;
  using State = T5State;

  /// Throws ValueError for sizes that do not fit.
  explicit T5(const T5Config& config, Here here = Here::current());

  /// Logits [b, t, vocabulary] of what follows each of the decoder's tokens [b, t], given the source [b, s] (both
  /// int64). Throws ShapeError if shapes do not fit, IndexError for a token outside of the vocabulary.
  Tensor operator()(const Tensor& source, const Tensor& tokens, const T5Call& call = {},
                    Here here = Here::current()) const;
  /// What the decoder is to see where it shall say `labels` [b, t]: the start token, then the labels but the last, with
  /// padding where they are -100.
  Tensor shift_right(const Tensor& labels, Here here = Here::current()) const;
  /// Cross-entropy of the label at each position; -100 is ignored. Reduction::none gives [b, t]. Over batches of
  /// unequal counts, the gradient of the mean over all targets is that of loss(..., Reduction::sum) / (the sum of
  /// target_count(labels)).
  Tensor loss(const Tensor& logits, const Tensor& labels, Reduction reduction = Reduction::mean,
              Here here = Here::current()) const;
  /// How many targets the loss counts.
  std::int64_t target_count(const Tensor& labels, Here here = Here::current()) const;
  /// The encoder's output [b, s, d_model] for source tokens [b, s], as decoders and classifiers see it.
  Tensor encode(const Tensor& source, const Tensor& key_padding_mask = {}, Here here = Here::current()) const;

  /// The state before the first of the decoder's tokens, for source tokens [b, s >= 1]: the encoder runs, once, and
  /// keys and values of its output are made for each layer. Off the tape; dropout is off in evaluation mode only.
  State start(const Tensor& source, const Tensor& key_padding_mask = {}, Here here = Here::current()) const;
  /// Logits [b, vocabulary] of what follows the next tokens [b, n >= 1] of the decoder, the first of which is the start
  /// token. The state then includes them. Off the tape. Throws ShapeError for other rows than the state's, IndexError
  /// for a token outside of the vocabulary; the state is then as it was.
  Tensor step(const Tensor& tokens, State& state, Here here = Here::current()) const;

  /// Loads a file with the published names: safetensors, whole or in shards, or a PyTorch checkpoint. What is there
  /// beside the weights must be what the model has anyway: second copies of the embedding; and a position table of the
  /// cross-attention, which old files have and no model uses, is passed over. Throws FileError for others, another
  /// model's file, and everything missing, unexpected and misshaped, all of it listed; then nothing is changed.
  void load_published(const std::string& path, Here here = Here::current());
  /// Writes the weights as load_published() reads them; a tied embedding is there once, as shared.weight.
  void save_published(const std::string& path, Here here = Here::current()) const;

  // ---- the parts, under their published names

  struct Attention : Module {
    /// With a table of position biases, which the stack's first block has for all, of keys on both sides or before
    /// their query; or without.
    Attention(const T5Config& c, bool positions, bool both, Here here = Here::current());
    /// x [b, t, d_model] attends to memory [b, s, d_model], which is x itself in self-attention.
    Tensor operator()(const Tensor& x, const Tensor& memory, AttentionOptions options,
                      Here here = Here::current()) const;
    /// x [b, n, d_model] attends to what a cache holds.
    Tensor step(const Tensor& x, const KeyValueCache& cache, CachedAttentionOptions options,
                Here here = Here::current()) const;

    const T5Config config;
    Linear &q, &k, &v, &o;
    RelativePositionBias* relative_attention_bias = nullptr;
  };

  struct FeedForward : Module {
    explicit FeedForward(const T5Config& c, Here here = Here::current());
    Tensor operator()(const Tensor& x, Here here = Here::current()) const;

    Linear& wi;            ///< of the gate, if there is one, and then named wi_0
    Linear* up = nullptr;  ///< what the gate lets through: wi_1
    Linear& wo;
    Dropout& dropout;
  };

  struct Block : Module {
    Block(const T5Config& c, bool decoder, bool positions, Here here = Here::current());
    /// x [b, t, d_model]; a decoder's also sees memory [b, s, d_model].
    Tensor operator()(const Tensor& x, const AttentionOptions& self, const Tensor& memory,
                      const AttentionOptions& cross, Here here = Here::current()) const;
    /// A decoder's, of the next tokens x [b, n, d_model] of a layer whose caches these are; the bias is [1, h, n, t].
    Tensor step(const Tensor& x, KeyValueCache& own, const Tensor& bias, const KeyValueCache& source,
                const Tensor& source_padding, Here here = Here::current()) const;

    RMSNorm& norm;
    Attention& attention;
    RMSNorm* cross_norm = nullptr;  ///< of a decoder's block, as the next one
    Attention* cross_attention = nullptr;
    RMSNorm& feed_forward_norm;
    FeedForward& feed_forward;
    Dropout& dropout;

   private:
    /// The formula of both: sublayers of a norm, added to what went into it.
    template <class Own, class Cross>
    Tensor through(Tensor x, const Own& own, const Cross& cross) const {
      x = x + dropout(own(norm(x)));
      if (cross_attention) x = x + dropout(cross((*cross_norm)(x)));
      return x + dropout(feed_forward(feed_forward_norm(x)));
    }
  };

  struct Stack : Module {
    Stack(const T5Config& c, bool decoder, Here here = Here::current());
    /// x [b, t, d_model] embedded; the masks are [b, 1, 1, t] of itself and [b, 1, 1, s] of the memory.
    Tensor operator()(const Tensor& x, const Tensor& attention_mask, const Tensor& memory = {},
                      const Tensor& memory_mask = {}, Here here = Here::current()) const;
    /// A decoder's, of the next tokens x [b, n, d_model].
    Tensor step(const Tensor& x, T5State& state, Here here = Here::current()) const;
    /// The bias [1, heads, queries, keys] of the scores of the last `queries` positions of `keys`.
    Tensor position_bias(std::int64_t queries, std::int64_t keys) const;

    const T5Config config;
    const bool decoder;
    ModuleList<Block>& block;
    RMSNorm& final_layer_norm;
    Dropout& dropout;
  };

  const T5Config config;
  Embedding& shared;
  Stack& encoder;
  Stack& decoder;
  Linear* lm_head = nullptr;  ///< null: tied to shared

 private:
  Tensor head(const Tensor& x) const;
};

}  // namespace attune::nn
