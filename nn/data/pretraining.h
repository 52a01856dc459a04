// Batches of BERT's training (Devlin et al. 2018, 3.1): pairs of sentences with masked words.
#pragma once

#include "nn/data/masking.h"
#include "nn/text/tokenizer.h"

namespace attune::nn {

/// A text as documents for next_sentence_pairs(): its lines that are not empty as sentences, `lines` of them a
/// document. Throws ValueError for a number of lines below 1.
std::vector<std::vector<Sequence>> documents_of_lines(std::string_view text, const Tokenizer& tokenizer,
                                                      std::int64_t lines = 50, Here here = Here::current());

/// A batch of pairs.
struct PretrainingBatch {
  Tensor tokens;            ///< [b, n] int64: [CLS] first [SEP] second [SEP], words masked, padding on the right
  Tensor token_types;       ///< [b, n]: 0 up to the first [SEP], then 1
  Tensor key_padding_mask;  ///< [b, n] bool: true hides
  Tensor words;             ///< [b, n]: the masked words, -100 elsewhere
  Tensor next_sentence;     ///< [b]: 0 where the second follows the first, 1 where it does not
};

/// Batches of pairs of a tokenizer. Words are masked anew in each epoch: 15 % of what is no special token, at 80/10/10,
/// or as `masking` says, whose mask token, vocabulary and special tokens are the tokenizer's. Throws ValueError for a
/// tokenizer without [CLS], [SEP], [MASK] and [PAD], otherwise as make_batches() does; next() as mask_tokens().
///
///     const auto documents = nn::documents_of_lines(text, tokenizer);
///     auto batches = nn::pretraining_batches(nn::next_sentence_pairs(documents, 125), tokenizer, {.batch = 32});
///     const nn::PretrainingBatch b = batches.next();
///     const nn::BertResult y = model(b.tokens, {b.token_types, b.key_padding_mask});
///     model.loss(y, {.words = b.words, .next_sentence = b.next_sentence}).backward();
Batches<PretrainingBatch> pretraining_batches(std::vector<SentencePair> pairs, const Tokenizer& tokenizer,
                                              const BatchOptions& options, MaskingOptions masking = {},
                                              Here here = Here::current());

}  // namespace attune::nn
