// Sequence to sequence with recurrent networks. VanillaSeq2Seq (Sutskever, Vinyals and Le 2014) hands a source to its
// decoder as one state; AdditiveSeq2Seq (Bahdanau, Cho and Bengio 2015) lets its decoder look at all of it all along.
// Both are called as T5 is (nn/models/t5.h): by source and decoder's tokens for training, by start() and step() for
// decoding, which nn::generate() does. Sources and targets may be padded on any side, or in between: what a mask hides
// is left out, as if the rest stood closed up, and it may be any number. A source that is hidden whole is one of no
// words: the decoder starts from the state of an encoder that saw nothing, and attends to nothing (zero weights, zero
// context).
#pragma once

#include "autograd/ops/loss.h"
#include "nn/attention/additive.h"
#include "nn/layers/dropout.h"
#include "nn/layers/embedding.h"
#include "nn/layers/linear.h"
#include "nn/recurrent/recurrent.h"

namespace attune::nn {

struct Seq2SeqCall {
  Tensor key_padding_mask{};          ///< of the source tokens, [b, s] bool: true hides
  Tensor decoder_key_padding_mask{};  ///< of the decoder's tokens, [b, t] bool: true hides; their logits mean nothing
};

struct Seq2SeqResult {
  Tensor logits;      ///< [b, t, vocabulary]
  Tensor alignments;  ///< [b, t, s]: what the step that reads token t looks at, zeros where the source is hidden
};

/// What both models share: the decoder's side of the targets.
struct Seq2Seq : Module {
  /// What the decoder is to see where it shall say `labels` [b, t], whose padding of -100 is at their end: the start
  /// token, then the labels but the last, with padding where they are -100. Throws ShapeError.
  Tensor shift_right(const Tensor& labels, Here here = Here::current()) const;
  /// Cross-entropy of the label [b, t] at each position; -100 is ignored. Reduction::none gives [b, t]. Over batches of
  /// unequal counts, the gradient of the mean over all targets is that of loss(..., Reduction::sum) / (the sum of
  /// target_count(labels)). Throws ShapeError, and IndexError for a label outside of the vocabulary.
  Tensor loss(const Tensor& logits, const Tensor& labels, Reduction reduction = Reduction::mean,
              Here here = Here::current()) const;
  /// How many targets the loss counts.
  std::int64_t target_count(const Tensor& labels, Here here = Here::current()) const;

 protected:
  /// `name` is a literal.
  Seq2Seq(const char* name, std::int64_t padding_token, std::int64_t start_token, Here here)
      : Module(here), name_(name), padding_token_(padding_token), start_token_(start_token) {}

 private:
  const char* name_;
  std::int64_t padding_token_, start_token_;
};

// ---- one state for all

struct VanillaSeq2SeqConfig {
  std::int64_t source_vocabulary = 160000;
  std::int64_t vocabulary = 80000;  ///< of the decoder
  std::int64_t d_embedding = 1000;
  std::int64_t d_hidden = 1000;
  std::int64_t layers = 4;
  bool reverse_source = true;  ///< the encoder reads the last word first, so that the first words are close by
  double dropout = 0;          ///< of embeddings, each layer's output and the head's input
  double uniform = 0.08;       ///< all parameters start from U(-uniform, uniform)
  std::int64_t padding_token = 0;
  std::int64_t start_token = 1;  ///< the first that the decoder sees
};

/// What a VanillaSeq2Seq keeps from step to step.
class VanillaSeq2SeqState {
 public:
  std::int64_t length() const { return length_; }  ///< decoder's tokens so far
  void reserve(std::int64_t /*tokens*/) {}         ///< it does not grow
  /// Row i becomes what row rows[i] was: rows [b'] int64. Throws IndexError for a row that is not there.
  void reorder(const Tensor& rows, Here here = Here::current());

 private:
  friend struct VanillaSeq2Seq;
  RecurrentState recurrent_;
  std::int64_t length_ = 0;
};

/// Stacked LSTMs: the encoder's last states start the decoder.
///
///     nn::VanillaSeq2Seq model({.source_vocabulary = 90, .vocabulary = 80, .d_embedding = 32, .d_hidden = 64});
///     Tensor logits = model(source, model.shift_right(labels));  // source [b, s], labels [b, t], logits [b, t, 80]
///     model.loss(logits, labels).backward();
///
///     Tensor answers = nn::generate(model, source, {.max_length = 20, .eos = 2, .beams = 5}).sequences;
struct VanillaSeq2Seq : Seq2Seq {
  using Options = VanillaSeq2SeqConfig;
  using State = VanillaSeq2SeqState;

  /// Throws ValueError for sizes that do not fit.
  explicit VanillaSeq2Seq(const VanillaSeq2SeqConfig& config, Here here = Here::current());

  /// Logits [b, t, vocabulary] of what follows each of the decoder's tokens [b, t], given the source [b, s >= 1] (both
  /// int64). Throws ShapeError if shapes do not fit, IndexError for a token outside of the vocabulary.
  Tensor operator()(const Tensor& source, const Tensor& tokens, const Seq2SeqCall& call = {},
                    Here here = Here::current()) const;

  /// The state before the first of the decoder's tokens: the encoder has read the source [b, s >= 1]. Off the tape;
  /// dropout is off in evaluation mode only.
  State start(const Tensor& source, const Tensor& key_padding_mask = {}, Here here = Here::current()) const;
  /// Logits [b, vocabulary] of what follows the next tokens [b, n >= 1] of the decoder, the first of which is the start
  /// token. The state then includes them. Off the tape. Throws ShapeError for other rows than the state's, IndexError
  /// for a token outside of the vocabulary; the state is then as it was.
  Tensor step(const Tensor& tokens, State& state, Here here = Here::current()) const;

  const VanillaSeq2SeqConfig config;
  Embedding& source_embedding;
  Embedding& embedding;
  LSTM& encoder;
  LSTM& decoder;
  Linear& head;
  Dropout& dropout;

 private:
  RecurrentResult encode(const Tensor& source, const Tensor& key_padding_mask, Here here) const;
};

// ---- a look at all states from each step

/// How an AdditiveSeq2Seq begins: always with orthogonal recurrent matrices and zero biases.
enum class Seq2SeqStart : std::uint8_t {
  /// Other matrices as large as their inputs allow (Glorot and Bengio 2010), v_a from N(0, 1 / d_attention), embeddings
  /// from N(0, 0.1^2). Learns several times as fast (docs/translation.md).
  scaled,
  /// The paper's: W_a and U_a from N(0, 0.001^2), v_a zero, other matrices from N(0, 0.01^2).
  published,
};

struct AdditiveSeq2SeqConfig {
  std::int64_t source_vocabulary = 30000;
  std::int64_t vocabulary = 30000;  ///< of the decoder
  std::int64_t d_embedding = 620;
  std::int64_t d_source_embedding = 0;  ///< 0: d_embedding
  std::int64_t d_hidden = 1000;         ///< of the decoder
  std::int64_t d_encoder = 0;           ///< of each direction of the encoder; 0: d_hidden
  std::int64_t d_attention = 0;         ///< in which states and annotations are compared; 0: d_hidden
  std::int64_t d_maxout = 500;          ///< of the readout; 0: the head reads state, word and context directly
  bool readout_after = false;           ///< the readout sees s_i, the state after the step, in the place of s_(i-1)
  bool both_ends = false;       ///< s_0 is made of the last states of both directions, not of the backward one's alone
  bool attention_bias = false;  ///< inside the comparison's tanh
  double dropout = 0;           ///< of embeddings and what the head reads
  Seq2SeqStart start = Seq2SeqStart::scaled;
  std::int64_t padding_token = 0;
  std::int64_t start_token = 1;  ///< the first that the decoder sees
};

/// What an AdditiveSeq2Seq keeps from step to step: the decoder's state, and the source's annotations.
class AdditiveSeq2SeqState {
 public:
  std::int64_t length() const { return length_; }  ///< decoder's tokens so far
  void reserve(std::int64_t /*tokens*/) {}         ///< it does not grow
  /// Row i becomes what row rows[i] was: rows [b'] int64, any number of them. What is of the source is copied only
  /// where it differs. Throws IndexError for a row that is not there.
  void reorder(const Tensor& rows, Here here = Here::current());
  /// What the last step looked at, [b, s]; undefined before the first.
  const Tensor& alignment() const { return alignment_; }

 private:
  friend struct AdditiveSeq2Seq;
  Tensor hidden_;                      // [b, d_hidden]
  Tensor alignment_;                   // [b, s]
  AdditiveMemory memory_;              // of the source, closed up
  Tensor places_;                      // [b, s]: where its tokens went; undefined: nowhere
  std::vector<std::int64_t> sources_;  // which of the sources given to start() a row has
  std::int64_t length_ = 0;
};

/// What AdditiveSeq2Seq's decoder gives for several steps.
struct AdditiveDecoderResult {
  Tensor logits;      ///< [b, t, vocabulary]
  Tensor alignments;  ///< [b, t, n]
  Tensor state;       ///< [b, d_hidden], after the last step
};

/// A bidirectional GRU annotates each word of the source; at each step the decoder, a GRU, compares its state with all
/// annotations and reads their mean, weighted by how well they fit.
///
///     nn::AdditiveSeq2Seq model({.source_vocabulary = 90, .vocabulary = 80, .d_embedding = 32, .d_hidden = 64});
///     Tensor logits = model(source, model.shift_right(labels));  // source [b, s], labels [b, t], logits [b, t, 80]
///     model.loss(logits, labels).backward();
///
///     Tensor said = nn::generate(model, source, {.max_length = 20, .eos = 2, .beams = 5}).sequences;
///     Tensor seen = model.aligned(source, said).alignments;      // [b, 20, s]
///
/// At step i, of the word y_(i-1), with annotations h_j (the GRU is the one of autograd/ops/recurrent.h):
///
///     a_i = softmax_j(v_a^T tanh(W_a s_(i-1) + U_a h_j)),  c_i = sum_j a_ij h_j,  s_0 = tanh(W_s h_1 backward)
///     s_i = GRU(s_(i-1), W E y_(i-1) + C c_i)
///     t_i = U_o s_(i-1) + V_o E y_(i-1) + C_o c_i, the larger of each two,  logits = W_o t_i
struct AdditiveSeq2Seq : Seq2Seq {
  using Options = AdditiveSeq2SeqConfig;
  using State = AdditiveSeq2SeqState;

  /// Throws ValueError for sizes and tokens that do not fit.
  explicit AdditiveSeq2Seq(const AdditiveSeq2SeqConfig& config, Here here = Here::current());

  /// Logits [b, t, vocabulary] of what follows each of the decoder's tokens [b, t], given the source [b, s >= 1] (both
  /// int64). Throws ShapeError if shapes do not fit, IndexError for a token outside of the vocabulary.
  Tensor operator()(const Tensor& source, const Tensor& tokens, const Seq2SeqCall& call = {},
                    Here here = Here::current()) const;
  /// The same with the alignments, on the tape like the logits.
  Seq2SeqResult aligned(const Tensor& source, const Tensor& tokens, const Seq2SeqCall& call = {},
                        Here here = Here::current()) const;

  /// As VanillaSeq2Seq's.
  State start(const Tensor& source, const Tensor& key_padding_mask = {}, Here here = Here::current()) const;
  Tensor step(const Tensor& tokens, State& state, Here here = Here::current()) const;

  // ---- the parts

  /// What the encoder hands over.
  struct Encoded {
    Tensor annotations;  ///< [b, n, 2 d_encoder], forward, then backward
    Tensor state;        ///< s_0, [b, d_hidden]
  };
  struct Encoder : Module {
    explicit Encoder(const AdditiveSeq2SeqConfig& c, Here here = Here::current());
    /// tokens [b, n]; lengths [b] int64 of those padded on the right, or undefined.
    Encoded operator()(const Tensor& tokens, const Tensor& lengths = {}, Here here = Here::current()) const;

    const AdditiveSeq2SeqConfig config;
    Embedding& embedding;
    GRU& rnn;
    Linear& state;
    Dropout& dropout;
  };

  struct Decoder : Module {
    explicit Decoder(const AdditiveSeq2SeqConfig& c, Here here = Here::current());
    /// The steps that read tokens [b, t >= 1], from a state [b, d_hidden], over what attention.memory() made of
    /// annotations.
    AdditiveDecoderResult operator()(const Tensor& tokens, const Tensor& state, const AdditiveMemory& memory,
                                     Here here = Here::current()) const;
    /// The same with the logits of the last step alone, [b, 1, vocabulary].
    AdditiveDecoderResult last(const Tensor& tokens, const Tensor& state, const AdditiveMemory& memory,
                               Here here = Here::current()) const;

    const AdditiveSeq2SeqConfig config;
    Embedding& embedding;
    AdditiveAttention& attention;
    Linear& word_gates;                            ///< W, with b_ih
    Linear& context_gates;                         ///< C
    Parameter &recurrent_weight, &recurrent_bias;  ///< [3 d_hidden, d_hidden], [3 d_hidden]: a GRU's w_hh and b_hh
    Linear* readout = nullptr;                     ///< U_o, V_o and C_o beside each other; null if d_maxout is 0
    Linear& head;
    Dropout& dropout;

   private:
    AdditiveDecoderResult run(const Tensor& tokens, const Tensor& state, const AdditiveMemory& memory,
                              bool last_only) const;
  };

  const AdditiveSeq2SeqConfig config;
  Encoder& encoder;
  Decoder& decoder;
};

}  // namespace attune::nn
