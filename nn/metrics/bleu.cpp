#include "nn/metrics/bleu.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string_view>
#include <unordered_map>

#include "autograd/runtime/error.h"
#include "nn/metrics/internal/words.h"

namespace attune::nn {

namespace {

/// Of each n-gram (its words with a space between, which no word has) how often it is there; an order each.
using NGrams = std::vector<std::unordered_map<std::string, std::int64_t>>;

NGrams n_grams(const std::vector<std::string>& words, std::size_t orders) {
  NGrams all(orders);
  for (std::size_t i = 0; i < words.size(); ++i) {
    std::string text;
    for (std::size_t n = 0; n < orders && i + n < words.size(); ++n) {
      text += (n ? " " : "") + words[i + n];
      ++all[n][text];
    }
  }
  return all;
}

}  // namespace

Bleu::Bleu(const BleuOptions& options, Here here) : options_(options) {
  constexpr std::int64_t most_orders = 100;
  if (options.max_order < 1 || options.max_order > most_orders)
    throw ValueError("Bleu: max_order = " + std::to_string(options.max_order) + " is not in [1, 100]", here);
  if (!(options.smooth_value == -1 || options.smooth_value >= 0))
    throw ValueError("Bleu: smooth_value = " + std::to_string(options.smooth_value) + " must not be negative", here);
  if (options.smooth_value == -1) options_.smooth_value = options.smoothing == BleuSmoothing::floor ? 0.1 : 1;
  matches_.resize(static_cast<std::size_t>(options.max_order));
  totals_.resize(matches_.size());
}

void Bleu::add(const std::string& hypothesis, const std::vector<std::string>& references, Here here) {
  if (references.empty()) throw ValueError("Bleu: a sentence without a reference", here);
  const auto words_of = [&](const std::string& text) {
    return detail::bleu_words(text, options_.tokens, options_.lowercase, here);
  };
  const std::vector<std::string> words = words_of(hypothesis);
  const auto length = static_cast<std::int64_t>(words.size());
  NGrams most(matches_.size());  // how often any reference has it
  std::int64_t nearest = -1;
  for (const std::string& reference : references) {
    const std::vector<std::string> own = words_of(reference);
    const NGrams found = n_grams(own, most.size());
    for (std::size_t n = 0; n < most.size(); ++n)
      for (const auto& [text, count] : found[n]) most[n][text] = std::max(most[n][text], count);
    const auto size = static_cast<std::int64_t>(own.size());
    const auto far = [&](std::int64_t x) { return std::abs(x - length); };
    if (nearest < 0 || far(size) < far(nearest) || (far(size) == far(nearest) && size < nearest)) nearest = size;
  }
  const NGrams said = n_grams(words, most.size());
  for (std::size_t n = 0; n < said.size(); ++n)
    for (const auto& [text, count] : said[n]) {
      totals_[n] += count;
      if (const auto at = most[n].find(text); at != most[n].end()) matches_[n] += std::min(count, at->second);
    }
  length_ += length;
  reference_length_ += nearest;
}

BleuResult Bleu::value() const {
  BleuResult r;
  r.counts.assign(matches_.begin(), matches_.end());
  r.totals.assign(totals_.begin(), totals_.end());
  r.precisions.assign(matches_.size(), 0);
  r.length = length_;
  r.reference_length = reference_length_;
  if (length_ < reference_length_)
    r.brevity_penalty =
        length_ == 0 ? 0 : std::exp(1 - static_cast<double>(reference_length_) / static_cast<double>(length_));
  if (std::all_of(matches_.begin(), matches_.end(), [](std::int64_t n) { return n == 0; })) return r;

  std::size_t orders = r.counts.size();
  double halved = 1;
  for (std::size_t n = 0; n < r.counts.size(); ++n) {
    if (options_.smoothing == BleuSmoothing::add_k && n > 0) {
      r.counts[n] += options_.smooth_value;
      r.totals[n] += options_.smooth_value;
    }
    if (r.totals[n] == 0) break;
    if (options_.effective_order) orders = n + 1;
    if (r.counts[n] > 0) {
      r.precisions[n] = 100 * r.counts[n] / r.totals[n];
    } else if (options_.smoothing == BleuSmoothing::exponential) {
      halved *= 2;
      r.precisions[n] = 100 / (halved * r.totals[n]);
    } else if (options_.smoothing == BleuSmoothing::floor) {
      r.precisions[n] = 100 * options_.smooth_value / r.totals[n];
    }
  }
  double logs = 0;
  for (std::size_t n = 0; n < orders; ++n) logs += std::log(r.precisions[n]);  // -inf makes it 0
  r.score = r.brevity_penalty * std::exp(logs / static_cast<double>(orders));
  return r;
}

BleuResult bleu(const std::vector<std::string>& hypotheses, const std::vector<std::vector<std::string>>& references,
                const BleuOptions& options, Here here) {
  if (hypotheses.size() != references.size())
    throw ValueError("bleu: " + std::to_string(hypotheses.size()) + " hypotheses and the references of " +
                         std::to_string(references.size()),
                     here);
  Bleu all(options, here);
  for (std::size_t i = 0; i < hypotheses.size(); ++i) all.add(hypotheses[i], references[i], here);
  return all.value();
}

}  // namespace attune::nn
