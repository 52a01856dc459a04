// ELMo (Peters et al. 2018): words from their characters, read in both directions by a language model, whose layers
// are features for other tasks. Parts carry AllenNLP's names.
//
// Letters: b sentences, t words, W characters a word, P the size of a direction (`projection`), C cells, L layers.
#pragma once

#include <string>
#include <vector>

#include "autograd/ops/loss.h"
#include "autograd/ops/recurrent.h"
#include "nn/layers/character_encoder.h"
#include "nn/layers/dropout.h"
#include "nn/layers/linear.h"

namespace attune::nn {

/// Words as ELMo's characters, [b, t, W] int64: a word is its UTF-8 bytes plus 1 between the marks of its beginning
/// (259) and its end (260), cut to W - 2 bytes, and filled with 261; behind a sentence's last word all is 0. Throws
/// ValueError for W below 3 and no sentences.
Tensor elmo_characters(const std::vector<std::vector<std::string>>& sentences, std::int64_t word_length = 50,
                       Here here = Here::current());

struct ElmoConfig {
  std::int64_t characters = 262;
  std::int64_t char_dim = 16;
  std::vector<CharacterFilter> filters{{1, 32}, {2, 32}, {3, 64}, {4, 128}, {5, 256}, {6, 512}, {7, 1024}};
  Activation activation = Activation::relu;  ///< of the convolutions
  std::int64_t highway = 2;                  ///< highway layers
  std::int64_t projection = 512;             ///< P
  std::int64_t cells = 4096;                 ///< C
  std::int64_t layers = 2;                   ///< L
  double cell_clip = 3;                      ///< bounds |c|; 0: not
  double projection_clip = 3;                ///< bounds the projected |h|; 0: not
  double dropout = 0.1;         ///< of words on their way into the LSTM and out of it to the softmax, while training
  std::int64_t vocabulary = 0;  ///< words that the language model predicts; 0: no softmax, features alone
  std::int64_t begin_token = 0, end_token = 1;  ///< of a sentence, in the vocabulary
};

/// The words of sentences, with the marks of their beginnings and ends, as vectors.
struct ElmoWords {
  Tensor vectors;           ///< [b, t + 2, P]; at padding that of a word without characters
  Tensor key_padding_mask;  ///< [b, t + 2] bool: true hides
};

/// Characters [b, t, W] int64 to words. A word is there if it has a character above 0; words come first in their row.
/// A row without words is a sentence that ends at once. Throws ShapeError, and IndexError for other characters.
class ElmoCharacterEncoder : public Module {
 public:
  explicit ElmoCharacterEncoder(const ElmoConfig& config, Here here = Here::current());
  ElmoWords operator()(const Tensor& characters, Here here = Here::current()) const;

 private:
  CharacterEncoder& words_;
};

/// One direction of one layer: an LSTM of `cells` cells, whose output is projected to `out` values and bounded, as is
/// its memory. Rows of the gates are in the order input, forget, memory, output; their one bias is the state's.
class ElmoLstmLayer : public Module {
 public:
  /// Reads from the first step to the last, or, if it is `reverse`, from the last to the first.
  ElmoLstmLayer(std::int64_t in, std::int64_t out, std::int64_t cells, bool reverse, double cell_clip,
                double projection_clip, Here here = Here::current());
  /// x [b, t, in] to an output [b, t, out] and the last states h [b, out], c [b, cells]. lengths [b], in [0, t], are
  /// the steps of padded sequences, and `initial` the states before, both as nn/recurrent/recurrent.h has them. Throws
  /// as lstm() does.
  RecurrentResult operator()(const Tensor& x, const LstmState& initial = {}, const Tensor& lengths = {},
                             Here here = Here::current()) const;

 private:
  Linear &input_, &state_, &projection_;
  std::int64_t in_;
  RecurrentCall call_;
};

/// What an ElmoLstm keeps from one batch to the next where batches continue each other row by row.
struct ElmoState {
  Tensor h;  ///< [L, b, 2 P]; undefined: nothing yet
  Tensor c;  ///< [L, b, 2 C]
  /// The states of the first b rows, zeros for rows that there have not been.
  LstmState rows(std::int64_t b) const;
  /// The first rows are now those of a result; further ones, which a smaller batch left out, stay. Off the tape.
  void keep(const RecurrentResult& result);
};

/// Layers of LSTMs in both directions, each of which reads the output of the one below of its own direction; from the
/// second layer on, a layer's input is added to its output.
class ElmoLstm : public Module {
 public:
  /// Throws ValueError for sizes below 1 and negative clips. From the second layer on the input is of size `out`.
  ElmoLstm(std::int64_t in, std::int64_t out, std::int64_t cells, std::int64_t layers, double cell_clip = 0,
           double projection_clip = 0, Here here = Here::current());
  /// x [b, t, in] to all layers' outputs [L, b, t, 2 out], forward, then backward, and the last states h [L, b, 2 out]
  /// (as the next layer reads them, but without what was added) and c [L, b, 2 cells]. Padding puts out zeros, and
  /// leaves a state as it was: a sequence of length 0 keeps the initial one. Throws ShapeError, DTypeError and, for
  /// lengths, ValueError.
  RecurrentResult operator()(const Tensor& x, const LstmState& initial = {}, const Tensor& lengths = {},
                             Here here = Here::current()) const;

 private:
  std::int64_t out_, cells_;
  std::vector<ElmoLstmLayer*> forward_, backward_;
};

struct ElmoResult {
  Tensor layers;            ///< [L + 1, b, t, 2 P]: the words themselves, twice, then the LSTM's layers; padding is 0
  Tensor key_padding_mask;  ///< [b, t] bool: true hides
};

/// The bidirectional language model.
///
///     nn::Elmo elmo({.projection = 64, .cells = 256, .vocabulary = 5000});
///     const Tensor characters = nn::elmo_characters({{"The", "cat", "sat"}, {"So", "what"}});  // [2, 3, 50]
///     elmo.loss(characters, words).backward();                                // words [2, 3] int64
///
///     nn::ScalarMix mix(3);                                                   // learned by a task
///     Tensor features = mix(elmo(characters).layers);                         // [2, 3, 128]
struct Elmo : Module {
  using Options = ElmoConfig;
  /// Throws ValueError for sizes that do not fit.
  explicit Elmo(const ElmoConfig& config, Here here = Here::current());

  /// The layers of words with characters [b, t, W] int64. With a state, the LSTM goes on from it and leaves its own
  /// there. Throws ShapeError, IndexError.
  ElmoResult operator()(const Tensor& characters, ElmoState* state = nullptr, Here here = Here::current()) const;
  /// Cross-entropy of each word given those before it, and given those behind it: of words [b, t] int64 in the
  /// vocabulary, of which -100 is ignored, and of the ends of sentences. One softmax is for both directions. The mean
  /// is over all that counts in both; Reduction::none gives [2, b, t + 1], forward, then backward, with the end of a
  /// sentence behind its words, and the beginning before them. Throws ShapeError, IndexError, and ValueError without a
  /// vocabulary.
  Tensor loss(const Tensor& characters, const Tensor& words, Reduction reduction = Reduction::mean,
              ElmoState* state = nullptr, Here here = Here::current()) const;
  /// How many targets the loss counts.
  std::int64_t target_count(const Tensor& characters, const Tensor& words, Here here = Here::current()) const;

  const ElmoConfig config;
  ElmoCharacterEncoder& token_embedder;
  ElmoLstm& lstm;
  Dropout& dropout;
  Linear* softmax = nullptr;  ///< null: there is no vocabulary

 private:
  /// Words with their boundaries, and the LSTM over them.
  RecurrentResult read(const ElmoWords& words, ElmoState* state) const;
};

}  // namespace attune::nn
