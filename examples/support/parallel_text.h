// Texts in two languages, line by line, and their tokens.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "nn/data/padded.h"
#include "nn/text/tokenizer.h"

namespace examples {

/// Line i of the one side says what line i of the other says.
struct ParallelText {
  std::string name = "";  ///< of a file without its ending
  std::vector<std::string> source, target;
};

/// The files `folder`/`name`.`source` and .`target`. Throws FileError, which names file and line: for a file that
/// cannot be read or is empty, different numbers of lines, an empty line, text that is not UTF-8.
ParallelText read_parallel(const std::string& folder, const std::string& name, const std::string& source,
                           const std::string& target);
/// What a model of translation is trained, chosen and tested on.
struct Texts {
  ParallelText training, validation;
  std::vector<ParallelText> tests;
};
/// train, val and all test* of a folder, by the endings of their files. Throws FileError likewise, and without a test.
Texts read_texts(const std::string& folder, const std::string& source, const std::string& target);

/// A token is what stands between spaces, in text that has been taken apart. Words that it does not know are "<unk>".
class SpacedWords : public attune::nn::Tokenizer {
 public:
  /// "<pad>", "<s>", "</s>", "<unk>" and the most frequent words of the lines, `size` in all at the most; of words that
  /// come as often the lower one first.
  SpacedWords(const std::vector<std::string>& lines, std::int64_t size);
  /// Of a file with a token a line, which save() writes. Throws FileError.
  explicit SpacedWords(const std::string& path);
  void save(const std::string& path) const;
  std::int64_t size() const override { return static_cast<std::int64_t>(words_.size()); }
  std::int64_t id_of(std::string_view token) const override;

 protected:
  std::string text_of(const std::vector<std::int64_t>& ids) const override;
  std::string spelling_of(std::int64_t id) const override;
  void encode_part(std::string_view text, std::vector<std::int64_t>& ids) const override;

 private:
  void index();
  std::vector<std::string> words_;
  std::unordered_map<std::string, std::int64_t> ids_;
};

/// Both sides' tokenizers.
struct Languages {
  std::shared_ptr<const attune::nn::Tokenizer> source, target;
  std::int64_t start = 0, end = 0, source_end = 0;  ///< "<s>" and "</s>" of the target, "</s>" of the source

  /// Of a text: by words or by byte-pair encoding, each side with so many tokens at the most.
  Languages(const ParallelText& text, bool bpe, std::int64_t size);
  /// Of a folder, which save() filled. Throws FileError.
  explicit Languages(const std::string& folder);
  void save(const std::string& folder) const;

  /// A source's tokens, </s> behind them.
  attune::nn::Sequence source_of(const std::string& line) const;
  /// Tokens of a text's lines, </s> behind each. Throws ValueError, which names the line, for more than `most`.
  std::pair<std::vector<attune::nn::Sequence>, std::vector<attune::nn::Sequence>> pairs(const ParallelText& text,
                                                                                        std::int64_t most) const;
  /// A target's text, up to </s>.
  std::string text_of(attune::nn::Sequence target) const;

 private:
  void find_special();
};

}  // namespace examples
