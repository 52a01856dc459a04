#include "examples/support/text.h"

#include <zlib.h>

#include <array>
#include <cctype>
#include <filesystem>
#include <iterator>
#include <sstream>
#include <string_view>
#include <utility>

#include "autograd/runtime/error.h"

namespace examples {

namespace {

std::string read_file(const std::string& path) {
  gzFile file = gzopen(path.c_str(), "rb");  // reads plain files as they are
  if (file == nullptr) throw attune::FileError(path + ": cannot be opened");
  std::string text;
  std::array<char, 1 << 16> part;
  int n = 0;
  while ((n = gzread(file, part.data(), part.size())) > 0) text.append(part.data(), static_cast<std::size_t>(n));
  const bool whole = gzclose(file) == Z_OK && n == 0;
  if (!whole) throw attune::FileError(path + ": cannot be read");
  if (text.empty()) throw attune::FileError(path + ": is empty");
  return text;
}

/// Typographic signs as a keyboard has them; other letters stay.
std::string plain(std::string_view text) {
  constexpr std::pair<std::string_view, std::string_view> signs[] = {
      {"\u2018", "'"}, {"\u2019", "'"},   {"\u201c", "\""}, {"\u201d", "\""}, {"\u2013", "-"},
      {"\u2014", "-"}, {"\u2026", "..."}, {"\u00b4", "'"},  {"\u00b7", "."},  {"\u00a0", " "}};
  std::string out;
  while (!text.empty()) {
    bool replaced = false;
    for (const auto& [sign, by] : signs)
      if (text.starts_with(sign)) {
        out += by;
        text.remove_prefix(sign.size());
        replaced = true;
        break;
      }
    if (replaced) continue;
    out += text.front();
    text.remove_prefix(1);
  }
  return out;
}

/// The entries of the dictionary's file without its preface and its indentation. Signs that are in few entries, such as
/// Greek letters, go: a character model would have an output for each.
std::string entries(const std::string& file) {
  const std::string text = plain(file);
  std::string out;
  std::size_t at = text.find("\n(TM)");
  at = at == std::string::npos ? 0 : at + 1;
  while (at < text.size()) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    std::size_t first = at;
    while (first < end && text[first] == ' ') ++first;
    for (std::size_t i = first; i < end; ++i)
      if (text[i] >= ' ' && text[i] < 127) out += text[i];
    out += '\n';
    at = end + 1;
  }
  return out;
}

}  // namespace

std::string read_text(const std::string& path) {
  if (!path.empty()) return read_file(path);
  // Where ./dev puts it, and where the package has it.
  for (const std::string place : {ATTUNE_TEXTS "/jargon.dict.dz", "/usr/share/dictd/jargon.dict.dz"})
    if (std::filesystem::exists(place)) return entries(read_file(place));
  throw attune::FileError(
      "there is no text: give --data FILE, run this through ./dev run, or install Debian's package dict-jargon");
}

std::vector<std::string> words_of(const std::string& text) {
  std::istringstream in(text);
  return {std::istream_iterator<std::string>(in), {}};
}

std::vector<std::vector<std::string>> sentences_of(const std::string& text, std::size_t longest) {
  std::vector<std::vector<std::string>> all(1);
  std::string word;
  for (const char c : text + ".") {
    const auto byte = static_cast<unsigned char>(c);
    if (std::isalpha(byte) != 0) {
      word += static_cast<char>(std::tolower(byte));
      continue;
    }
    if (!word.empty()) all.back().push_back(std::exchange(word, ""));
    const bool ends = c == '.' || c == '!' || c == '?' || all.back().size() >= longest;
    if (ends && !all.back().empty()) all.emplace_back();
  }
  all.pop_back();
  return all;
}

}  // namespace examples
