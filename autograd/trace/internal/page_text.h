// How the data blocks of a page are written.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace attune::page {

/// JSON text that stays inside a script element whatever it says.
std::string quoted(std::string_view text);
/// JSON of a number, or of the text "nan", "inf" or "-inf".
std::string number(double x);

/// "[a,b,c]" of what `write` makes of each.
template <class Range, class Write>
std::string list(const Range& range, const Write& write) {
  std::string out = "[";
  for (const auto& each : range) {
    if (out.size() > 1) out += ',';
    out += write(each);
  }
  return out += ']';
}

inline std::string integer(std::int64_t i) { return std::to_string(i); }

template <class Numbers>
std::string integers(const Numbers& numbers) {
  return list(numbers, [](auto i) { return integer(static_cast<std::int64_t>(i)); });
}

/// Texts that occur often, by number.
class Texts {
 public:
  std::string of(const std::string& text) {
    const auto [at, fresh] = numbers_.try_emplace(text, texts_.size());
    if (fresh) texts_.push_back(text);
    return integer(static_cast<std::int64_t>(at->second));
  }
  std::string json() const { return list(texts_, quoted); }

 private:
  std::unordered_map<std::string, std::size_t> numbers_;
  std::vector<std::string> texts_;
};

}  // namespace attune::page
