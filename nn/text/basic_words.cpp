#include "nn/text/internal/basic_words.h"

#include "nn/text/internal/unicode.h"

namespace attune::nn::detail {

namespace {

bool is_chinese(std::int32_t c) {
  return (c >= 0x4E00 && c <= 0x9FFF) || (c >= 0x3400 && c <= 0x4DBF) || (c >= 0x20000 && c <= 0x2A6DF) ||
         (c >= 0x2A700 && c <= 0x2B73F) || (c >= 0x2B740 && c <= 0x2B81F) || (c >= 0x2B820 && c <= 0x2CEAF) ||
         (c >= 0xF900 && c <= 0xFAFF) || (c >= 0x2F800 && c <= 0x2FA1F);
}

/// Signs that are no letters, digits or spaces, ASCII's all among them.
bool is_sign(std::int32_t c) {
  if (c < 0x80) return (c >= 33 && c <= 47) || (c >= 58 && c <= 64) || (c >= 91 && c <= 96) || (c >= 123 && c <= 126);
  return general_category(c) == General::punctuation;
}

/// What is dropped; white space that is a control character counts as white space.
bool is_no_text(std::int32_t c) {
  if (c == '\t' || c == '\n' || c == '\r') return false;
  return c == 0 || c == 0xFFFD || general_category(c) == General::other;
}

/// A word without spaces, taken apart at its signs.
void split_at_signs(std::string_view word, const std::function<void(std::string_view)>& visit) {
  std::size_t begin = 0;
  for (std::size_t i = 0; i < word.size();) {
    const CodePoint c = code_point_at(word, i);
    if (is_sign(c.value)) {
      if (i > begin) visit(word.substr(begin, i - begin));
      visit(word.substr(i, c.bytes));
      begin = i + c.bytes;
    }
    i += c.bytes;
  }
  if (begin < word.size()) visit(word.substr(begin));
}

}  // namespace

void for_basic_words(std::string_view text, bool uncased, const std::function<void(std::string_view)>& visit) {
  std::string word;
  bool plain = true;  // ASCII alone, which has no accents
  const auto finish = [&] {
    if (word.empty()) return;
    split_at_signs(uncased && !plain ? without_accents(word) : word, visit);
    word.clear();
    plain = true;
  };
  for (std::size_t i = 0; i < text.size();) {
    const CodePoint c = code_point_at(text, i);
    if (c.value < 0x80 && c.value > ' ' && c.value < 0x7F) {
      const char letter = text[i];
      word += uncased && letter >= 'A' && letter <= 'Z' ? static_cast<char>(letter + ('a' - 'A')) : letter;
    } else if (is_no_text(c.value)) {
      // nothing
    } else if (is_python_space(c.value)) {
      finish();
    } else if (is_chinese(c.value)) {
      finish();
      word.append(text.substr(i, c.bytes));
      plain = false;
      finish();
    } else {
      plain = false;
      if (uncased)
        append_lower(word, c.value);
      else
        word.append(text.substr(i, c.bytes));
    }
    i += c.bytes;
  }
  finish();
}

}  // namespace attune::nn::detail
