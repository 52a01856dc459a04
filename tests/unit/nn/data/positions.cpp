// Positions of batches: wherever a run stops, another goes on with the very next batch, bit for bit.

#include <algorithm>
#include <stdexcept>

#include "nn/data/padded.h"
#include "nn/data/windows.h"
#include "tests/unit/nn_checks.h"

using namespace attune;
using namespace attune::tests;

namespace {

std::vector<nn::Sequence> samples(std::int64_t n) {
  std::vector<nn::Sequence> out;
  for (std::int64_t i = 0; i < n; ++i) {
    out.emplace_back();
    for (std::int64_t j = 0; j <= (i * 7) % 11; ++j) out.back().push_back(100 * i + j);
  }
  return out;
}

/// Takes `steps` batches, and at each goes on in batches of their own from the saved position.
template <class Make>
void check_resumes(const Make& make, int steps) {
  auto whole = make();
  for (int step = 0; step < steps; ++step) {
    CAPTURE(step);
    auto resumed = make();
    resumed.next();  // one that was used before it is restored
    resumed.load_state_dict(whole.state_dict());
    CHECK(resumed.place() == whole.place());
    auto copy = make();
    copy.load_state_dict(resumed.state_dict());
    const Tensor expected = whole.next().tokens;
    CHECK(same(resumed.next().tokens, expected));
    CHECK(same(copy.next().tokens, expected));
  }
  CHECK(whole.place().epoch >= 2);
}

}  // namespace

TEST_CASE("Batches go on from a position, across epochs and after partial batches") {
  for (const bool prefetch : {false, true}) {
    for (const bool drop_last : {false, true}) {
      for (const std::int64_t group : {0, 2}) {
        CAPTURE(prefetch);
        CAPTURE(drop_last);
        CAPTURE(group);
        const auto by_size = [&] {
          return nn::padded_batches(
              samples(10), {.batch = 4, .group = group, .drop_last = drop_last, .seed = 5, .prefetch = prefetch});
        };
        check_resumes(by_size, 8);
        const auto by_tokens = [&] {
          return nn::padded_batches(samples(10), {.max_tokens = 24, .group = group, .seed = 5, .prefetch = prefetch});
        };
        check_resumes(by_tokens, 16);
      }
    }
  }
}

TEST_CASE("An epoch has every sample once, in another order than the one before") {
  auto batches = nn::padded_batches(samples(10), {.batch = 4, .seed = 2});
  std::vector<std::int64_t> epochs[2];
  for (auto& rows : epochs) {
    for (std::int64_t i = 0; i < 3; ++i) {
      for (const std::int64_t row : batches.next().rows) rows.push_back(row);
    }
  }
  CHECK(epochs[0] != epochs[1]);
  for (auto& rows : epochs) {
    std::sort(rows.begin(), rows.end());
    CHECK(rows == std::vector<std::int64_t>{0, 1, 2, 3, 4, 5, 6, 7, 8, 9});
  }
}

TEST_CASE("A pass over an epoch leaves the position where it is") {
  auto batches = nn::padded_batches(samples(10), {.batch = 4, .seed = 2}),
       twin = nn::padded_batches(samples(10), {.batch = 4, .seed = 2});
  batches.next();
  twin.next();
  std::size_t seen = 0;
  for (const auto& b : batches) seen += b.rows.size();
  CHECK(seen == 10);
  CHECK(same(batches.next().tokens, twin.next().tokens));
}

TEST_CASE("The position of other data or options is refused, and changes nothing") {
  auto batches = nn::padded_batches(samples(10), {.batch = 4, .seed = 2});
  const auto place = batches.place();
  const auto refuse = [&](auto&& other) {
    other.next();
    CHECK_THROWS_AS(batches.load_state_dict(other.state_dict()), ValueError);
    CHECK(batches.place() == place);
  };
  refuse(nn::padded_batches(samples(11), {.batch = 4, .seed = 2}));
  refuse(nn::padded_batches(samples(10), {.batch = 4, .seed = 3}));
  refuse(nn::padded_batches(samples(10), {.batch = 5, .seed = 2}));
  refuse(nn::padded_batches(samples(10), {.batch = 4, .drop_last = true, .seed = 2}));
  CHECK_THROWS_AS(batches.load_state_dict({}), ValueError);
  auto other = samples(10);
  other[4][0] += 1;  // as many samples and tokens
  refuse(nn::padded_batches(other, {.batch = 4, .seed = 2}));
  auto longer = samples(10);
  std::swap(longer[1], longer[2]);
  refuse(nn::padded_batches(longer, {.batch = 4, .seed = 2}));
  auto pairs = nn::pair_batches(samples(10), other, {.batch = 4}),
       same_pairs = nn::pair_batches(samples(10), other, {.batch = 4}),
       other_pairs = nn::pair_batches(samples(10), samples(10), {.batch = 4});
  CHECK_NOTHROW(pairs.load_state_dict(same_pairs.state_dict()));
  CHECK_THROWS_AS(pairs.load_state_dict(other_pairs.state_dict()), ValueError);
}

TEST_CASE("What the making of a batch throws arrives at next(), and the position stays") {
  for (const bool prefetch : {false, true}) {
    auto batches = nn::make_batches<Tensor>({1, 1, 1}, {.batch = 1, .shuffle = false, .prefetch = prefetch},
                                            [](const std::vector<std::int64_t>& rows, Generator&) -> Tensor {
                                              if (rows[0] == 1) throw std::runtime_error("unreadable");
                                              return ones({rows[0] + 1});
                                            });
    CHECK(batches.next().size(0) == 1);
    for (int again = 0; again < 2; ++again) {
      CHECK_THROWS_WITH_AS(batches.next(), "unreadable", std::runtime_error);
      CHECK(batches.place() == nn::BatchPlace{0, 1});
    }
  }
}
