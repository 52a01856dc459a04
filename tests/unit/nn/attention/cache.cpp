// The cache of keys and values: steps give what attention over the whole sequence gives.

#include <doctest/doctest.h>

#include "nn/nn.h"
#include "tests/unit/plain.h"

namespace attune::tests {
namespace {

struct Whole {
  Tensor q, k, v;
};

Whole random_whole(std::int64_t b, std::int64_t n, std::int64_t q, std::int64_t k, std::int64_t v,
                   DType dtype = float64) {
  return {randn({b, n, q}, dtype), randn({b, n, k}, dtype), randn({b, n, v}, dtype)};
}

Tensor part(const Tensor& x, std::int64_t from, std::int64_t to) { return slice(x, 1, from, to); }

/// The outputs of steps of the given sizes, joined.
Tensor stepwise(const Whole& x, const std::vector<std::int64_t>& steps, std::int64_t heads,
                nn::CachedAttentionOptions o) {
  const Tensor padding = o.key_padding_mask, bias = o.bias;
  nn::KeyValueCache cache;
  Tensors ys;
  std::int64_t at = 0;
  for (const std::int64_t t : steps) {
    cache.append(part(x.k, at, at + t), part(x.v, at, at + t));
    if (padding.defined()) o.key_padding_mask = part(padding, 0, at + t);
    if (bias.defined()) o.bias = slice(slice(bias, 2, at, at + t), 3, 0, at + t);
    ys.push_back(nn::cached_attention(part(x.q, at, at + t), cache, heads, o));
    at += t;
    CHECK(cache.length() == at);
  }
  return cat(ys, 1);
}

TEST_CASE("steps over the cache are attention over the sequence") {
  const std::vector<std::int64_t> steps{5, 1, 1, 3, 1, 20, 1, 2, 130, 1, 4, 1};
  const std::int64_t n = 170, h = 4;
  for (const std::int64_t g : {4, 2, 1}) {
    const Whole x = random_whole(2, n, h * 7, g * 7, g * 5);
    AttentionOptions all{.causal = true, .grouped_heads = true};
    CHECK(difference(stepwise(x, steps, h, {.causal = true}), nn::multihead_attention(x.q, x.k, x.v, h, all).output) <
          1e-12);
    const Tensor padding = lt(rand({2, n}), 0.3), bias = randn({2, h, n, n}, float64);
    all.scale = 0.7;
    all.bias = bias;
    all.attention_mask = reshape(padding, {2, 1, 1, n});
    CHECK(difference(stepwise(x, steps, h, {.scale = 0.7, .causal = true, .key_padding_mask = padding, .bias = bias}),
                     nn::multihead_attention(x.q, x.k, x.v, h, all).output) < 1e-12);
  }
}

TEST_CASE("a window over the cache is a band of the whole") {
  const std::int64_t n = 40, w = 6;
  const Whole x = random_whole(2, n, 12, 12, 12);
  const Tensor i = unsqueeze(arange(n), 1), j = arange(n);
  const Tensor padding = lt(rand({2, n}), 0.2), bias = randn({1, 3, n, n}, float64);
  const Tensor hidden = logical_or(logical_not(logical_and(le(j, i), gt(j, i - w))), reshape(padding, {2, 1, 1, n}));
  const Tensor whole = nn::multihead_attention(x.q, x.k, x.v, 3, {.attention_mask = hidden, .bias = bias}).output;
  const nn::CachedAttentionOptions o{.causal = true, .window = w, .key_padding_mask = padding, .bias = bias};
  CHECK(difference(stepwise(x, {3, 1, 1, 1, 1, 1, 1, 1, 10, 1, 1, 1, 17}, 3, o), whole) < 1e-12);
  CHECK(difference(stepwise(x, {40}, 3, o), whole) < 1e-12);
}

TEST_CASE("attention over a cache of a source sees all of it") {
  const Whole x = random_whole(2, 9, 12, 12, 12);
  nn::KeyValueCache cache;
  cache.append(x.k, x.v);
  const Tensor q = randn({2, 11, 12}, float64);
  CHECK(difference(nn::cached_attention(q, cache, 3), nn::multihead_attention(q, x.k, x.v, 3).output) < 1e-12);
}

TEST_CASE("what a step does not see has no influence, whatever it holds") {
  const std::int64_t n = 150;
  for (const DType dtype : {float32, float64})
    for (const std::int64_t t : {1, 3}) {
      const Whole x = random_whole(2, n, 12, 12, 12, dtype);
      const Tensor hidden = lt(rand({2, n}), 0.4), bad = where(hidden, not_a_number, 0.0);
      const auto with = [&](const Tensor& what) {
        nn::KeyValueCache cache;
        const Tensor more = to(unsqueeze(what, 2), dtype);
        cache.append(x.k + more, x.v + more);
        return nn::cached_attention(part(x.q, 0, t), cache, 3, {.causal = true, .key_padding_mask = hidden});
      };
      CHECK(difference(with(bad), with(zeros({2, n}))) < (dtype == float32 ? 1e-5 : 1e-12));
      // A row that sees nothing gives zeros; -inf as a bias hides, too.
      nn::KeyValueCache cache;
      cache.append(x.k, x.v);
      const nn::CachedAttentionOptions none{.causal = true, .bias = full({1, 3, t, n}, -inf, dtype)};
      CHECK(amax(abs(nn::cached_attention(part(x.q, 0, t), cache, 3, none))).item() == 0);
    }
}

TEST_CASE("steps have the same bits at any number of threads") {
  const Whole x = random_whole(3, 700, 48, 48, 48, float32);
  const int threads = num_threads();
  const auto run = [&](int n) {
    set_num_threads(n);
    return stepwise(x, {600, 1, 1, 4, 2, 1, 90, 1}, 4, {.causal = true});
  };
  const Tensor one = run(1);
  for (const int n : {2, 3, 7}) CHECK(same(run(n), one));
  set_num_threads(threads);
}

TEST_CASE("rows of the cache are reordered, repeated and dropped") {
  const Whole x = random_whole(3, 8, 4, 4, 4);
  nn::KeyValueCache cache;
  cache.reserve(20);
  cache.reorder(index_tensor({0, 2}, {2}));  // nothing is there
  cache.append(part(x.k, 0, 5), part(x.v, 0, 5));
  CHECK(cache.capacity() == 20);
  const auto rows_of = [&](const Tensor& y, std::initializer_list<std::int64_t> rows) {
    return index_select(y, 0, index_tensor(rows, {static_cast<std::int64_t>(rows.size())}));
  };
  cache.reorder(index_tensor({2, 2, 0}, {3}));
  CHECK(same(cache.keys(), rows_of(part(x.k, 0, 5), {2, 2, 0})));
  CHECK(same(cache.values(), rows_of(part(x.v, 0, 5), {2, 2, 0})));
  cache.append(part(x.k, 5, 6), part(x.v, 5, 6));
  cache.reorder(index_tensor({0, 1, 2}, {3}));
  cache.reorder(index_tensor({1, 2, 2, 0, 1}, {5}));
  CHECK(same(part(cache.keys(), 0, 5), rows_of(part(x.k, 0, 5), {2, 0, 0, 2, 2})));
  CHECK(same(part(cache.keys(), 5, 6), rows_of(part(x.k, 5, 6), {1, 2, 2, 0, 1})));
  CHECK(cache.length() == 6);
  cache.truncate(2);
  CHECK(same(cache.values(), rows_of(part(x.v, 0, 2), {2, 0, 0, 2, 2})));
  cache.reorder(index_tensor({4}, {1}));
  CHECK(same(cache.keys(), rows_of(part(x.k, 0, 2), {2})));
}

TEST_CASE("the cache's memory doubles") {
  const Tensor k = randn({1, 1, 8});
  nn::KeyValueCache cache;
  int grown = 0;
  for (int i = 0; i < 1000; ++i) {
    const std::int64_t before = cache.capacity();
    cache.append(k, k);
    grown += cache.capacity() != before;
  }
  CHECK(cache.length() == 1000);
  CHECK(grown <= 8);
  CHECK(same(slice(cache.keys(), 1, 999), k));
}

TEST_CASE("the cache is off the tape, and refuses what does not fit") {
  nn::KeyValueCache cache;
  const Tensor k = randn({2, 3, 8}).requires_grad_(), q = randn({2, 1, 8});
  CHECK(thrown([&] { nn::cached_attention(q, cache, 2); }) == "ValueError: cached_attention: the cache is empty");
  cache.append(2 * k, k);
  CHECK_FALSE(nn::cached_attention(q, cache, 2).requires_grad());
  CHECK(thrown([&] {
          cache.append(randn({2, 1, 6}), randn({2, 1, 8}));
        }) == "ShapeError: KeyValueCache::append: [2, 1, 6] does not continue a cache of 2 rows of size 8");
  CHECK(thrown([&] {
          cache.append(randn({2, 1, 8}), randn({2, 2, 8}));
        }) == "ShapeError: KeyValueCache::append: k [2, 1, 8] and v [2, 2, 8] do not fit [b, t, g d], [b, t, g d']");
  CHECK(refusal<DTypeError>([&] { cache.append(randn({2, 1, 8}, float64), randn({2, 1, 8}, float64)); }) != "");
  CHECK(refusal<IndexError>([&] { cache.reorder(index_tensor({0, 2}, {2})); }) != "");
  CHECK(thrown([&] { cache.truncate(4); }) == "ValueError: KeyValueCache::truncate: tokens = 4 is not in [0, 3]");
  CHECK(thrown([&] {
          nn::cached_attention(randn({1, 1, 8}), cache, 2);
        }) == "ShapeError: cached_attention: q [1, 1, 8] does not fit a cache of 2 rows");
  CHECK(thrown([&] { nn::cached_attention(q, cache, 2, {.window = 3}); }) ==
        "ValueError: cached_attention: window = 3 must be at least 0, and 0 unless causal");
  CHECK(thrown([&] {
          nn::cached_attention(q, cache, 2, {.key_padding_mask = zeros({2, 4}, boolean)});
        }) == "ShapeError: cached_attention: key_padding_mask [2, 4] must be [2, 3]");
  CHECK(cache.length() == 3);
}

}  // namespace
}  // namespace attune::tests
