#include "nn/data/batches.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <set>
#include <stdexcept>

#include "autograd/autograd.h"
#include "nn/data/padded.h"
#include "nn/data/windows.h"

using namespace attune;
using nn::Batches;
using nn::BatchOptions;

namespace {

using Rows = std::vector<std::int64_t>;

Batches<Rows> rows_of(std::vector<std::int64_t> lengths, const BatchOptions& o) {
  return nn::make_batches<Rows>(std::move(lengths), o, [](const Rows& rows, Generator&) { return rows; });
}

std::vector<Rows> epoch_of(Batches<Rows>& batches) {
  std::vector<Rows> all;
  for (auto rows : batches) all.push_back(rows);
  return all;
}

std::vector<Rows> take(Batches<Rows>& batches, int n) {
  std::vector<Rows> all;
  for (int i = 0; i < n; ++i) all.push_back(batches.next());
  return all;
}

std::string message_of(const std::function<void()>& f) {
  try {
    f();
  } catch (const std::exception& e) {
    const std::string what = e.what();
    return what.substr(0, what.find("\n  at "));
  }
  return "nothing thrown";
}

}  // namespace

TEST_CASE("an epoch has each sample once, in an order of its own") {
  auto batches = rows_of(std::vector<std::int64_t>(10, 1), {.batch = 3, .seed = 4});
  CHECK(batches.size() == 4);
  const std::vector<Rows> two = take(batches, 8);
  Rows first, second;
  for (int i = 0; i < 4; ++i) first.insert(first.end(), two[i].begin(), two[i].end());
  for (int i = 4; i < 8; ++i) second.insert(second.end(), two[i].begin(), two[i].end());
  CHECK(first != second);
  CHECK(two[3].size() == 1);
  std::sort(first.begin(), first.end());
  std::sort(second.begin(), second.end());
  const Rows all{0, 1, 2, 3, 4, 5, 6, 7, 8, 9};
  CHECK(first == all);
  CHECK(second == all);
  CHECK(batches.place() == nn::BatchPlace{2, 0});

  auto full = rows_of(std::vector<std::int64_t>(10, 1), {.batch = 3, .drop_last = true, .seed = 4});
  CHECK(full.size() == 3);
  auto plain = rows_of(std::vector<std::int64_t>(5, 1), {.batch = 2, .shuffle = false});
  CHECK(epoch_of(plain) == std::vector<Rows>{{0, 1}, {2, 3}, {4}});
  CHECK(plain.place() == nn::BatchPlace{0, 0});
  auto same = rows_of(std::vector<std::int64_t>(10, 1), {.batch = 3, .seed = 4, .prefetch = false});
  CHECK(take(same, 8) == two);
}

TEST_CASE("batches go on after a saved position, wherever it was, with and without the thread") {
  for (const bool prefetch : {false, true})
    for (int done = 0; done < 9; ++done) {
      const BatchOptions o{.batch = 3, .group = 2, .seed = 7, .prefetch = prefetch};
      const std::vector<std::int64_t> lengths{5, 1, 9, 2, 2, 8, 4, 4, 1, 7};
      auto whole = rows_of(lengths, o), resumed = rows_of(lengths, o);
      take(whole, done);
      take(resumed, 2);  // whatever it has prepared is of no account
      resumed.load_state_dict(whole.state_dict());
      CHECK(take(resumed, 9) == take(whole, 9));
    }
  auto a = rows_of({1, 2, 3}, {.batch = 1, .seed = 1}), b = rows_of({1, 2, 3}, {.batch = 1, .seed = 2});
  a.next();
  CHECK(message_of([&] { b.load_state_dict(a.state_dict()); }) ==
        "batches: the position is in 3 samples of 6 tokens in batches of 1, shuffled by seed 1, and here are 3 samples "
        "of "
        "6 tokens in batches of 1, shuffled by seed 2");
  CHECK(b.place() == nn::BatchPlace{0, 0});
  CHECK(message_of([&] { b.load_state_dict({}); }) == "batches: this is no position in batches");
}

TEST_CASE("batches by tokens are within the limit, and groups waste less on padding") {
  std::vector<std::int64_t> lengths;
  for (int i = 0; i < 500; ++i) lengths.push_back(1 + (i * 7919) % 60);
  const auto waste = [&](std::int64_t group) {
    auto batches = rows_of(lengths, {.max_tokens = 300, .group = group, .seed = 3});
    std::int64_t padded = 0, seen = 0;
    for (const Rows& rows : batches) {
      std::int64_t longest = 0;
      for (const std::int64_t r : rows) longest = std::max(longest, lengths[static_cast<std::size_t>(r)]);
      CHECK(longest * static_cast<std::int64_t>(rows.size()) <= 300);
      padded += longest * static_cast<std::int64_t>(rows.size());
      seen += static_cast<std::int64_t>(rows.size());
    }
    CHECK(seen == 500);
    std::int64_t tokens = 0;
    for (const std::int64_t n : lengths) tokens += n;
    return static_cast<double>(padded - tokens) / static_cast<double>(tokens);
  };
  CHECK(waste(0) > 0.4);
  CHECK(waste(20) < 0.1);
}

TEST_CASE("what the making of a batch throws arrives at next(), and the position stays") {
  int calls = 0;
  auto batches = nn::make_batches<int>({1, 1, 1, 1}, {.batch = 1, .shuffle = false}, [&](const Rows& rows, Generator&) {
    if (rows[0] == 2 && ++calls < 3) throw std::runtime_error("no disk");
    return static_cast<int>(rows[0]);
  });
  CHECK(batches.next() == 0);
  CHECK(batches.next() == 1);
  CHECK(message_of([&] { batches.next(); }) == "no disk");
  CHECK(message_of([&] { batches.next(); }) == "no disk");
  CHECK(batches.next() == 2);
  CHECK(batches.next() == 3);
}

TEST_CASE("a batch draws the same whoever makes it") {
  const auto make = [](bool prefetch) {
    return nn::make_batches<Tensor>({1, 1, 1}, {.batch = 1, .prefetch = prefetch},
                                    [](const Rows&, Generator& random) { return randn({4}, float32, random); });
  };
  auto a = make(true), b = make(false);
  Tensor last;
  for (int i = 0; i < 6; ++i) {
    const Tensor x = a.next();
    CHECK(all(eq(x, b.next())));
    if (last.defined()) CHECK_FALSE(all(eq(x, last)));
    last = x;
  }
}

TEST_CASE("options of batches that do not fit") {
  CHECK(message_of([] { rows_of({}, {.batch = 1}); }) == "batches: there are no samples");
  CHECK(message_of([] { rows_of({1}, {}); }) ==
        "batches: one of batch = 0 and max_tokens = 0 must be at least 1, the other 0");
  CHECK(message_of([] {
          rows_of({1, 9}, {.max_tokens = 8});
        }) == "batches: a sample of 9 tokens does not fit max_tokens = 8");
  CHECK(message_of([] {
          rows_of({1, 9}, {.batch = 3, .drop_last = true});
        }) == "batches: drop_last leaves none of 2 samples in batches of 3");
}

TEST_CASE("windows: targets are the tokens after; sequential ones cover the stream") {
  std::vector<std::int64_t> ids(23);
  for (std::size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<std::int64_t>(i);
  const nn::Tokens tokens(ids, 30);
  auto all_windows = nn::token_windows(tokens, {.length = 5, .batch = 3, .sequential = true});
  std::vector<std::int64_t> read;
  for (auto [x, y] : all_windows) {
    CHECK(all(eq(y, x + 1)));
    for (const std::int64_t id : x.to_vector<std::int64_t>()) read.push_back(id);
  }
  CHECK(read == std::vector<std::int64_t>(ids.begin(), ids.begin() + 20));
  auto random = nn::token_windows(tokens, {.length = 5, .batch = 4, .seed = 2});
  std::set<std::int64_t> starts;
  for (int i = 0; i < 200; ++i) {
    auto [x, y] = random.next();
    CHECK(x.shape() == Shape{4, 5});
    CHECK(all(eq(y, x + 1)));
    for (const std::int64_t id : select(x, 1, 0).to_vector<std::int64_t>()) starts.insert(id);
  }
  CHECK(starts.size() == 18);  // 0 .. 17, each of which some window has
  CHECK(message_of([&] { nn::token_windows(tokens, {.length = 23}); }) ==
        "token_windows: a stream of 23 tokens has no window of 23 and the token after it");
  CHECK(message_of([&] { nn::token_windows({}, {.length = 2}); }) ==
        "token_windows: a stream of 0 tokens has no window of 2 and the token after it");
}

TEST_CASE("padding, on either side, and its masks") {
  const nn::Padded right = nn::pad({{7, 8, 9}, {5}}, 0), left = nn::pad({{7, 8, 9}, {5}}, 0, nn::Side::left);
  CHECK(right.tokens.to_vector<std::int64_t>() == std::vector<std::int64_t>{7, 8, 9, 5, 0, 0});
  CHECK(right.key_padding_mask.to_vector<std::int64_t>() == std::vector<std::int64_t>{0, 0, 0, 0, 1, 1});
  CHECK(left.tokens.to_vector<std::int64_t>() == std::vector<std::int64_t>{7, 8, 9, 0, 0, 5});
  CHECK(left.key_padding_mask.to_vector<std::int64_t>() == std::vector<std::int64_t>{0, 0, 0, 1, 1, 0});
  auto pairs = nn::pair_batches({{1, 2}, {3}, {}}, {{4}, {5, 6, 7}, {8}}, {.batch = 3, .shuffle = false});
  const nn::PairBatch b = pairs.next();
  CHECK(b.source.shape() == Shape{3, 2});
  CHECK(b.source_mask.to_vector<std::int64_t>() == std::vector<std::int64_t>{0, 0, 0, 1, 1, 1});
  CHECK(b.labels.to_vector<std::int64_t>() == std::vector<std::int64_t>{4, -100, -100, 5, 6, 7, 8, -100, -100});
  CHECK(message_of([] { nn::pair_batches({{1}}, {}, {.batch = 1}); }) == "pair_batches: 1 sources and 0 targets");
}
