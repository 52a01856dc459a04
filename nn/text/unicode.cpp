#include <utf8proc.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "nn/text/internal/unicode.h"

namespace attune::nn::detail {

namespace {

/// Bytes of the valid sequence at i, or 0; then `bad` is how many bytes the maximal bad part has.
std::size_t sequence_at(std::string_view text, std::size_t i, std::size_t& bad) {
  const auto byte = [&](std::size_t j) {
    return i + j < text.size() ? static_cast<unsigned>(static_cast<unsigned char>(text[i + j])) : 0U;
  };
  const unsigned first = byte(0);
  bad = 1;
  if (first < 0x80) return 1;
  if (first < 0xC2 || first > 0xF4) return 0;
  // The second byte's range is narrower for some first ones: no overlong forms, surrogates, or beyond U+10FFFF.
  const unsigned low = first == 0xE0 ? 0xA0 : first == 0xF0 ? 0x90 : 0x80;
  const unsigned high = first == 0xED ? 0x9F : first == 0xF4 ? 0x8F : 0xBF;
  if (byte(1) < low || byte(1) > high) return 0;
  const std::size_t length = first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
  for (std::size_t j = 2; j < length; ++j)
    if ((byte(j) & 0xC0) != 0x80) {
      bad = j;
      return 0;
    }
  return length;
}

/// Where ASCII ends from i on.
std::size_t ascii_end(std::string_view text, std::size_t i) {
  for (; i + 8 <= text.size(); i += 8) {
    std::uint64_t word = 0;
    std::memcpy(&word, text.data() + i, 8);
    if (word & 0x8080808080808080U) break;
  }
  while (i < text.size() && static_cast<unsigned char>(text[i]) < 0x80) ++i;
  return i;
}

utf8proc_category_t category(std::int32_t c) { return utf8proc_category(c); }

}  // namespace

void append_utf8(std::string& to, std::int32_t c) {
  utf8proc_uint8_t bytes[4];
  const auto n = utf8proc_encode_char(c, bytes);
  to.append(reinterpret_cast<const char*>(bytes), static_cast<std::size_t>(n));
}

std::size_t invalid_utf8_at(std::string_view text) {
  std::size_t bad = 0;
  for (std::size_t i = ascii_end(text, 0); i < text.size();) {
    const std::size_t n = sequence_at(text, i, bad);
    if (n == 0) return i;
    i += n;
    if (n == 1) i = ascii_end(text, i);
  }
  return std::string_view::npos;
}

std::string repaired_utf8(std::string_view text) {
  std::string out;
  std::size_t bad = 0;
  for (std::size_t i = 0; i < text.size();) {
    if (const std::size_t n = sequence_at(text, i, bad)) {
      out.append(text.substr(i, n));
      i += n;
    } else {
      out += "\xEF\xBF\xBD";
      i += bad;
    }
  }
  return out;
}

std::string_view valid_utf8(std::string_view text, std::string& storage) {
  if (invalid_utf8_at(text) == std::string_view::npos) return text;
  storage = repaired_utf8(text);
  return storage;
}

General general_category(std::int32_t c) {
  const utf8proc_category_t g = category(c);
  if (g >= UTF8PROC_CATEGORY_LU && g <= UTF8PROC_CATEGORY_LO) return General::letter;
  if (g >= UTF8PROC_CATEGORY_MN && g <= UTF8PROC_CATEGORY_ME) return General::mark;
  if (g >= UTF8PROC_CATEGORY_ND && g <= UTF8PROC_CATEGORY_NO) return General::number;
  if (g >= UTF8PROC_CATEGORY_PC && g <= UTF8PROC_CATEGORY_PO) return General::punctuation;
  if (g >= UTF8PROC_CATEGORY_SM && g <= UTF8PROC_CATEGORY_SO) return General::symbol;
  if (g >= UTF8PROC_CATEGORY_ZS && g <= UTF8PROC_CATEGORY_ZP) return General::separator;
  return General::other;
}

bool is_nonspacing_mark(std::int32_t c) { return category(c) == UTF8PROC_CATEGORY_MN; }
bool is_space_separator(std::int32_t c) { return category(c) == UTF8PROC_CATEGORY_ZS; }

bool is_white_space(std::int32_t c) {
  if (c < 0x80) return c == ' ' || (c >= '\t' && c <= '\r');
  return c == 0x85 || general_category(c) == General::separator;
}

bool is_python_space(std::int32_t c) { return is_white_space(c) || (c >= 0x1C && c <= 0x1F); }

void append_lower(std::string& to, std::int32_t c) {
  constexpr std::int32_t dotted_capital_i = 0x130, combining_dot = 0x307;
  append_utf8(to, c == dotted_capital_i ? 'i' : utf8proc_tolower(c));
  if (c == dotted_capital_i) append_utf8(to, combining_dot);
}

std::string without_accents(std::string_view text) {
  struct Mark {
    std::int32_t value;
    utf8proc_propval_t combining;
  };
  std::vector<Mark> all;
  for (std::size_t i = 0; i < text.size();) {
    const CodePoint c = code_point_at(text, i);
    utf8proc_int32_t parts[32];  // canonically a character has at most four
    int boundary = 0;
    const auto n = utf8proc_decompose_char(c.value, parts, 32, UTF8PROC_DECOMPOSE, &boundary);
    for (utf8proc_ssize_t k = 0; k < n; ++k)
      all.push_back({parts[k], utf8proc_get_property(parts[k])->combining_class});
    i += c.bytes;
  }
  // Canonical order, which utf8proc_map would take quadratic time for.
  const auto is_base = [](const Mark& m) { return m.combining == 0; };
  for (auto begin = all.begin(); begin != all.end();) {
    begin = std::find_if_not(begin, all.end(), is_base);
    const auto end = std::find_if(begin, all.end(), is_base);
    std::stable_sort(begin, end, [](const Mark& a, const Mark& b) { return a.combining < b.combining; });
    begin = end;
  }
  std::string out;
  for (const Mark& m : all)
    if (!is_nonspacing_mark(m.value)) append_utf8(out, m.value);
  return out;
}

std::string_view trimmed_left(std::string_view text) {
  while (!text.empty()) {
    const CodePoint c = code_point_at(text, 0);
    if (!is_python_space(c.value)) break;
    text.remove_prefix(c.bytes);
  }
  return text;
}

std::string_view trimmed_right(std::string_view text) {
  while (!text.empty()) {
    std::size_t last = text.size() - 1;
    while (last > 0 && (static_cast<unsigned char>(text[last]) & 0xC0) == 0x80) --last;
    if (!is_python_space(code_point_at(text, last).value)) break;
    text.remove_suffix(text.size() - last);
  }
  return text;
}

}  // namespace attune::nn::detail
