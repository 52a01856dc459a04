// The rules of decoding on one row of scores. Internal to nn/decode/.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "autograd/runtime/philox.h"

namespace attune::nn::detail {

using Row = std::span<const std::int64_t>;  // tokens so far, each known to have a score

template <class T>
void penalise_repetition(std::span<T> scores, Row sequence, double penalty);
template <class T>
void forbid_repeated_ngrams(std::span<T> scores, Row sequence, std::int64_t n);
template <class T>
void scale_by_temperature(std::span<T> scores, double temperature);
template <class T>
void keep_top_k(std::span<T> scores, std::int64_t k, std::int64_t at_least);
template <class T>
void keep_top_p(std::span<T> scores, double p, std::int64_t at_least);
template <class T>
void keep_typical(std::span<T> scores, double mass, std::int64_t at_least);
/// The token at which the cumulated softmax passes `uniform` in [0, 1); -1 if there is no softmax.
template <class T>
std::int64_t draw_token(std::span<const T> scores, double uniform);
template <class T>
std::int64_t best_token(std::span<const T> scores);

/// In [0, 1), of 53 random bits: number `row` of the drawing `key`.
double uniform(RandomKey key, std::uint64_t row);

}  // namespace attune::nn::detail
