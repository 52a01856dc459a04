// SentencePiece (Kudo and Richardson 2018), T5's tokenizer, through its own library, which Attune is built with if it
// is there (libsentencepiece-dev).
#pragma once

#include <memory>

#include "nn/text/tokenizer.h"

namespace attune::nn {

struct SentencePieceOptions {
  /// T5's sentinels: <extra_id_0> is the last of so many tokens behind the model's own, <extra_id_1> the last but one.
  std::int64_t extra_ids = 100;
};

struct SentencePieceTraining {
  std::int64_t size = 1000;  ///< of the model, without extra ids
  std::int64_t extra_ids = 100;
};

/// T5's tokenizer. encode() adds no </s>: encode_batch does. Special tokens take the white space beside them along.
///
///     const auto t5 = nn::SentencePieceTokenizer::load("spiece.model");
///
/// Everything throws ValueError, which says so, in a library that was built without SentencePiece; available() asks.
class SentencePieceTokenizer : public Tokenizer {
 public:
  static bool available();
  /// Throws FileError for a file that is no model.
  static SentencePieceTokenizer load(const std::string& path, const SentencePieceOptions& options = {},
                                     Here here = Here::current());
  /// A unigram model of the lines of a text, however long they are, with pad 0, eos 1 and unk 2 as T5 has them,
  /// written to `path`. Throws ValueError for a text that is empty or not UTF-8, and for a size that does not suit it;
  /// FileError if the file cannot be written.
  static SentencePieceTokenizer train(std::string_view text, const std::string& path,
                                      const SentencePieceTraining& options = {}, Here here = Here::current());

  std::int64_t size() const override;
  std::int64_t id_of(std::string_view token) const override;

 protected:
  void encode_part(std::string_view text, std::vector<std::int64_t>& ids) const override;
  std::string text_of(const std::vector<std::int64_t>& ids) const override;
  std::string spelling_of(std::int64_t id) const override;

 private:
  struct Model;
  explicit SentencePieceTokenizer(std::shared_ptr<const Model> model);
  std::shared_ptr<const Model> model_;
};

}  // namespace attune::nn
