#include "nn/attention/lsh_cache.h"

#include <doctest/doctest.h>

#include "autograd/autograd.h"
#include "nn/attention/local.h"
#include "nn/attention/lsh.h"

using namespace attune;

namespace {

double largest_difference(const Tensor& a, const Tensor& b) {
  REQUIRE(a.shape() == b.shape());
  return amax(abs(a.detach() - b.detach())).item();
}

/// The options of every published variant, and others.
std::vector<LshOptions> variants() {
  std::vector<LshOptions> all{LshOptions::paper(), LshOptions::hugging_face(), LshOptions::lucidrains()};
  all.push_back(LshOptions::paper());
  all.back().correct_duplicates = false;
  all.back().chunks_before = 2;
  all.push_back(LshOptions::hugging_face());
  all.back().chunks_after = 1;
  all.back().correct_duplicates = true;
  for (LshOptions& o : all) {
    o.chunk = 4;
    o.hashes = 3;
    o.buckets = {6};
  }
  all.push_back(all[0]);
  all.back().buckets = {2, 4};
  all.back().hashes = 1;
  return all;
}

}  // namespace

TEST_CASE("the newest token of a cache is that of the full pass, for every variant and length") {
  manual_seed(3);
  const std::int64_t b = 2, h = 2, d = 12;
  for (const LshOptions& o : variants()) {
    nn::LshSelfAttention attention(d, h, o);
    attention.to(float64);
    attention.eval();
    const Tensor x = randn({b, 40, d}, float64);
    const Tensor rotations = lsh_rotations(o, b, h, d / h, 40, float64);
    for (const std::int64_t prompt : {1, 3, 4, 7, 13}) {
      CAPTURE(prompt);
      nn::LshCache cache(40, rotations);
      const Tensor first = attention.step(slice(x, 1, 0, prompt), cache);
      {
        // The whole prompt, at all its positions.
        const NoGrad off;
        CHECK(largest_difference(first, attention(slice(x, 1, 0, prompt), {.rotations = rotations}).output) < 1e-12);
      }
      for (std::int64_t n = prompt + 1; n <= 40; ++n) {
        CAPTURE(n);
        const Tensor y = attention.step(slice(x, 1, n - 1, n), cache);
        const NoGrad off;
        // As the full pass over n tokens, padded to whole chunks as the model does.
        const Tensor full = attention(slice(x, 1, 0, n), {.rotations = rotations}).output;
        CHECK(largest_difference(y, slice(full, 1, n - 1, n)) < 1e-12);
      }
    }
  }
}

TEST_CASE("a cache's rows go where they are told, with rotations of each row") {
  manual_seed(4);
  LshOptions o;
  o.chunk = 4;
  o.hashes = 2;
  nn::LshSelfAttention attention(8, 2, o);
  attention.to(float64);
  attention.eval();
  const Tensor x = randn({3, 21, 8}, float64), rows = tensor({2, 0, 2, 1}, {4}, int64);
  nn::LshCache cache(21), moved(21);
  attention.step(slice(x, 1, 0, 9), cache);
  moved = cache;
  moved.reorder(rows);
  CHECK(moved.rotations().size(0) == 4);
  for (std::int64_t n = 9; n < 21; ++n) {
    const Tensor now = slice(x, 1, n, n + 1);
    const Tensor y = attention.step(now, cache), z = attention.step(index_select(now, 0, rows), moved);
    CHECK(largest_difference(z, index_select(y, 0, rows)) < 1e-12);
  }
  CHECK_THROWS_AS(moved.reorder(tensor({4}, {1}, int64)), IndexError);
}

TEST_CASE("local attention in steps is that of the full pass") {
  manual_seed(5);
  for (const auto& [chunk, before, length] : {std::tuple{5, 0, 33}, {5, 1, 33}, {5, 2, 33}, {32, 1, 80}}) {
    nn::LocalSelfAttention attention(8, 2, {.chunk = chunk, .chunks_before = before});
    attention.to(float64);
    attention.eval();
    const Tensor x = randn({2, length, 8}, float64);
    for (const std::int64_t prompt : {1, 4, 5, 17}) {
      nn::KeyValueCache cache;
      const NoGrad off;
      const Tensor full = attention(x);
      CHECK(largest_difference(attention.step(slice(x, 1, 0, prompt), cache), slice(full, 1, 0, prompt)) < 1e-12);
      for (std::int64_t n = prompt; n < length; ++n)
        CHECK(largest_difference(attention.step(slice(x, 1, n, n + 1), cache), slice(full, 1, n, n + 1)) < 1e-12);
    }
  }
}

TEST_CASE("steps that attention cannot take") {
  nn::LshSelfAttention both(8, 2, {.chunk = 4, .causal = false});
  nn::LshCache cache(16);
  CHECK_THROWS_AS(both.step(zeros({1, 1, 8}), cache), ValueError);
  nn::LshSelfAttention attention(8, 2, {.chunk = 4});
  attention.step(zeros({1, 3, 8}), cache);
  CHECK_THROWS_AS(attention.step(zeros({1, 2, 8}), cache), ValueError);
  CHECK_THROWS_AS(attention.step(zeros({1, 1, 9}), cache), ShapeError);
  nn::LocalSelfAttention around(8, 2, {.chunk = 4, .causal = false});
  nn::KeyValueCache kept;
  CHECK_THROWS_AS(around.step(zeros({1, 1, 8}), kept), ValueError);
}
