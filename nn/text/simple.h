// Tokenizers without an algorithm: bytes, characters, words.
#pragma once

#include <memory>

#include "nn/text/tokenizer.h"

namespace attune::nn {

namespace detail {
class Vocabulary;
}

/// A token a byte, 256 of them, then the special ones: for any file, text or not. decode() gives the bytes, and
/// special tokens spelled out.
class ByteTokenizer : public Tokenizer {
 public:
  /// Special tokens are UTF-8, not empty and each there once, here and in the other tokenizers (ValueError).
  explicit ByteTokenizer(const std::vector<std::string>& special = {}, Here here = Here::current());
  std::int64_t size() const override { return 256 + static_cast<std::int64_t>(special_tokens().size()); }
  std::int64_t id_of(std::string_view token) const override;

 protected:
  void encode_part(std::string_view text, std::vector<std::int64_t>& ids) const override;
  std::string text_of(const std::vector<std::int64_t>& ids) const override;
  std::string spelling_of(std::int64_t id) const override;
  bool takes_any_bytes() const override { return true; }
};

/// What characters and words share: a list of tokens, special ones first, that is kept in a file.
class ListTokenizer : public Tokenizer {
 public:
  std::int64_t size() const override;
  std::int64_t id_of(std::string_view token) const override;
  /// As a JSON file, which load() of the same class reads.
  void save(const std::string& path, Here here = Here::current()) const;

 protected:
  /// `kind` is a literal.
  ListTokenizer(const char* kind, std::shared_ptr<const detail::Vocabulary> tokens, std::int64_t special);
  /// The tokens in a file of this kind, and how many of them are special.
  static std::pair<std::shared_ptr<const detail::Vocabulary>, std::int64_t> read(const char* kind,
                                                                                 const std::string& path, Here here);
  std::string spelling_of(std::int64_t id) const override;
  void push(std::string_view token, std::size_t at, std::vector<std::int64_t>& ids) const;

  const char* kind_;
  std::shared_ptr<const detail::Vocabulary> tokens_;
};

/// A token a character (code point). Characters that it does not know are "<unk>" if that is among the special tokens,
/// and otherwise a ValueError, which says where.
///
///     const nn::CharTokenizer tokenizer(text);        // the characters of a text, in their order
class CharTokenizer : public ListTokenizer {
 public:
  /// Throws ValueError for a text that is empty or not UTF-8.
  explicit CharTokenizer(std::string_view text, const std::vector<std::string>& special = {},
                         Here here = Here::current());
  static CharTokenizer load(const std::string& path, Here here = Here::current());

 protected:
  using ListTokenizer::ListTokenizer;
  void encode_part(std::string_view text, std::vector<std::int64_t>& ids) const override;
  std::string text_of(const std::vector<std::int64_t>& ids) const override;
};

/// A token a word, sign of punctuation or Chinese character, as BERT tells them apart; upper and lower case differ. The
/// others are "<unk>". Decoding puts spaces between.
class WordTokenizer : public ListTokenizer {
 public:
  /// The `size` most frequent words of a text, special tokens among them, to which "<unk>" is added. Of words that come
  /// as often the one that is lower in code points goes first.
  explicit WordTokenizer(std::string_view text, std::int64_t size, const std::vector<std::string>& special = {"<unk>"},
                         Here here = Here::current());
  static WordTokenizer load(const std::string& path, Here here = Here::current());

 protected:
  using ListTokenizer::ListTokenizer;
  void encode_part(std::string_view text, std::vector<std::int64_t>& ids) const override;
  std::string text_of(const std::vector<std::int64_t>& ids) const override;
};

}  // namespace attune::nn
