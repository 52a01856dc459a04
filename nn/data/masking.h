// The data of BERT's two objectives (Devlin et al. 2018, 3.1): masked words and next sentences.
#pragma once

#include <vector>

#include "nn/data/padded.h"

namespace attune::nn {

struct MaskingOptions {
  std::int64_t mask_token = 0;
  std::int64_t vocabulary = 0;          ///< random tokens are drawn from it
  std::vector<std::int64_t> special{};  ///< tokens that are never chosen, nor drawn: [CLS], [SEP], padding, ...
  double share = 0.15;                  ///< of the other tokens that are predicted
  double masked = 0.8, random = 0.1;    ///< of these: replaced by the mask, by a random token; the rest stay
};

struct MaskedTokens {
  Tensor tokens;  ///< [b, n]: what the model reads
  Tensor labels;  ///< [b, n]: the tokens that it predicts, -100 elsewhere
};

/// Chooses each token that is not special with the probability `share`, independently of the others, so that the
/// number of chosen ones varies (BERT's published script fixes it for each sequence, at round(15 %) of its tokens and
/// at least 1; most training since then draws as here). A batch for which none was chosen, though one
/// could be, has one chosen at random, so that there is a loss. Throws ValueError for shares out of range, a mask token
/// or a special one that is not in the vocabulary, or a vocabulary of special tokens alone; IndexError for a token that
/// is not in the vocabulary, DTypeError unless tokens are int64.
MaskedTokens mask_tokens(const Tensor& tokens, const MaskingOptions& options, Generator& random = default_generator(),
                         Here here = Here::current());

/// Two pieces of text, of which the second follows the first or comes from somewhere else.
struct SentencePair {
  Sequence first, second;
  bool follows = false;
};

/// Pairs of neighbouring sentences of documents, up to `most_tokens` in both together, as many sentences as fit; half
/// of the seconds are replaced by sentences of another document (of another place, if there is one document only).
/// Longer pairs are cut at the end of their longer piece. Throws ValueError if no document has two sentences, or for
/// most_tokens below 2.
std::vector<SentencePair> next_sentence_pairs(const std::vector<std::vector<Sequence>>& documents,
                                              std::int64_t most_tokens, Generator& random = default_generator(),
                                              Here here = Here::current());

}  // namespace attune::nn
