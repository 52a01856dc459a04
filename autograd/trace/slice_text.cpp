#include "autograd/trace/internal/slice_text.h"

#include <cctype>
#include <charconv>

#include "autograd/runtime/error.h"

namespace attune {

namespace {

std::string without_spaces(const std::string& text) {
  std::string s;
  for (char c : text)
    if (!std::isspace(static_cast<unsigned char>(c))) s += c;
  return s;
}

std::vector<std::string> split(const std::string& text, char at) {
  std::vector<std::string> parts(1);
  for (char c : text)
    if (c == at)
      parts.emplace_back();
    else
      parts.back() += c;
  return parts;
}

std::int64_t whole(const std::string& s, const std::string& text) {
  std::int64_t v = 0;
  const auto [end, error] = std::from_chars(s.data(), s.data() + s.size(), v);
  if (error != std::errc() || end != s.data() + s.size())
    throw ValueError("\"" + s + "\" in " + text + " is no index; slices look like [0, 1:3, -1], [..., 2] or [::2]");
  return v;
}

}  // namespace

Indices indices_of(const std::string& text) {
  std::string inner = without_spaces(text);
  if (inner.size() >= 2 && inner.front() == '[' && inner.back() == ']') inner = inner.substr(1, inner.size() - 2);
  if (inner.find_first_of("[]") != std::string::npos)
    throw ValueError("the brackets of " + text + " do not match; slices look like [0, 1:3, -1]");
  Indices at;
  if (inner.empty()) return at;
  for (const std::string& part : split(inner, ',')) {
    const std::vector<std::string> ends = split(part, ':');
    if (part == "...") {
      at.emplace_back(ellipsis);
    } else if (ends.size() == 1) {
      at.emplace_back(whole(part, text));
    } else {
      if (ends.size() > 3) throw ValueError("\"" + part + "\" has too many colons; a slice is start:stop:step");
      Slice s;
      if (!ends[0].empty()) s.start = whole(ends[0], text);
      if (!ends[1].empty()) s.stop = whole(ends[1], text);
      if (ends.size() > 2 && !ends[2].empty()) s.step = whole(ends[2], text);
      at.emplace_back(s);
    }
  }
  return at;
}

}  // namespace attune
