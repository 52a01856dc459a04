#include "nn/metrics/internal/words.h"

#include <utf8proc.h>

#include <algorithm>
#include <functional>

#include "autograd/runtime/error.h"
#include "nn/text/internal/unicode.h"

namespace attune::nn::detail {

namespace {

using Text = std::u32string;  // code points
using Is = std::function<bool(char32_t)>;

Text code_points(const std::string& text, Here here) {
  const std::size_t bad = invalid_utf8_at(text);
  if (bad != std::string::npos) throw ValueError("Bleu: byte " + std::to_string(bad) + " of a text is not UTF-8", here);
  Text all;
  for (std::size_t i = 0; i < text.size();) {
    const CodePoint c = code_point_at(text, i);
    all += static_cast<char32_t>(c.value);
    i += c.bytes;
  }
  return all;
}

General general(char32_t c) { return general_category(static_cast<std::int32_t>(c)); }
bool is_space(char32_t c) { return is_python_space(static_cast<std::int32_t>(c)); }

// ---- lower case

/// Letters of two cases, numerals and signs of two cases, and the two ordinals.
bool is_cased(char32_t c) {
  const auto point = static_cast<std::int32_t>(c);
  const auto g = utf8proc_category(point);
  return g == UTF8PROC_CATEGORY_LU || g == UTF8PROC_CATEGORY_LL || g == UTF8PROC_CATEGORY_LT ||
         utf8proc_tolower(point) != point || utf8proc_toupper(point) != point || c == U'\u00AA' || c == U'\u00BA';
}

/// What may stand between the letters of a word without ending it: marks, modifiers, apostrophes, points.
bool is_case_ignorable(char32_t c) {
  const auto g = utf8proc_category(static_cast<std::int32_t>(c));
  constexpr std::u32string_view within_words =
      U"'.:\u00B7\u0387\u055F\u05F4\u2018\u2019\u2024\u2027\uFE13\uFE52\uFE55\uFF07\uFF0E\uFF1A";
  return g == UTF8PROC_CATEGORY_MN || g == UTF8PROC_CATEGORY_ME || g == UTF8PROC_CATEGORY_CF ||
         g == UTF8PROC_CATEGORY_LM || g == UTF8PROC_CATEGORY_SK || within_words.find(c) != std::u32string_view::npos;
}

/// Whether the capital sigma at i ends a word: there is a letter before it and none after.
bool is_final_sigma(const Text& text, std::size_t i) {
  std::size_t before = i, after = i + 1;
  while (before > 0 && is_case_ignorable(text[before - 1])) --before;
  if (before == 0 || !is_cased(text[before - 1])) return false;
  while (after < text.size() && is_case_ignorable(text[after])) ++after;
  return after == text.size() || !is_cased(text[after]);
}

Text lower(const Text& text) {
  constexpr char32_t capital_sigma = U'\u03A3', final_sigma = U'\u03C2', dotted_capital_i = U'\u0130';
  Text out;
  for (std::size_t i = 0; i < text.size(); ++i)
    if (text[i] == capital_sigma && is_final_sigma(text, i))
      out += final_sigma;
    else if (text[i] == dotted_capital_i)
      out += U"i\u0307";
    else
      out += static_cast<char32_t>(utf8proc_tolower(static_cast<std::int32_t>(text[i])));
  return out;
}

// ---- words. Each rule goes over the text once, from left to right, over places that do not overlap, as a regular
// expression is replaced.

Text replaced(const Text& text, std::u32string_view what, std::u32string_view by) {
  Text out;
  for (std::size_t i = 0; i < text.size();)
    if (text.compare(i, what.size(), what) == 0) {
      out += by;
      i += what.size();
    } else {
      out += text[i++];
    }
  return out;
}

/// Each such character with a space on both sides.
Text apart(const Text& text, const Is& is) {
  Text out;
  for (const char32_t c : text)
    if (is(c))
      (out += U' ') += c, out += U' ';
    else
      out += c;
  return out;
}

/// Each pair of such neighbours: "ab" as "a b ", or as " a b" if `before`.
Text pairs_apart(const Text& text, const Is& first, const Is& second, bool before) {
  Text out;
  for (std::size_t i = 0; i < text.size();)
    if (i + 1 < text.size() && first(text[i]) && second(text[i + 1])) {
      if (before) out += U' ';
      (out += text[i]) += U' ';
      out += text[i + 1];
      if (!before) out += U' ';
      i += 2;
    } else {
      out += text[i++];
    }
  return out;
}

bool is_digit(char32_t c) { return c >= U'0' && c <= U'9'; }

/// The signs of ASCII apart; of points and commas those that are not between digits, and a hyphen after a digit.
Text signs_apart(Text text) {
  const Is not_digit = [](char32_t c) { return !is_digit(c); };
  const Is point = [](char32_t c) { return c == U'.' || c == U','; };
  text = apart(text, [](char32_t c) {  // of ASCII's signs all but ' - . ,
    const auto within = [c](char32_t a, char32_t b) { return c >= a && c <= b; };
    return within(U'{', U'~') || within(U'[', U'`') || within(U' ', U'&') || within(U'(', U'+') || within(U':', U'@') ||
           c == U'/';
  });
  text = pairs_apart(text, not_digit, point, false);
  text = pairs_apart(text, point, not_digit, true);
  return pairs_apart(
      text, is_digit, [](char32_t c) { return c == U'-'; }, false);
}

Text mteval_13a(Text text) {
  text = replaced(text, U"<skipped>", U"");
  text = replaced(text, U"-\n", U"");
  text = replaced(text, U"\n", U" ");
  if (text.find(U'&') != Text::npos)
    for (const auto& [name, character] :
         {std::pair{U"&quot;", U"\""}, {U"&amp;", U"&"}, {U"&lt;", U"<"}, {U"&gt;", U">"}})
      text = replaced(text, name, character);
  return signs_apart(U" " + text + U" ");
}

/// What sacrebleu takes as Chinese. Its table means U+20000 .. U+2A6D6 by a range of strings, which is U+2001 .. U+2A6D
/// of lone characters, among them most of general punctuation, arrows and signs; its scores have it so.
bool is_chinese(char32_t c) {
  constexpr std::pair<char32_t, char32_t> ranges[] = {
      {0x2001, 0x2A6D}, {0x2E80, 0x2FDF}, {0x2FF0, 0x303F}, {0x3100, 0x312F}, {0x31A0, 0x31BF},
      {0x31C0, 0x31EF}, {0x3200, 0x33FF}, {0x3400, 0x4DB5}, {0x4E00, 0x9FBB}, {0xF900, 0xFA2D},
      {0xFA30, 0xFA6A}, {0xFA70, 0xFAD9}, {0xFE10, 0xFE1F}, {0xFE30, 0xFE4F}, {0xFF00, 0xFFEF}};
  return std::any_of(std::begin(ranges), std::end(ranges),
                     [c](const auto& r) { return c >= r.first && c <= r.second; });
}

Text chinese(Text text) {
  text.erase(text.begin(), std::find_if_not(text.begin(), text.end(), is_space));
  return signs_apart(apart(text, is_chinese));
}

Text international(Text text) {
  const Is not_number = [](char32_t c) { return general(c) != General::number; };
  const Is punctuation = [](char32_t c) { return general(c) == General::punctuation; };
  text = pairs_apart(text, not_number, punctuation, false);
  text = pairs_apart(text, punctuation, not_number, true);
  return apart(text, [](char32_t c) { return general(c) == General::symbol; });
}

}  // namespace

std::vector<std::string> bleu_words(const std::string& given, BleuTokens tokens, bool lowercase, Here here) {
  Text text = code_points(given, here);
  if (lowercase) text = lower(text);
  while (!text.empty() && is_space(text.back())) text.pop_back();
  if (tokens == BleuTokens::mteval_13a) text = mteval_13a(std::move(text));
  if (tokens == BleuTokens::chinese) text = chinese(std::move(text));
  if (tokens == BleuTokens::international) text = international(std::move(text));
  std::vector<std::string> words;
  bool within = false;
  for (const char32_t c : text) {
    const bool space = is_space(c);
    if (!space && (!within || tokens == BleuTokens::characters)) words.emplace_back();
    if (!space) append_utf8(words.back(), static_cast<std::int32_t>(c));
    within = !space;
  }
  return words;
}

}  // namespace attune::nn::detail
