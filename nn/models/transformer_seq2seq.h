// The Transformer of Vaswani et al. 2017 as a whole: from text to text, by the blocks of nn/models/transformer.h.
#pragma once

#include "autograd/ops/loss.h"
#include "nn/layers/embedding.h"
#include "nn/layers/linear.h"
#include "nn/layers/positional.h"
#include "nn/models/encoder_decoder_state.h"
#include "nn/models/transformer.h"

namespace attune::nn {

/// The defaults are the paper's base model.
struct TransformerConfig {
  std::int64_t vocabulary = 37000;     ///< of the source
  std::int64_t target_vocabulary = 0;  ///< 0: that of the source, in one table for both; above: a table of its own
  std::int64_t d_model = 512;
  std::int64_t d_ff = 2048;
  std::int64_t heads = 8;
  std::int64_t layers = 6;          ///< of the encoder
  std::int64_t decoder_layers = 0;  ///< 0: as many as the encoder's
  std::int64_t positions = 1024;    ///< the longest source, and the longest target, padding included
  Activation activation = Activation::relu;
  bool pre_norm = false;         ///< norms before the sublayers, and one behind each stack (Xiong et al. 2020)
  bool tied = true;              ///< the output layer is the target's table
  double dropout = 0.1;          ///< of embeddings, attention probabilities, hidden layers and each sublayer's output
  double label_smoothing = 0.1;  ///< of the loss, while training
  double eps = 1e-5;
  std::int64_t padding_token = 0;  ///< in the decoder's input where a label is -100
  std::int64_t start_token = 1;    ///< the first that the decoder sees
  AttentionMechanism mechanism{};  ///< of the encoder's self-attention; attention to its output is exact
  /// Of the decoder's, which is causal. Steps need one that MultiheadAttention::extend() goes by.
  AttentionMechanism decoder_mechanism{};
};

/// What a Transformer keeps from step to step.
class TransformerState : public EncoderDecoderState {
 public:
  TransformerState() : EncoderDecoderState("TransformerState") {}

 private:
  friend struct Transformer;
};

/// Encoder and decoder. A token enters as sqrt(d_model) times its row of the table plus the sinusoid of its position.
/// In a key_padding_mask [b, s] of the source true hides a token, wherever it stands: what is hidden has no influence,
/// and positions count the others, so that padding may be on any side. A source that is all hidden is as one that says
/// nothing: attention to it gives zeros. Targets are padded at their end, with labels of -100.
///
/// Rows of the tables begin as N(0, 1 / d_model), so that what enters has variance 1; all other matrices are
/// Glorot-uniform (queries, keys and values each on their own), biases zero.
///
///     nn::Transformer model({.vocabulary = 8000, .d_model = 256, .d_ff = 1024, .heads = 4, .layers = 3});
///     Tensor logits = model(source, model.shift_right(labels), padding);  // [b, s], [b, t], [b, s] to [b, t, 8000]
///     model.loss(logits, labels).backward();
///     optim::Schedule rate = optim::noam(256, 4000);                      // for Adam with lr 1, betas 0.9 and 0.98
///     Tensor answers = nn::generate(model, source, {.max_length = 50, .eos = 2, .beams = 4, .length_penalty = 0.6,
///                                                   .wu_penalty = true}, padding).sequences;
struct Transformer : Module {
  using Options = TransformerConfig;
  using State = TransformerState;

  /// Throws ValueError for sizes that do not fit.
  explicit Transformer(const TransformerConfig& config, Here here = Here::current());

  /// Logits [b, t, target vocabulary] of what follows each of the decoder's tokens [b, t], given the source [b, s >= 1]
  /// (both int64). Throws ShapeError if shapes do not fit or there are more tokens than positions, IndexError for a
  /// token outside of the vocabulary.
  Tensor operator()(const Tensor& source, const Tensor& target, const Tensor& key_padding_mask = {},
                    Here here = Here::current()) const;
  /// What the decoder is to see where it shall say `labels` [b, t]: the start token, then the labels but the last, with
  /// padding where they are -100.
  Tensor shift_right(const Tensor& labels, Here here = Here::current()) const;
  /// Cross-entropy of the label at each position, -100 ignored; while training it is smoothed, so that 1 -
  /// label_smoothing of the target is the label's and the rest is spread evenly over the vocabulary. In evaluation mode
  /// it is the plain one, whose exponential is the perplexity. Reduction::none gives [b, t].
  Tensor loss(const Tensor& logits, const Tensor& labels, Reduction reduction = Reduction::mean,
              Here here = Here::current()) const;
  /// How many targets the loss counts.
  std::int64_t target_count(const Tensor& labels, Here here = Here::current()) const;
  /// The encoder's output [b, s, d_model] for source tokens [b, s].
  Tensor encode(const Tensor& source, const Tensor& key_padding_mask = {}, Here here = Here::current()) const;
  /// The weights [b, heads, t, s] that each decoder layer gives the source where the decoder sees `target`: row i of t
  /// belongs to the token behind target[i]. The lowest layer first; rows of a source that is all hidden are 0. Off the
  /// tape; dropout is off in evaluation mode only. Throws as operator() does.
  Tensors alignments(const Tensor& source, const Tensor& target, const Tensor& key_padding_mask = {},
                     Here here = Here::current()) const;

  /// The longest sequence that steps can go on to.
  std::int64_t most_tokens() const { return config.positions; }
  /// The state before the first of the decoder's tokens, for source tokens [b, s >= 1]: the encoder runs, once, and
  /// keys and values of its output are made for each layer. Off the tape; dropout is off in evaluation mode only.
  /// Throws as operator() does.
  State start(const Tensor& source, const Tensor& key_padding_mask = {}, Here here = Here::current()) const;
  /// Logits [b, target vocabulary] of what follows the next tokens [b, n >= 1] of the decoder, the first of which is
  /// the start token. The state then includes them. Off the tape. Throws ShapeError for other rows than the state's and
  /// beyond the positions, IndexError for a token outside of the vocabulary; the state is then as it was.
  Tensor step(const Tensor& tokens, State& state, Here here = Here::current()) const;

  const TransformerConfig config;
  Embedding& source_embedding;
  /// The same module's table where there is one for both.
  Embedding& target_embedding;
  SinusoidalPositionEmbedding& positions;
  TransformerEncoder& encoder;
  TransformerDecoder& decoder;
  Dropout& dropout;
  Linear* output = nullptr;  ///< null: tied to target_embedding

 private:
  /// What enters a stack: of tokens [b, n] that begin at a position, or whose positions count what is not hidden.
  Tensor embed(const Embedding& table, const Tensor& tokens, std::int64_t offset, const Tensor& hidden) const;
  Tensor head(const Tensor& x) const;
  void check(const Tensor& source, const Tensor& target, const Tensor& key_padding_mask, Here here) const;
};

}  // namespace attune::nn
