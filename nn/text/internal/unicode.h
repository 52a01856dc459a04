// Unicode as the tokenizers need it: code points, their classes (by utf8proc), and what Python's strings call white
// space. Internal to nn/text/.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace attune::nn::detail {

/// A code point of valid UTF-8, and how many bytes it has.
struct CodePoint {
  std::int32_t value;
  std::size_t bytes;
};
inline CodePoint code_point_at(std::string_view text, std::size_t i) {
  const auto byte = [&](std::size_t j) { return static_cast<std::int32_t>(static_cast<unsigned char>(text[i + j])); };
  const std::int32_t first = byte(0);
  if (first < 0x80) return {first, 1};
  if (first < 0xE0) return {(first & 0x1F) << 6 | (byte(1) & 0x3F), 2};
  if (first < 0xF0) return {(first & 0x0F) << 12 | (byte(1) & 0x3F) << 6 | (byte(2) & 0x3F), 3};
  return {(first & 0x07) << 18 | (byte(1) & 0x3F) << 12 | (byte(2) & 0x3F) << 6 | (byte(3) & 0x3F), 4};
}
void append_utf8(std::string& to, std::int32_t code_point);

/// Where the first byte is that is not UTF-8; npos if all is.
std::size_t invalid_utf8_at(std::string_view text);
/// With a U+FFFD for each maximal bad part.
std::string repaired_utf8(std::string_view text);
/// The text, or `storage` with the repaired one.
std::string_view valid_utf8(std::string_view text, std::string& storage);

enum class General : std::uint8_t { letter, mark, number, punctuation, symbol, separator, other };
General general_category(std::int32_t c);
bool is_nonspacing_mark(std::int32_t c);
bool is_space_separator(std::int32_t c);
/// The property White_Space, which is \s in regular expressions.
bool is_white_space(std::int32_t c);
/// str.isspace() of Python: the same and the four separators of ASCII.
bool is_python_space(std::int32_t c);
/// str.lower() of Python for a lone character.
void append_lower(std::string& to, std::int32_t c);
/// The canonical decomposition (NFD) without non-spacing marks.
std::string without_accents(std::string_view text);

std::string_view trimmed_left(std::string_view text);   ///< of is_python_space
std::string_view trimmed_right(std::string_view text);  ///< of is_python_space

}  // namespace attune::nn::detail
