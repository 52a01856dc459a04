// The rules of decoding apart from their published cases (reference_decoding).

#include "nn/decode/processors.h"

#include <doctest/doctest.h>

#include "tests/unit/plain.h"

namespace attune::tests {
namespace {

TEST_CASE("a repeated token is penalised once, towards the unlikely") {
  const Tensor scores = tensor({{2, -2, 3, 0}, {1, 1, 1, 1}}, float64);
  const Tensor sequences = index_tensor({0, 0, 1, 0, 3, 3, 3, 3}, {2, 4});
  CHECK(same(nn::penalise_repetition(scores, sequences, 2), {2, 4}, {1, -4, 3, 0, 1, 1, 1, 0.5}));
  CHECK(same(scores, {2, 4}, {2, -2, 3, 0, 1, 1, 1, 1}));
}

TEST_CASE("an n-gram that a sequence has already is forbidden") {
  const Tensor scores = zeros({1, 5});
  const Tensor sequence = index_tensor({1, 2, 3, 1, 2, 4, 1, 2}, {1, 8});
  CHECK(same(nn::forbid_repeated_ngrams(scores, sequence, 3), {1, 5}, {0, 0, 0, -inf, -inf}));
  CHECK(same(nn::forbid_repeated_ngrams(scores, sequence, 2), {1, 5}, {0, 0, 0, -inf, -inf}));
  CHECK(same(nn::forbid_repeated_ngrams(scores, sequence, 1), {1, 5}, {0, -inf, -inf, -inf, -inf}));
  CHECK(same(nn::forbid_repeated_ngrams(scores, sequence, 8), {1, 5}, {0, 0, 0, 0, 0}));
  CHECK(same(nn::forbid_repeated_ngrams(scores, sequence, 100), {1, 5}, {0, 0, 0, 0, 0}));
}

TEST_CASE("the end cannot come early") {
  const Tensor scores = ones({2, 3}), sequences = zeros({2, 4}, int64);
  CHECK(same(nn::forbid_early_end(scores, sequences, 1, 5), {2, 3}, {1, -inf, 1, 1, -inf, 1}));
  CHECK(same(nn::forbid_early_end(scores, sequences, 1, 4), {2, 3}, {1, 1, 1, 1, 1, 1}));
}

TEST_CASE("warpers keep what is likely") {
  const Tensor scores = log(tensor({{0.1, 0.4, 0.2, 0.3}}, float64));
  const auto kept = [](const Tensor& y) { return values(gt(y, -inf)); };
  CHECK(kept(nn::keep_top_k(scores, 2)) == Values{0, 1, 0, 1});
  CHECK(kept(nn::keep_top_k(scores, 1, 3)) == Values{0, 1, 1, 1});
  CHECK(kept(nn::keep_top_k(scores, 9)) == Values{1, 1, 1, 1});
  CHECK(kept(nn::keep_top_k(tensor({{1, 3, 3, 3}}), 2)) == Values{0, 1, 1, 1});
  CHECK(kept(nn::keep_top_p(scores, 0.35)) == Values{0, 1, 0, 0});
  CHECK(kept(nn::keep_top_p(scores, 0.45)) == Values{0, 1, 0, 1});
  CHECK(kept(nn::keep_top_p(scores, 0)) == Values{0, 1, 0, 0});
  CHECK(kept(nn::keep_top_p(scores, 0, 2)) == Values{0, 1, 0, 1});
  CHECK(kept(nn::keep_top_p(scores, 1)) == Values{1, 1, 1, 1});
  // The entropy is 1.28; -log p is 2.30, 0.92, 1.61, 1.20: nearest is 0.3, then 0.2, 0.4, 0.1.
  CHECK(kept(nn::keep_typical(scores, 0.25)) == Values{0, 0, 0, 1});
  CHECK(kept(nn::keep_typical(scores, 0.45)) == Values{0, 0, 1, 1});
  CHECK(kept(nn::keep_typical(scores, 0.85)) == Values{0, 1, 1, 1});
  CHECK(kept(nn::keep_typical(scores, 0.25, 3)) == Values{0, 1, 1, 1});
  CHECK(same(nn::scale_by_temperature(tensor({{1, -2}}, float64), 0.5), {1, 2}, {2, -4}));
}

TEST_CASE("equal shares are cumulated in the precision of the scores") {
  const auto kept = [](const Tensor& y) { return static_cast<int>(sum(to(gt(y, -inf), int64)).item()); };
  const Tensor ten = zeros({1, 10}), five = zeros({1, 5}), exact = zeros({1, 10}, float64);
  // Three times 0.1 is 0.3 in float32, and more than 0.3 in float64: what is not more lets one more token in.
  CHECK(kept(nn::keep_top_p(ten, 0.3)) == 4);
  CHECK(kept(nn::keep_top_p(exact, 0.3)) == 3);
  CHECK(kept(nn::keep_top_p(ten, 0.7)) == 8);
  CHECK(kept(nn::keep_top_p(five, 0.6)) == 4);
}

TEST_CASE("of a large vocabulary the likely are found without sorting it all") {
  const Tensor scores = 2 * randn({3, 5000}, float64);
  const Tensor p = softmax(scores), sorted = sort(p, -1, true).values;
  for (const double mass : {0.01, 0.5, 0.9, 0.999, 0.9999999}) {
    const Tensor counts = sum(to(le(cumsum(sorted, 1), mass), int64), {1}) + 1;
    const Tensor kept = gt(nn::keep_top_p(scores, mass), -inf);
    CHECK(values(sum(to(kept, int64), {1})) == values(counts));
    CHECK(values(amin(where(kept, p, 1), {1})) == values(squeeze(gather(sorted, 1, unsqueeze(counts - 1, 1)), 1)));
  }
}

TEST_CASE("tokens are drawn by their probabilities, and the same ones from the same seed") {
  const Tensor row = log(tensor({{0.5, 0.0, 0.2, 0.3}}, float64));
  const Tensor scores = expand(row, {20000, 4});
  Generator a(7), b(7);
  const Tensor tokens = nn::draw_tokens(scores, a);
  CHECK(same(tokens, nn::draw_tokens(scores, b)));
  CHECK_FALSE(same(tokens, nn::draw_tokens(scores, b)));
  Values counts(4);
  for (const auto token : tokens.to_vector<std::size_t>()) counts[token] += 1.0 / 20000;
  CHECK(counts[1] == 0);
  CHECK(std::abs(counts[0] - 0.5) < 0.02);
  CHECK(std::abs(counts[2] - 0.2) < 0.02);
}

TEST_CASE("the rules of decoding refuse what does not fit") {
  const Tensor scores = zeros({2, 3}), sequences = zeros({2, 4}, int64);
  CHECK(thrown([&] { nn::penalise_repetition(scores, sequences, 0); }) ==
        "ValueError: penalise_repetition: penalty = 0.000000 must be finite and above 0");
  CHECK(thrown([&] {
          nn::penalise_repetition(scores, zeros({3, 4}, int64), 2);
        }) == "ShapeError: penalise_repetition: sequences [3, 4] do not fit scores [2, 3]");
  CHECK(refusal<IndexError>([&] { nn::forbid_repeated_ngrams(scores, sequences + 3, 1); }) != "");
  CHECK(refusal<IndexError>([&] { nn::forbid_early_end(scores, sequences, 3, 9); }) != "");
  CHECK(refusal<DTypeError>([&] { nn::keep_top_k(sequences, 2); }) != "");
  CHECK(thrown([&] { nn::keep_top_k(scores, 0); }) == "ValueError: keep_top_k: k = 0 must be at least 1");
  CHECK(thrown([&] { nn::keep_top_p(scores, 1.5); }) == "ValueError: keep_top_p: p = 1.500000 is not in [0, 1]");
  CHECK(refusal<ValueError>([&] { nn::keep_typical(scores, 1); }) != "");
  CHECK(refusal<ValueError>([&] { nn::scale_by_temperature(scores, -1); }) != "");
  CHECK(refusal<ShapeError>([&] { nn::keep_top_p(zeros({3}), 0.5); }) != "");
  CHECK(thrown([&] {
          nn::draw_tokens(tensor({{0, 0}, {-inf, -inf}}));
        }) == "ValueError: draw_tokens: row 1 has no finite best score");
}

}  // namespace
}  // namespace attune::tests
