#include "nn/text/internal/merges.h"

#include <algorithm>
#include <queue>
#include <tuple>
#include <unordered_map>

namespace attune::nn::detail {

namespace {

std::uint64_t key_of(std::int32_t left, std::int32_t right) {
  return static_cast<std::uint64_t>(static_cast<std::uint32_t>(left)) << 32 | static_cast<std::uint32_t>(right);
}

/// How often a pair comes, and in which words (perhaps more than still have it).
struct Pair {
  std::int64_t count = 0;
  std::vector<std::size_t> words;
};

struct Candidate {
  std::int64_t count;
  std::uint64_t key;
  /// The more frequent one comes first, then the smaller one.
  bool operator<(const Candidate& o) const { return std::tie(count, o.key) < std::tie(o.count, key); }
};

}  // namespace

std::vector<Merge> learn_merges(std::vector<std::vector<std::int32_t>> words, const std::vector<std::int64_t>& counts,
                                std::int64_t least, const std::function<bool()>& full,
                                const std::function<std::int32_t(Merge)>& symbol) {
  std::unordered_map<std::uint64_t, Pair> pairs;
  const auto add = [&](std::size_t word, std::int32_t left, std::int32_t right) {
    Pair& p = pairs[key_of(left, right)];
    p.count += counts[word];
    if (p.words.empty() || p.words.back() != word) p.words.push_back(word);
  };
  for (std::size_t w = 0; w < words.size(); ++w)
    for (std::size_t i = 0; i + 1 < words[w].size(); ++i) add(w, words[w][i], words[w][i + 1]);
  std::priority_queue<Candidate> queue;  // counts may be old: then they are too large, or stand twice
  for (const auto& [key, pair] : pairs) queue.push({pair.count, key});
  std::vector<Merge> merges;
  std::vector<std::uint64_t> changed;
  while (!queue.empty() && !full()) {
    const Candidate best = queue.top();
    queue.pop();
    const auto at = pairs.find(best.key);
    if (at == pairs.end()) continue;
    if (at->second.count != best.count) {  // it will come again with what it has
      if (at->second.count >= least && at->second.count < best.count) queue.push({at->second.count, best.key});
      continue;
    }
    if (best.count < least) break;
    const Merge merge{static_cast<std::int32_t>(best.key >> 32), static_cast<std::int32_t>(best.key & 0xFFFFFFFF)};
    const std::int32_t made = symbol(merge);
    merges.push_back(merge);
    const Pair pair = std::move(at->second);
    pairs.erase(at);
    changed.clear();
    for (const std::size_t w : pair.words) {
      std::vector<std::int32_t>& s = words[w];
      const auto drop = [&](std::int32_t left, std::int32_t right) {
        if (const auto p = pairs.find(key_of(left, right)); p != pairs.end()) p->second.count -= counts[w];
      };
      const auto take = [&](std::int32_t left, std::int32_t right) {
        add(w, left, right);
        changed.push_back(key_of(left, right));
      };
      for (std::size_t i = 0; i + 1 < s.size(); ++i) {
        if (s[i] != merge.left || s[i + 1] != merge.right) continue;
        if (i > 0) drop(s[i - 1], s[i]);
        if (i + 2 < s.size()) drop(s[i + 1], s[i + 2]);
        s[i] = made;
        s.erase(s.begin() + static_cast<std::ptrdiff_t>(i) + 1);
        if (i > 0) take(s[i - 1], s[i]);
        if (i + 1 < s.size()) take(s[i], s[i + 1]);
      }
    }
    std::sort(changed.begin(), changed.end());
    changed.erase(std::unique(changed.begin(), changed.end()), changed.end());
    for (const std::uint64_t key : changed)
      if (const auto p = pairs.find(key); p != pairs.end() && p->second.count > 0) queue.push({p->second.count, key});
  }
  return merges;
}

}  // namespace attune::nn::detail
