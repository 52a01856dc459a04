// Learning merges: byte-pair encoding (Sennrich, Haddow and Birch 2016). Internal to nn/text/.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

namespace attune::nn::detail {

struct Merge {
  std::int32_t left, right;
};

/// Merges the most frequent pair of neighbours, the one of the smallest numbers among equals, again and again: until
/// `full()`, or until no pair comes `least` times. `words` are symbols, counts[i] how often words[i] comes; `symbol`
/// gives the number of a merged pair, which may be one that another pair has already.
std::vector<Merge> learn_merges(std::vector<std::vector<std::int32_t>> words, const std::vector<std::int64_t>& counts,
                                std::int64_t least, const std::function<bool()>& full,
                                const std::function<std::int32_t(Merge)>& symbol);

}  // namespace attune::nn::detail
