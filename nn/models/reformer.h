// The Reformer language model (Kitaev, Kaiser and Levskaya 2020): axial positions, reversible layers of LSH or local
// attention and feed-forward, an output over both streams. Children carry Hugging Face's names.
#pragma once

#include <optional>
#include <vector>

#include "autograd/ops/create.h"
#include "autograd/ops/loss.h"
#include "nn/attention/local.h"
#include "nn/attention/lsh.h"
#include "nn/attention/lsh_cache.h"
#include "nn/layers/containers.h"
#include "nn/layers/dropout.h"
#include "nn/layers/embedding.h"
#include "nn/layers/norm.h"
#include "nn/layers/positional.h"
#include "nn/layers/reversible.h"

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
  std::int64_t positions = 4096;                     ///< if they are not axial
  std::int64_t axial_rows = 64, axial_columns = 64;  ///< positions up to their product
  std::int64_t axial_row_dim = 64;                   ///< of d_model; the columns have the rest
  double axial_std = 1;
  double embedding_std = 1;  ///< of the token embeddings
  double std = 0;            ///< of the other matrices, whose biases then begin as zeros; 0: as their layers begin
  Activation activation = Activation::relu;
  double dropout = 0;  ///< of embeddings, attention and feed-forward outputs
  double eps = 1e-12;
  std::int64_t ff_chunks = 1;  ///< pieces along the sequence in which feed-forward parts are computed
  bool reversible = true;      ///< recompute activations; false keeps them
};

/// Hugging Face's config.json (a Reformer's) as a ReformerConfig. Each key is used, known to be without effect on what
/// the model computes (hash_seed: hashes are drawn from the default generator), or refused. Throws FileError, which
/// names the key.
ReformerConfig reformer_config_from_file(const std::string& path, Here here = Here::current());
/// Writes a config.json that reformer_config_from_file() reads as the same ReformerConfig, and Hugging Face's library
/// as one of its ReformerModelWithLMHead; ff_chunks and reversible, which change no result, are not in it, and one
/// number, initializer_range, stands for both standard deviations (embedding_std, if there is no std). Throws
/// ValueError, which names the key or the option, for a value out of its range and for attention that differs from
/// LshOptions::hugging_face() in what config.json has no key for; FileError.
void save_config(const std::string& path, const ReformerConfig& config, Here here = Here::current());

struct ReformerCall {
  /// [b, n] bool: true hides.
  Tensor key_padding_mask{};
  /// None, or one a layer; of a local layer's the mask alone counts. Buckets are of the padded length, as buckets()
  /// gives them.
  std::vector<LshCall> attention{};
};

/// What a layer attends to.
struct AttentionPatternResult {
  Tensor weights;  ///< [b, h, n, n]
  Tensor buckets;  ///< [b, h, hashes, n]; undefined if none were needed
};

/// What a decoding keeps: tokens' buckets, keys and values, layer by layer.
class ReformerState {
 public:
  std::int64_t length() const { return length_; }  ///< tokens so far
  /// Row i becomes what row rows[i] was: rows [b'] int64. Throws IndexError for a row that is not there.
  void reorder(const Tensor& rows, Here here = Here::current());
  void reserve(std::int64_t tokens);  ///< room for `tokens` in all

 private:
  friend struct Reformer;
  struct Layer {
    std::optional<LshCache> lsh;  // absent for a local layer
    KeyValueCache local;
  };
  std::vector<Layer> layers_;
  std::int64_t length_ = 0;
};

/// The language model.
///
///     nn::Reformer model(nn::reformer_config_from_file("reformer/config.json"));
///     model.load_published("reformer/model.safetensors");
///     model.eval();
///     Tensor logits = model(tokens);                // tokens [b, n] int64, logits [b, n, vocabulary]
struct Reformer : Module {
  using Options = ReformerConfig;
  using State = ReformerState;

  /// Throws ValueError for sizes that do not fit.
  explicit Reformer(const ReformerConfig& config, Here here = Here::current());

  /// Logits [b, n, vocabulary] of tokens [b, n] int64. A length that the layers' chunks do not divide is padded for all
  /// layers alike, and cut again at the end.
  Tensor operator()(const Tensor& tokens, const ReformerCall& call = {}, Here here = Here::current());
  /// Cross-entropy of predicting token i + 1 at position i, or, if attention is not causal, the label of position i
  /// itself (masked tokens); targets of -100 are ignored. Reduction::none gives [b, n - 1], or [b, n]. Over batches of
  /// unequal counts, the gradient of the mean over all targets is that of loss(..., Reduction::sum) / (the sum of
  /// target_count(labels)).
  Tensor loss(const Tensor& logits, const Tensor& labels, Reduction reduction = Reduction::mean,
              Here here = Here::current()) const;
  /// How many targets the loss counts.
  std::int64_t target_count(const Tensor& labels, Here here = Here::current()) const;

  /// A state for step(), before the first token. Rotations are those of call.attention or drawn in the first step; they
  /// and the number of buckets, which is that of `length` tokens (0: of all positions), stay for the whole decoding.
  /// Throws ValueError for a padding mask or buckets in the call, and unless attention is causal.
  State start(const ReformerCall& call = {}, std::int64_t length = 0, Here here = Here::current()) const;
  /// The logits [b, vocabulary] of the token after the next n >= 1 tokens [b, n] int64, which the state then has. Each
  /// layer attends as in the full pass over all tokens so far with the same rotations and numbers of buckets, to what
  /// the earlier tokens were when they came. The full pass may change these: a later token moves the limits of chunks.
  /// So the logits are those of the full pass, up to rounding, if no layer but the last is an LSH layer; and with any
  /// layers if other buckets are masked, no bucket has more tokens than fit the chunks before, so that all of it is
  /// always seen, and the first step is longer than a chunk. Off the tape. Throws ShapeError if there are more tokens
  /// than positions, IndexError for a token that is not in the vocabulary, and then the state is as it was.
  Tensor step(const Tensor& tokens, State& state, Here here = Here::current()) const;
  /// The longest sequence that it can continue to.
  std::int64_t most_tokens() const {
    return config.axial ? config.axial_rows * config.axial_columns : config.positions;
  }

  /// The buckets [b, h, hashes, n] of every layer (undefined for local layers and short sequences) for these tokens,
  /// off the tape; n is the padded length.
  std::vector<Tensor> buckets(const Tensor& tokens, const ReformerCall& call = {}, Here here = Here::current());
  /// The attention probabilities and buckets of an LSH layer for tokens [b, n], in evaluation mode and off the tape; n
  /// is the given length.
  AttentionPatternResult attention_pattern(const Tensor& tokens, std::size_t layer, Here here = Here::current());
  /// Throws ValueError for a local layer, IndexError if there is none.
  LshSelfAttention& lsh_attention(std::size_t layer, Here here = Here::current());

  /// Loads a file with the published names: safetensors, whole or in shards, or a PyTorch checkpoint. What is there
  /// beside the weights must be what the model has anyway: the mask constants, the head's bias under its second name.
  /// Throws FileError for others, another model's file, and everything missing, unexpected and misshaped, all of it
  /// listed; then nothing is changed.
  void load_published(const std::string& path, Here here = Here::current());
  /// Writes the weights as load_published() reads them, without mask constants.
  void save_published(const std::string& path, Here here = Here::current()) const;

  // ---- the parts, under their published names

  struct Embeddings : Module {
    explicit Embeddings(const ReformerConfig& c, Here here = Here::current());
    /// Of tokens [b, n] at positions first .. first + n - 1.
    Tensor operator()(const Tensor& tokens, std::int64_t first = 0, Here here = Here::current()) const;

    const ReformerConfig config;
    Embedding& words;
    AxialPositionEmbedding* axial = nullptr;
    LearnedPositionEmbedding* learned = nullptr;
    Dropout& dropout;
  };

  struct Attention : Module {
    Attention(const ReformerConfig& c, ReformerAttention kind, Here here = Here::current());
    LshResult operator()(const Tensor& x, const LshCall& call, Here here = Here::current()) const;

    const ReformerConfig config;
    LayerNorm& norm;
    LshSelfAttention* lsh = nullptr;
    LocalSelfAttention* local = nullptr;
    Linear* output = nullptr;
    Dropout& dropout;
  };

  struct FeedForward : Module {
    explicit FeedForward(const ReformerConfig& c, Here here = Here::current());
    Tensor operator()(const Tensor& x, Here here = Here::current()) const;

    const ReformerConfig config;
    LayerNorm& norm;
    Linear& up;
    Linear& down;
    Dropout& dropout;
  };

  struct Layer : Module {
    Layer(const ReformerConfig& c, ReformerAttention kind, Here here = Here::current());

    Attention& attention;
    FeedForward& feed_forward;
  };

  struct Encoder : Module {
    explicit Encoder(const ReformerConfig& c, Here here = Here::current());
    /// Its first `count` layers.
    std::vector<ReversibleBlock> blocks(const ReformerCall& call, std::size_t count) const;

    const ReformerConfig config;
    ModuleList<Layer>& layers;
    LayerNorm& norm;
  };

  struct Head : Module {
    explicit Head(const ReformerConfig& c, Here here = Here::current());
    Tensor operator()(const Tensor& x, Here here = Here::current()) const;

    const ReformerConfig config;
    Parameter& bias;
    Linear& decoder;
  };

  const ReformerConfig config;
  Embeddings& embeddings;
  Encoder& encoder;
  Head& head;
};

}  // namespace attune::nn
