#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <unordered_set>

#include "nn/decode/internal/rows.h"

namespace attune::nn::detail {

namespace {

template <class T>
constexpr T forbidden = -std::numeric_limits<T>::infinity();

std::size_t place(std::int64_t token) { return static_cast<std::size_t>(token); }

template <class T>
double largest(std::span<const T> scores) {
  T most = forbidden<T>;
  for (const T s : scores) most = s > most ? s : most;
  return static_cast<double>(most);
}

/// The sum of e^(score - most).
template <class T>
double total_of(std::span<const T> scores, double most) {
  double total = 0;
  for (const T s : scores) total += s == forbidden<T> ? 0 : std::exp(static_cast<double>(s) - most);
  return total;
}

/// Visits tokens from the one that comes first by `before` on, while visit(token) is true. Only as many are sorted as
/// are visited, roughly: of a large vocabulary few are.
template <class Before, class Visit>
void visit_in_order(std::size_t tokens, Before before, Visit visit) {
  std::vector<std::int64_t> order(tokens);
  std::iota(order.begin(), order.end(), 0);
  auto begin = order.begin();
  for (std::ptrdiff_t part = 64; begin != order.end(); part *= 4) {
    const auto end = order.end() - begin <= part ? order.end() : begin + part;
    if (end != order.end()) std::nth_element(begin, end, order.end(), before);
    std::sort(begin, end, before);
    for (; begin != end; ++begin)
      if (!visit(*begin)) return;
  }
}

/// Forbids all tokens but those of `kept`.
template <class T>
void keep_only(std::span<T> scores, const std::vector<std::int64_t>& kept) {
  std::vector<T> values;
  values.reserve(kept.size());
  for (const std::int64_t token : kept) values.push_back(scores[place(token)]);
  std::fill(scores.begin(), scores.end(), forbidden<T>);
  for (std::size_t i = 0; i < kept.size(); ++i) scores[place(kept[i])] = values[i];
}

}  // namespace

template <class T>
void penalise_repetition(std::span<T> scores, Row sequence, double penalty) {
  std::unordered_set<std::int64_t> seen;
  for (const std::int64_t token : sequence) {
    if (!seen.insert(token).second) continue;
    T& s = scores[place(token)];
    s = s < 0 ? s * static_cast<T>(penalty) : s / static_cast<T>(penalty);
  }
}

template <class T>
void forbid_repeated_ngrams(std::span<T> scores, Row sequence, std::int64_t n) {
  const std::size_t before = place(n) - 1, length = sequence.size();
  if (length < before) return;
  const Row last = sequence.subspan(length - before);
  for (std::size_t i = 0; i + before < length; ++i)
    if (std::equal(last.begin(), last.end(), sequence.begin() + static_cast<std::ptrdiff_t>(i)))
      scores[place(sequence[i + before])] = forbidden<T>;
}

template <class T>
void scale_by_temperature(std::span<T> scores, double temperature) {
  for (T& s : scores) s /= static_cast<T>(temperature);
}

template <class T>
void keep_top_k(std::span<T> scores, std::int64_t k, std::int64_t at_least) {
  const std::size_t count = place(std::max(k, at_least));
  if (count >= scores.size()) return;
  std::vector<T> sorted(scores.begin(), scores.end());
  const auto last = sorted.begin() + static_cast<std::ptrdiff_t>(count) - 1;
  std::nth_element(sorted.begin(), last, sorted.end(), std::greater<>());
  for (T& s : scores)
    if (s < *last) s = forbidden<T>;
}

template <class T>
void keep_top_p(std::span<T> scores, double p, std::int64_t at_least) {
  const double most = largest<T>(scores), total = total_of<T>(scores, most);
  std::vector<std::int64_t> kept;
  double sum = 0;
  visit_in_order(
      scores.size(),
      [&](std::int64_t a, std::int64_t b) {
        return scores[place(a)] != scores[place(b)] ? scores[place(a)] > scores[place(b)] : a < b;
      },
      [&](std::int64_t token) {
        // Compared in the precision of the scores, which decides whether 0.1 three times is more than 0.3.
        if (static_cast<T>(sum) > static_cast<T>(p) && kept.size() >= place(at_least)) return false;
        kept.push_back(token);
        sum += static_cast<double>(static_cast<T>(std::exp(static_cast<double>(scores[place(token)]) - most) / total));
        return true;
      });
  keep_only(scores, kept);
}

template <class T>
void keep_typical(std::span<T> scores, double mass, std::int64_t at_least) {
  const double most = largest<T>(scores), total = total_of<T>(scores, most), log_total = most + std::log(total);
  double entropy = 0;
  for (const T s : scores) {
    const double log_p = static_cast<double>(s) - log_total;
    if (s != forbidden<T>) entropy -= std::exp(log_p) * log_p;
  }
  // In the precision of the scores, which says what is equally far.
  std::vector<T> distance(scores.size());
  for (std::size_t i = 0; i < scores.size(); ++i)
    distance[i] = static_cast<T>(std::abs(static_cast<double>(scores[i]) - log_total + entropy));
  std::vector<std::int64_t> kept;
  double sum = 0, farthest = std::numeric_limits<double>::infinity();
  visit_in_order(
      scores.size(),
      [&](std::int64_t a, std::int64_t b) {
        return distance[place(a)] != distance[place(b)] ? distance[place(a)] < distance[place(b)] : a < b;
      },
      [&](std::int64_t token) {
        const double far = static_cast<double>(distance[place(token)]);
        if (far > farthest && kept.size() >= place(at_least)) return false;
        kept.push_back(token);
        sum += static_cast<double>(static_cast<T>(std::exp(static_cast<double>(scores[place(token)]) - log_total)));
        if (static_cast<T>(sum) >= static_cast<T>(mass) && std::isinf(farthest)) farthest = far;
        return true;
      });
  keep_only(scores, kept);
}

template <class T>
std::int64_t draw_token(std::span<const T> scores, double uniform) {
  const double most = largest<T>(scores);
  if (!std::isfinite(most)) return -1;
  const double mark = uniform * total_of<T>(scores, most);
  if (!std::isfinite(mark)) return -1;
  double sum = 0;
  std::int64_t last = -1;
  for (std::size_t i = 0; i < scores.size(); ++i) {
    const double p = scores[i] == forbidden<T> ? 0 : std::exp(static_cast<double>(scores[i]) - most);
    if (!(p > 0)) continue;
    last = static_cast<std::int64_t>(i);
    sum += p;
    if (sum > mark) return last;
  }
  return last;  // rounding may leave the sum below the mark
}

template <class T>
std::int64_t best_token(std::span<const T> scores) {
  return std::max_element(scores.begin(), scores.end()) - scores.begin();
}

double uniform(RandomKey key, std::uint64_t row) {
  const auto words = philox(key, row);
  const std::uint64_t bits = (static_cast<std::uint64_t>(words[0]) << 32) | words[1];
  return static_cast<double>(bits >> 11) * 0x1p-53;
}

#define ATTUNE_INSTANTIATE(T)                                            \
  template void penalise_repetition(std::span<T>, Row, double);          \
  template void forbid_repeated_ngrams(std::span<T>, Row, std::int64_t); \
  template void scale_by_temperature(std::span<T>, double);              \
  template void keep_top_k(std::span<T>, std::int64_t, std::int64_t);    \
  template void keep_top_p(std::span<T>, double, std::int64_t);          \
  template void keep_typical(std::span<T>, double, std::int64_t);        \
  template std::int64_t draw_token(std::span<const T>, double);          \
  template std::int64_t best_token(std::span<const T>);
ATTUNE_INSTANTIATE(float)
ATTUNE_INSTANTIATE(double)
#undef ATTUNE_INSTANTIATE

}  // namespace attune::nn::detail
