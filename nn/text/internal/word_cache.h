// The tokens of words met before. Internal to nn/text/.
#pragma once

#include <cstdint>
#include <cstring>
#include <string_view>
#include <vector>

namespace attune::nn::detail {

/// A hash table of words and their tokens, side by side in memory, which empties itself when it is full.
class WordCache {
 public:
  struct Tokens {
    const std::int64_t* first;
    std::size_t count;
  };

  static std::uint64_t hash(std::string_view word) {
    constexpr std::uint64_t factor = 0x9E3779B97F4A7C15U;
    const char* p = word.data();
    std::size_t n = word.size();
    std::uint64_t h = n * factor;
    const auto mix = [&](std::uint64_t w) {
      h = (h ^ w) * factor;
      h ^= h >> 29;
    };
    for (; n >= 8; p += 8, n -= 8) mix(load<std::uint64_t>(p));
    if (n >= 4)
      mix(load<std::uint32_t>(p) | static_cast<std::uint64_t>(load<std::uint32_t>(p + n - 4)) << 32);
    else if (n > 0)
      mix(byte(p[0]) | byte(p[n / 2]) << 8 | byte(p[n - 1]) << 16);
    return h | 1;  // 0 marks a free place
  }

  /// Null if the word is not there.
  const Tokens* find(std::string_view word, std::uint64_t h) {
    if (table_.empty()) return nullptr;
    for (std::size_t at = h >> shift_;; at = (at + 1) & (table_.size() - 1)) {
      const Entry& e = table_[at];
      if (e.hash == 0) return nullptr;
      if (e.hash == h && e.size == word.size() && std::memcmp(text_.data() + e.text, word.data(), word.size()) == 0) {
        found_ = {ids_.data() + e.ids, e.count};
        return &found_;
      }
    }
  }

  void insert(std::string_view word, std::uint64_t h, const std::int64_t* ids, std::size_t count) {
    if (table_.empty() || 2 * (used_ + 1) > table_.size()) grow();
    std::size_t at = h >> shift_;
    while (table_[at].hash != 0) at = (at + 1) & (table_.size() - 1);
    table_[at] = {h, static_cast<std::uint32_t>(text_.size()), static_cast<std::uint32_t>(word.size()),
                  static_cast<std::uint32_t>(ids_.size()), static_cast<std::uint32_t>(count)};
    text_.insert(text_.end(), word.begin(), word.end());
    ids_.insert(ids_.end(), ids, ids + count);
    ++used_;
  }

 private:
  struct Entry {
    std::uint64_t hash = 0;
    std::uint32_t text = 0, size = 0, ids = 0, count = 0;
  };
  static constexpr int least_bits = 10, most_bits = 17;

  template <class T>
  static T load(const char* p) {
    T v;
    std::memcpy(&v, p, sizeof v);
    return v;
  }
  static std::uint64_t byte(char c) { return static_cast<unsigned char>(c); }

  void grow() {
    if (bits_ == most_bits) {
      text_.clear();
      ids_.clear();
      used_ = 0;
      table_.assign(table_.size(), {});
      return;
    }
    bits_ = bits_ == 0 ? least_bits : bits_ + 1;
    shift_ = 64 - bits_;
    std::vector<Entry> old(std::size_t{1} << bits_);
    old.swap(table_);
    for (const Entry& e : old) {
      if (e.hash == 0) continue;
      std::size_t at = e.hash >> shift_;
      while (table_[at].hash != 0) at = (at + 1) & (table_.size() - 1);
      table_[at] = e;
    }
  }

  std::vector<Entry> table_;
  std::vector<char> text_;
  std::vector<std::int64_t> ids_;
  std::size_t used_ = 0;
  int bits_ = 0, shift_ = 0;
  Tokens found_{};
};

}  // namespace attune::nn::detail
