// GPT-2's words: 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+ by hand. Internal to
// nn/text/.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "nn/text/internal/unicode.h"

namespace attune::nn::detail {

enum class WordClass : std::uint8_t { space, letter, number, other };

inline WordClass word_class_of(std::int32_t c) {
  if (is_white_space(c)) return WordClass::space;
  const General g = general_category(c);
  return g == General::letter ? WordClass::letter : g == General::number ? WordClass::number : WordClass::other;
}

inline const std::array<WordClass, 128>& ascii_word_classes() {
  static const auto classes = [] {
    std::array<WordClass, 128> all{};
    for (std::int32_t c = 0; c < 128; ++c) all[static_cast<std::size_t>(c)] = word_class_of(c);
    return all;
  }();
  return classes;
}

/// Takes valid UTF-8 apart.
class BpeWords {
 public:
  explicit BpeWords(std::string_view text) : text_(text), ascii_(ascii_word_classes()) {}

  /// The next word; empty at the end.
  std::string_view next() {
    const std::size_t begin = at_;
    if (begin == text_.size()) return {};
    at_ = end_of_word(begin);
    return text_.substr(begin, at_ - begin);
  }

 private:
  struct Char {
    WordClass kind;
    std::size_t bytes;
  };
  Char char_at(std::size_t i) const {
    const auto byte = static_cast<unsigned char>(text_[i]);
    if (byte < 0x80) return {ascii_[byte], 1};
    const CodePoint c = code_point_at(text_, i);
    return {word_class_of(c.value), c.bytes};
  }
  std::size_t end_of_run(std::size_t i, WordClass kind) const {
    while (i < text_.size()) {
      const Char c = char_at(i);
      if (c.kind != kind) break;
      i += c.bytes;
    }
    return i;
  }
  /// Bytes of the contraction at an apostrophe; 0: none.
  std::size_t contraction_at(std::size_t i) const {
    const auto letter = [&](std::size_t j) { return i + j < text_.size() ? text_[i + j] : '\0'; };
    const char a = letter(1), b = letter(2);
    if (a == 's' || a == 't' || a == 'm' || a == 'd') return 2;
    return (a == 'r' && b == 'e') || (a == 'v' && b == 'e') || (a == 'l' && b == 'l') ? 3 : 0;
  }
  std::size_t end_of_word(std::size_t i) const {
    if (text_[i] == '\'')
      if (const std::size_t n = contraction_at(i)) return i + n;
    const Char first = char_at(i);
    if (first.kind != WordClass::space) return end_of_run(i + first.bytes, first.kind);
    // A space before a word goes with it.
    if (text_[i] == ' ' && i + 1 < text_.size()) {
      const Char second = char_at(i + 1);
      if (second.kind != WordClass::space) return end_of_run(i + 1 + second.bytes, second.kind);
    }
    // White space but the last of it, which the next word may begin with; all of it at the end, and alone.
    std::size_t last = i, end = i;
    while (end < text_.size()) {
      const Char c = char_at(end);
      if (c.kind != WordClass::space) break;
      last = end;
      end += c.bytes;
    }
    return end == text_.size() || last == i ? end : last;
  }

  std::string_view text_;
  const std::array<WordClass, 128>& ascii_;
  std::size_t at_ = 0;
};

}  // namespace attune::nn::detail
