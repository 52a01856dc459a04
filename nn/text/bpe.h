// Byte-level byte-pair encoding (Radford et al. 2019), GPT-2's tokenizer: any text, any bytes of which are merged into
// tokens within its words.
#pragma once

#include <memory>

#include "nn/text/tokenizer.h"

namespace attune::nn {

struct BpeTraining {
  std::int64_t size = 1024;  ///< of the vocabulary, at the most: 256 bytes, the merged tokens and the special ones
  std::int64_t least = 2;    ///< a merge is learned from a pair that comes at least so often
  std::vector<std::string> special{"<|endoftext|>"};
};

/// GPT-2's tokenizer, with its published vocabulary or one trained on a text.
///
///     const auto gpt2 = nn::BpeTokenizer::load("vocab.json", "merges.txt");
///     gpt2.encode("Hello world");                                          // 15496, 995
///     const auto own = nn::BpeTokenizer::train(text, {.size = 2000});
///     own.save("vocab.json", "merges.txt");
class BpeTokenizer : public Tokenizer {
 public:
  /// vocab.json: a JSON object from tokens to ids, all bytes among them; merges.txt: two tokens a line, the first line
  /// first. What no byte and no line makes is special; <|endoftext|>, if it is there, is `bos`, `eos` and `unk`.
  /// Throws FileError, which names the line, for files that are damaged or do not belong together: so, too, if the line
  /// is missing that makes a token of two others, unless that stands in < > or [ ].
  static BpeTokenizer load(const std::string& vocab_json, const std::string& merges_txt, Here here = Here::current());
  /// What spells a special token in the text is left out. Throws ValueError for a text that is not UTF-8, for sizes
  /// below 256 and the special tokens, and for special tokens that are spelled as a byte or a merged token is, or as
  /// two tokens side by side without < > or [ ] around them, which load() could not tell from a lost line.
  static BpeTokenizer train(std::string_view text, const BpeTraining& options = {}, Here here = Here::current());
  void save(const std::string& vocab_json, const std::string& merges_txt, Here here = Here::current()) const;

  std::int64_t size() const override;
  std::int64_t id_of(std::string_view token) const override;

 protected:
  void encode_part(std::string_view text, std::vector<std::int64_t>& ids) const override;
  std::string text_of(const std::vector<std::int64_t>& ids) const override;
  std::string spelling_of(std::int64_t id) const override;

 private:
  struct Model;
  explicit BpeTokenizer(std::shared_ptr<const Model> model);
  std::shared_ptr<const Model> model_;
};

}  // namespace attune::nn
