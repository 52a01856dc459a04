#include "nn/decode/processors.h"

#include <cmath>
#include <vector>

#include "autograd/ops/create.h"
#include "autograd/ops/movement.h"
#include "autograd/tape/op.h"
#include "nn/decode/internal/rows.h"

namespace attune::nn {

namespace {

/// Which rows a rule has, and of how many tokens.
void check_scores(const Op& op, const Tensor& scores) {
  op.check_floating(scores);
  if (scores.rank() != 2) op.fail_shape("scores " + scores.shape().str() + " must be [b, V]");
}

/// Tokens [b, n], each of which has a score.
std::vector<std::int64_t> checked_tokens(const Op& op, const Tensor& scores, const Tensor& sequences) {
  check_scores(op, scores);
  op.check_defined(sequences);
  if (sequences.rank() != 2 || sequences.size(0) != scores.size(0))
    op.fail_shape("sequences " + sequences.shape().str() + " do not fit scores " + scores.shape().str());
  return op.checked_index(sequences, scores.size(1), "tokens").to_vector<std::int64_t>();
}

/// f(row of the result, i), which starts as the scores.
template <class F>
Tensor by_rows(const Tensor& scores, F f) {
  const NoGrad off;
  Tensor result = clone(scores.detach());
  const std::int64_t rows = scores.size(0);
  const auto size = static_cast<std::size_t>(scores.size(1));
  const auto visit = [&](auto* first) {
    for (std::int64_t i = 0; i < rows; ++i)
      f(std::span(first + static_cast<std::size_t>(i) * size, size), static_cast<std::size_t>(i));
  };
  if (scores.dtype() == DType::float32)
    visit(result.mutable_data<float>());
  else
    visit(result.mutable_data<double>());
  return result;
}

template <class F>
Tensor by_sequences(const Op& op, const Tensor& scores, const Tensor& sequences, F f) {
  const std::vector<std::int64_t> tokens = checked_tokens(op, scores, sequences);
  const auto n = static_cast<std::size_t>(sequences.size(1));
  return by_rows(scores, [&](auto row, std::size_t i) { f(row, detail::Row(tokens.data() + i * n, n)); });
}

void check_at_least(const Op& op, std::int64_t n) {
  if (n < 1) op.fail_value("at_least = " + std::to_string(n) + " must be at least 1");
}

}  // namespace

Tensor penalise_repetition(const Tensor& scores, const Tensor& sequences, double penalty, Here here) {
  const Op op{"penalise_repetition", here};
  if (!(penalty > 0 && std::isfinite(penalty)))
    op.fail_value("penalty = " + std::to_string(penalty) + " must be finite and above 0");
  return by_sequences(op, scores, sequences,
                      [&](auto row, detail::Row tokens) { detail::penalise_repetition(row, tokens, penalty); });
}

Tensor forbid_repeated_ngrams(const Tensor& scores, const Tensor& sequences, std::int64_t n, Here here) {
  const Op op{"forbid_repeated_ngrams", here};
  if (n < 1) op.fail_value("n = " + std::to_string(n) + " must be at least 1");
  return by_sequences(op, scores, sequences,
                      [&](auto row, detail::Row tokens) { detail::forbid_repeated_ngrams(row, tokens, n); });
}

Tensor forbid_early_end(const Tensor& scores, const Tensor& sequences, std::int64_t eos, std::int64_t min_length,
                        Here here) {
  const Op op{"forbid_early_end", here};
  if (min_length < 0) op.fail_value("min_length = " + std::to_string(min_length) + " must be at least 0");
  checked_tokens(op, scores, sequences);
  if (eos < 0 || eos >= scores.size(1))
    op.fail_index("eos = " + std::to_string(eos) + " is not in [0, " + std::to_string(scores.size(1)) + ")");
  return by_rows(scores, [&](auto row, std::size_t) {
    using T = typename decltype(row)::value_type;
    if (sequences.size(1) < min_length) row[static_cast<std::size_t>(eos)] = -std::numeric_limits<T>::infinity();
  });
}

Tensor scale_by_temperature(const Tensor& scores, double temperature, Here here) {
  const Op op{"scale_by_temperature", here};
  check_scores(op, scores);
  if (!(temperature > 0 && std::isfinite(temperature)))
    op.fail_value("temperature = " + std::to_string(temperature) + " must be finite and above 0");
  return by_rows(scores, [&](auto row, std::size_t) { detail::scale_by_temperature(row, temperature); });
}

Tensor keep_top_k(const Tensor& scores, std::int64_t k, std::int64_t at_least, Here here) {
  const Op op{"keep_top_k", here};
  check_scores(op, scores);
  check_at_least(op, at_least);
  if (k < 1) op.fail_value("k = " + std::to_string(k) + " must be at least 1");
  return by_rows(scores, [&](auto row, std::size_t) { detail::keep_top_k(row, k, at_least); });
}

Tensor keep_top_p(const Tensor& scores, double p, std::int64_t at_least, Here here) {
  const Op op{"keep_top_p", here};
  check_scores(op, scores);
  check_at_least(op, at_least);
  if (!(p >= 0 && p <= 1)) op.fail_value("p = " + std::to_string(p) + " is not in [0, 1]");
  return by_rows(scores, [&](auto row, std::size_t) { detail::keep_top_p(row, p, at_least); });
}

Tensor keep_typical(const Tensor& scores, double mass, std::int64_t at_least, Here here) {
  const Op op{"keep_typical", here};
  check_scores(op, scores);
  check_at_least(op, at_least);
  if (!(mass > 0 && mass < 1)) op.fail_value("mass = " + std::to_string(mass) + " is not in (0, 1)");
  return by_rows(scores, [&](auto row, std::size_t) { detail::keep_typical(row, mass, at_least); });
}

Tensor draw_tokens(const Tensor& scores, Generator& generator, Here here) {
  const Op op{"draw_tokens", here};
  check_scores(op, scores);
  const RandomKey key = generator.next();
  std::vector<std::int64_t> tokens;
  by_rows(scores, [&]<class T>(std::span<T> row, std::size_t i) {
    tokens.push_back(detail::draw_token(std::span<const T>(row), detail::uniform(key, i)));
    if (tokens.back() < 0) op.fail_value("row " + std::to_string(i) + " has no finite best score");
  });
  return tensor(tokens);
}

}  // namespace attune::nn
