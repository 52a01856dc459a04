// Spans taken out of texts: as much, in as many spans, as published; nothing lost; the generator's state decides.

#include "nn/data/span_corruption.h"

#include <algorithm>

#include "tests/unit/nn_checks.h"

using namespace attune;
using namespace attune::tests;

TEST_CASE("Corrupted spans are as many as published, and together hold the text") {
  Generator g(3);
  struct Row {
    std::int64_t length, noise, spans;
  };
  // Halves are rounded to even: 10 * 0.15 = 1.5 -> 2, 30 * 0.15 = 4.5 -> 4; but in float32 190 * 0.15 > 28.5.
  for (const Row& row : {Row{2, 1, 1}, Row{10, 2, 1}, Row{30, 4, 1}, Row{100, 15, 5}, Row{190, 29, 10},
                         Row{350, 53, 18}, Row{512, 77, 26}}) {
    CAPTURE(row.length);
    nn::Sequence text;
    for (std::int64_t i = 0; i < row.length; ++i) text.push_back(1000 + i);
    for (int draw = 0; draw < 20; ++draw) {
      const auto [input, target] = nn::corrupt_spans(text, {.first_sentinel = 999, .eos = 1}, g);
      CHECK(static_cast<std::int64_t>(target.size()) == row.noise + row.spans + 1);
      CHECK(static_cast<std::int64_t>(input.size()) == row.length - row.noise + row.spans + 1);
      CHECK(input.front() == 1000);
      CHECK(target.front() == 999);
      CHECK(input[input.size() - 2] == 1000 - row.spans);
      // Each sentinel of the input, exchanged for what follows it in the target, gives the text.
      nn::Sequence restored;
      for (const std::int64_t id : input) {
        if (id >= 1000) restored.push_back(id);
        if (id >= 1000 || id == 1) continue;
        for (auto at = std::find(target.begin(), target.end(), id) + 1; *at >= 1000; ++at) restored.push_back(*at);
      }
      CHECK(restored == text);
    }
  }
}

TEST_CASE("A generator's state draws the same spans again") {
  const nn::Sequence text(200, 5);
  Generator g(7);
  const RandomKey before = g.state();
  const auto first = nn::corrupt_spans(text, {.first_sentinel = 999}, g);
  CHECK(nn::corrupt_spans(text, {.first_sentinel = 999}, g).input != first.input);
  g.set_state(before);
  CHECK(nn::corrupt_spans(text, {.first_sentinel = 999}, g).input == first.input);
}

TEST_CASE("Spans that cannot be written are refused") {
  Generator g;
  CHECK_THROWS_AS(nn::corrupt_spans({5}, {.first_sentinel = 99}, g), ValueError);
  CHECK_THROWS_AS(nn::corrupt_spans({5, 6}, {.noise_share = 1, .first_sentinel = 99}, g), ValueError);
  CHECK_THROWS_AS(nn::corrupt_spans({5, 6}, {.mean_length = 0.5, .first_sentinel = 99}, g), ValueError);
  CHECK_THROWS_AS(nn::corrupt_spans(nn::Sequence(100, 5), {.first_sentinel = 99, .sentinels = 4}, g), ValueError);
  CHECK_THROWS_AS(nn::corrupt_spans({5, 99}, {.first_sentinel = 99, .sentinels = 4}, g), ValueError);
  CHECK_THROWS_AS(nn::corrupt_spans({96, 5}, {.first_sentinel = 99, .sentinels = 4}, g), ValueError);
  CHECK_NOTHROW(nn::corrupt_spans({95, 100}, {.first_sentinel = 99, .sentinels = 4}, g));
}
