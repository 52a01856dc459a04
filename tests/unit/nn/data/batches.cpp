#include "nn/data/batches.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <limits>
#include <memory>
#include <set>
#include <stdexcept>
#include <thread>

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
  CHECK(
      message_of([&] { b.load_state_dict(a.state_dict()); }) ==
      "batches: the position is in 3 samples of 6 tokens (checksum 2bcb8d87) in batches of 1, shuffled by seed 1, and "
      "here are 3 samples of 6 tokens (checksum 2bcb8d87) in batches of 1, shuffled by seed 2");
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

TEST_CASE("batches that are moved, thrown away and set elsewhere while their thread works") {
  const auto slow = [](std::atomic<int>& made) {
    return nn::make_batches<int>(std::vector<std::int64_t>(8, 1), {.batch = 1, .shuffle = false},
                                 [&made](const Rows& rows, Generator&) {
                                   std::this_thread::sleep_for(std::chrono::milliseconds(20));
                                   ++made;
                                   return static_cast<int>(rows[0]);
                                 });
  };
  std::atomic<int> made{0};
  {
    auto batches = slow(made);
    CHECK(batches.next() == 0);
  }
  const int at_the_end = made;  // the destructor has waited: nothing is made afterwards
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  CHECK(made == at_the_end);

  auto batches = slow(made);
  const nn::StateDict start = batches.state_dict();
  CHECK(batches.next() == 0);
  auto moved = std::move(batches);
  CHECK(moved.next() == 1);
  CHECK_THROWS_AS(batches.next(), ValueError);
  CHECK_THROWS_AS(batches.place(), ValueError);
  moved.load_state_dict(start);
  CHECK(moved.next() == 0);
  moved = slow(made);  // over one whose thread works
  CHECK(moved.next() == 0);
  CHECK(moved.next() == 1);
}

TEST_CASE("passes are open to those who may not move the position, and batches need not be copyable") {
  const auto batches = nn::make_batches<std::unique_ptr<int>>(
      {1, 1, 1}, {.batch = 2, .shuffle = false},
      [](const Rows& rows, Generator&) { return std::make_unique<int>(static_cast<int>(rows[0])); });
  int sum = 0;
  for (const auto& b : batches) sum += *b;
  CHECK(sum == 2);
  auto own = nn::make_batches<std::unique_ptr<int>>({1}, {.batch = 1},
                                                    [](const Rows&, Generator&) { return std::make_unique<int>(7); });
  CHECK(*own.next() == 7);
}

TEST_CASE("what drop_last leaves out differs from epoch to epoch, though samples are grouped by length") {
  auto batches = rows_of({1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}, {.batch = 4, .group = 9, .drop_last = true, .seed = 1});
  CHECK(batches.size() == 2);
  std::set<std::int64_t> seen;
  for (const Rows& rows : take(batches, 40)) {
    CHECK(rows.size() == 4);
    seen.insert(rows.begin(), rows.end());
  }
  CHECK(seen.size() == 11);
}

TEST_CASE("no two epochs draw the same, however many there are") {
  auto batches = nn::make_batches<double>({1}, {.batch = 1, .prefetch = false}, [](const Rows&, Generator& random) {
    return randn({1}, float64, random).item();
  });
  std::set<double> seen;
  for (int i = 0; i < 600; ++i) seen.insert(batches.next());
  CHECK(seen.size() == 600);
}

TEST_CASE("a training that asks for the first epoch's size at each step does not plan its epochs anew") {
  auto batches = rows_of(std::vector<std::int64_t>(300000, 1), {.batch = 100, .prefetch = false});
  take(batches, 3001);  // into the second epoch
  CHECK(batches.size() == 3000);
  const auto begin = std::chrono::steady_clock::now();
  for (int i = 0; i < 300; ++i) {
    batches.next();
    CHECK(batches.size() == 3000);
  }
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
  CHECK(seconds.count() < 2);  // with a plan at each, 600 shuffles of 300,000
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
  CHECK(message_of([] { rows_of({1, -2}, {.batch = 1}); }) == "batches: a length of -2 is negative, or too much");
  CHECK(message_of([] {
          rows_of({1, 1}, {.max_tokens = 8, .drop_last = true});
        }) == "batches: drop_last is for batches by size; those by tokens have no full size");
  // As large as they come, and nothing overflows.
  constexpr std::int64_t huge = std::numeric_limits<std::int64_t>::max();
  auto one = rows_of({3, 1, 2}, {.batch = huge, .group = huge});
  CHECK(one.next() == Rows{1, 2, 0});
  auto by_tokens = rows_of({3, 0, 2}, {.max_tokens = huge, .group = 2});
  CHECK(by_tokens.next() == Rows{1, 2, 0});
  auto empty = rows_of(std::vector<std::int64_t>(10, 0), {.max_tokens = 4});
  CHECK(empty.size() == 3);
  auto three = rows_of({1, 1, 1}, {.batch = 2});
  CHECK_THROWS_AS(three.size(-1), ValueError);
  const nn::StateDict far{{"place", tensor({std::int64_t{1} << 62, 0}, {2}, int64)},
                          {"of", three.state_dict().at("of")}};
  CHECK_THROWS_AS(three.load_state_dict(far), ValueError);
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
  CHECK_THROWS_AS(nn::token_windows(tokens, {.length = 4, .batch = std::numeric_limits<std::int64_t>::max()}),
                  ValueError);
  auto all_at_once =
      nn::token_windows(tokens, {.length = 5, .batch = std::numeric_limits<std::int64_t>::max(), .sequential = true});
  CHECK(all_at_once.next().inputs.shape() == Shape{4, 5});
  std::swap(ids[3], ids[4]);
  auto others = nn::token_windows(nn::Tokens(ids, 30), {.length = 5, .batch = 4, .seed = 2});
  CHECK_THROWS_AS(others.load_state_dict(random.state_dict()), ValueError);
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
