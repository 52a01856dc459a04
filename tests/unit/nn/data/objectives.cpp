#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "autograd/autograd.h"
#include "nn/data/masking.h"
#include "nn/data/span_corruption.h"

using namespace attune;
using nn::Sequence;

TEST_CASE("masked tokens: 15 % of those that are not special, at 80/10/10") {
  Generator random(3);
  const nn::MaskingOptions o{.mask_token = 4, .vocabulary = 50, .special = {0, 1, 2, 3}};
  const Tensor tokens = randint(0, 50, {200, 500}, random);
  const nn::MaskedTokens m = nn::mask_tokens(tokens, o, random);
  const auto before = tokens.to_vector<std::int64_t>(), after = m.tokens.to_vector<std::int64_t>(),
             labels = m.labels.to_vector<std::int64_t>();
  double candidates = 0, chosen = 0, masked = 0, changed = 0, kept = 0;
  std::set<std::int64_t> drawn;
  for (std::size_t i = 0; i < before.size(); ++i) {
    candidates += before[i] > 4;
    if (labels[i] == -100) {
      CHECK(after[i] == before[i]);
      continue;
    }
    CHECK(labels[i] == before[i]);
    CHECK(before[i] > 4);
    chosen += 1;
    masked += after[i] == 4;
    kept += after[i] == before[i];
    if (after[i] != 4 && after[i] != before[i]) {
      changed += 1;
      drawn.insert(after[i]);
      CHECK(after[i] > 4);
    }
  }
  const auto near = [](double share, double expected, double n) {
    return std::abs(share - expected) < 4 * std::sqrt(expected * (1 - expected) / n);
  };
  CHECK(near(chosen / candidates, 0.15, candidates));
  CHECK(near(masked / chosen, 0.8, chosen));
  CHECK(near(changed / chosen, 0.1 * 44 / 45, chosen));  // a random token may be the same
  CHECK(near(kept / chosen, 0.1 + 0.1 / 45, chosen));
  CHECK(drawn.size() == 45);
  // A short text has something to predict.
  for (int i = 0; i < 50; ++i)
    CHECK(any(ne(nn::mask_tokens(tensor({1, 9, 2}, {1, 3}, int64), o, random).labels, -100)));
  CHECK_FALSE(any(ne(nn::mask_tokens(tensor({1, 2}, {1, 2}, int64), o, random).labels, -100)));
  CHECK_THROWS_AS(nn::mask_tokens(tokens, {.mask_token = 50, .vocabulary = 50}), ValueError);
  CHECK_THROWS_AS(nn::mask_tokens(tokens, {.mask_token = 0, .vocabulary = 20}), IndexError);
  CHECK_THROWS_AS(nn::mask_tokens(tokens, {.mask_token = 0, .vocabulary = 50, .share = 0}), ValueError);
  CHECK_THROWS_AS(nn::mask_tokens(full({1, 2}, 3.7), o), DTypeError);
}

TEST_CASE("next sentences: half of the seconds follow, the others are of another document") {
  std::vector<std::vector<Sequence>> documents(40);
  for (std::size_t d = 0; d < documents.size(); ++d)
    for (std::size_t s = 0; s < 30; ++s)
      documents[d].push_back(Sequence(3 + s % 5, static_cast<std::int64_t>(100 * d + s)));
  Generator random(5);
  const auto pairs = nn::next_sentence_pairs(documents, 24, random);
  double follows = 0;
  for (const nn::SentencePair& p : pairs) {
    CHECK(p.first.size() + p.second.size() <= 24);
    const std::int64_t end = p.first.back(), next = p.second.front();
    if (p.follows) {
      follows += 1;
      CHECK(next / 100 == end / 100);
      CHECK(next > p.first.front());
    } else {
      CHECK(next / 100 != end / 100);
    }
  }
  const double n = static_cast<double>(pairs.size());
  CHECK(n > 300);
  CHECK(std::abs(follows / n - 0.5) < 2 / std::sqrt(n));
  CHECK_THROWS_AS(nn::next_sentence_pairs({{{1, 2}}}, 8), ValueError);
  // One document alone: what does not follow is no neighbour.
  std::vector<Sequence> lines;
  for (std::int64_t i = 0; i < 4; ++i) lines.push_back({10 * i, 10 * i + 1});
  for (int repeat = 0; repeat < 50; ++repeat)
    for (const nn::SentencePair& p : nn::next_sentence_pairs({lines}, 4, random))
      CHECK(p.follows == (p.second.front() == p.first.back() + 9));
}

TEST_CASE("spans: input and target make up the text; counts are as published") {
  Generator random(9);
  for (const std::int64_t n : {2, 3, 7, 20, 100, 512}) {
    CAPTURE(n);
    Sequence text;
    for (std::int64_t i = 0; i < n; ++i) text.push_back(1000 + i);
    std::map<std::size_t, int> first_lengths;
    for (int repeat = 0; repeat < 60; ++repeat) {
      const auto [input, target] = nn::corrupt_spans(text, {.first_sentinel = 99, .eos = 1}, random);
      const auto noise = std::clamp<std::int64_t>(std::lrint(0.15 * static_cast<double>(n)), 1, n - 1);
      const auto spans = std::max<std::int64_t>(1, std::lrint(static_cast<double>(noise) / 3));
      CHECK(static_cast<std::int64_t>(input.size()) == n - noise + spans + 1);
      CHECK(static_cast<std::int64_t>(target.size()) == noise + spans + 1);
      CHECK(input.back() == 1);
      CHECK(target.back() == 1);
      CHECK(input.front() >= 1000);
      CHECK(target.front() == 99);
      // Each sentinel of the input, replaced by what follows it in the target.
      Sequence whole;
      std::int64_t sentinel = 99;
      for (const std::int64_t id : input) {
        if (id == 1) break;
        if (id >= 1000) {
          whole.push_back(id);
          continue;
        }
        CHECK(id == sentinel--);
        auto at = std::find(target.begin(), target.end(), id) + 1;
        if (id == 99)
          ++first_lengths[static_cast<std::size_t>(std::find_if(at, target.end(), [](auto t) { return t < 1000; }) -
                                                   at)];
        for (; *at >= 1000; ++at) whole.push_back(*at);
      }
      CHECK(whole == text);
    }
    if (n == 100) CHECK(first_lengths.size() > 3);  // lengths differ
  }
  CHECK_THROWS_AS(nn::corrupt_spans({5}, {.first_sentinel = 99}), ValueError);
  CHECK_THROWS_AS(nn::corrupt_spans(Sequence(200, 5), {.first_sentinel = 3}), ValueError);
}
