// WordPiece (Schuster and Nakajima 2012), BERT's tokenizer: words, and in them the longest pieces that there are.
#pragma once

#include <memory>

#include "nn/text/tokenizer.h"

namespace attune::nn {

struct WordPieceOptions {
  bool uncased = true;  ///< lower case, without accents
};

struct WordPieceTraining {
  std::int64_t size = 4000;  ///< of the vocabulary, at the most
  std::int64_t least = 2;    ///< two pieces become one that come together at least so often
  bool uncased = true;
};

/// BERT's tokenizer, with its published vocabulary or one trained on a text. A piece inside a word begins with "##";
/// a word of more than 100 characters, or with a character that is in no piece, is "[UNK]". encode() adds no [CLS] and
/// [SEP]: encode_batch and encode_pairs do.
///
///     const auto bert = nn::WordPieceTokenizer::load("vocab.txt", {.uncased = false});
///     nn::TokenBatch batch = nn::encode_pairs(bert, {{"How are you?", "Fine."}}, {.length = 128});
class WordPieceTokenizer : public Tokenizer {
 public:
  /// vocab.txt: a token a line, with [PAD], [UNK], [CLS], [SEP] and [MASK] among them. Throws FileError, which names
  /// the line, for tokens that are there twice, and if there is no [UNK].
  static WordPieceTokenizer load(const std::string& vocab_txt, const WordPieceOptions& options = {},
                                 Here here = Here::current());
  /// Pieces by the merges of byte-pair encoding on characters, behind the five special tokens. Throws ValueError for a
  /// text that is empty or not UTF-8, and for a size that not even its characters fit in.
  static WordPieceTokenizer train(std::string_view text, const WordPieceTraining& options = {},
                                  Here here = Here::current());
  /// As vocab.txt; whether it is uncased is for load() to say.
  void save(const std::string& vocab_txt, Here here = Here::current()) const;

  std::int64_t size() const override;
  std::int64_t id_of(std::string_view token) const override;

 protected:
  void encode_part(std::string_view text, std::vector<std::int64_t>& ids) const override;
  std::string text_of(const std::vector<std::int64_t>& ids) const override;
  std::string spelling_of(std::int64_t id) const override;

 private:
  struct Model;
  explicit WordPieceTokenizer(std::shared_ptr<const Model> model);
  std::shared_ptr<const Model> model_;
};

}  // namespace attune::nn
