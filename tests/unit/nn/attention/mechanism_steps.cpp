// Decoding by every mechanism that can be causal and keeps something of fixed meaning from step to step.
#include "autograd/runtime/internal/failing_memory.h"
#include "tests/unit/attention_checks.h"

using namespace attune;
using namespace attune::tests;

namespace {

constexpr std::int64_t n = 23, d = 12, heads = 3;

std::vector<nn::AttentionMechanism> steppable() {
  return {{},
          AttentionPattern::sliding_window(6),
          AttentionPattern::band(2) | AttentionPattern::strided(5),
          AttentionPattern::sliding_window(4) | AttentionPattern::global_keys(eq(arange(n), 3)),
          AttentionPattern::chosen_blocks(randint(0, 3, {heads, 3, 1}), 9, n) | AttentionPattern::band(1),
          AttentionPattern::documents(cat({zeros({1, n}, int64), unsqueeze(to(gt(arange(n), 8), int64), 0)})),
          LocalOptions{.chunk = 4, .chunks_before = 1},
          LocalOptions{.chunk = 4, .chunks_before = 1, .ring = true},
          LinearAttentionOptions{},
          nn::PerformerOptions{.features = 16, .softmax_epsilon = 0},
          nn::PerformerOptions{.features = 16, .kernel = nn::PerformerKernel::generalized}};
}

}  // namespace

TEST_CASE("MultiheadAttention: steps by every mechanism are the full causal pass") {
  for (const nn::AttentionMechanism& m : steppable()) {
    nn::MultiheadAttention attention(d, heads, {.mechanism = m});
    attention.to(float64);
    const Tensor x = normal({2, n, d}, 1);
    const Plain full(attention(x, {.causal = true}).output);
    for (const std::int64_t prompt : {1, 9}) {
      INFO(std::string(m.name()), " ", prompt);
      nn::KeyValueCache cache;
      Tensors parts{attention.extend(slice(x, 1, 0, prompt), cache)};
      for (std::int64_t i = prompt; i < n; ++i) {
        CHECK(cache.length() == i);
        parts.push_back(attention.extend(slice(x, 1, i, i + 1), cache));
        if (i % 4 != 0) continue;
        // Undone, and done again by rows that change places and come back.
        cache.truncate(i);
        cache.reorder(tensor({1, 0}, {2}, int64));
        attention.extend(index_select(slice(x, 1, i, i + 1), 0, tensor({1, 0}, {2}, int64)), cache);
        cache.reorder(tensor({1, 0}, {2}, int64));
      }
      CHECK(close(cat(parts, 1), full, 1e-10));
    }
  }
}

TEST_CASE("TransformerDecoder: steps by every mechanism are its causal pass") {
  for (const nn::AttentionMechanism& m : steppable()) {
    INFO(std::string(m.name()));
    nn::TransformerDecoder decoder(2, d, heads, {.d_ff = 8, .dropout = 0, .mechanism = m});
    decoder.to(float64);
    const Tensor x = normal({2, n, d}, 1), memory = normal({2, 5, d}, 2);
    std::vector<nn::KeyValueCache> own(2);
    const std::vector<nn::KeyValueCache> source = decoder.read(memory);
    Tensors parts;
    for (std::int64_t i = 0; i < n; ++i) parts.push_back(decoder.step(slice(x, 1, i, i + 1), own, source));
    CHECK(close(cat(parts, 1), Plain(decoder(x, memory)), 1e-10));
  }
}

TEST_CASE("MultiheadAttention: what cannot go step by step says so; sums and keys are not mixed") {
  const Tensor x = to(normal({2, 1, d}), float32);
  const auto made = [](const nn::AttentionMechanism& m) { return nn::MultiheadAttention(d, heads, {.mechanism = m}); };
  nn::KeyValueCache cache;
  CHECK_THROWS_WITH_AS(made(LshOptions{}).extend(x, cache), doctest::Contains("no steps with lsh attention"),
                       ValueError);
  CHECK_THROWS_WITH_AS(made(LocalOptions{.chunks_after = 1, .ring = true}).extend(x, cache),
                       doctest::Contains("round a ring's ends"), ValueError);
  const nn::MultiheadAttention short_one = made(AttentionPattern::global_keys(eq(arange(2), 0)));
  nn::KeyValueCache two;
  short_one.extend(x, two);
  short_one.extend(x, two);
  CHECK_THROWS_WITH_AS(short_one.extend(x, two), doctest::Contains("is for 2 tokens, not for 3 keys"), ShapeError);
  CHECK(two.length() == 2);
  CHECK_THROWS_AS(made({}).extend(zeros({2, 0, d}), cache), ShapeError);
  CHECK_THROWS_WITH_AS(made(nn::LinformerOptions{.length = 8, .projected = 2}).extend(x, cache),
                       doctest::Contains("no steps with linformer attention"), ValueError);
  CHECK_THROWS_AS(made({}).extend(to(normal({2, 1, d + 1}), float32), cache), ShapeError);
  CHECK(cache.length() == 0);

  const nn::MultiheadAttention exact = made({}), linear = made(LinearAttentionOptions{});
  exact.extend(x, cache);
  CHECK_THROWS_WITH_AS(linear.extend(x, cache), doctest::Contains("keys and values, not sums"), ValueError);
  CHECK(cache.length() == 1);
  nn::KeyValueCache sums;
  for (int i = 0; i < 3; ++i) linear.extend(x, sums);
  CHECK_THROWS_WITH_AS(exact.extend(x, sums), doctest::Contains("sums, not keys and values"), ValueError);
  CHECK_THROWS_WITH_AS(linear.extend(to(normal({3, 1, d}), float32), sums), doctest::Contains("the state's s"),
                       ShapeError);
  CHECK_THROWS_WITH_AS(exact.step(x, sums, {}), doctest::Contains("sums, not keys and values"), ValueError);
  CHECK_THROWS_WITH_AS(sums.truncate(1), doctest::Contains("cannot become those of 1"), ValueError);
  CHECK_THROWS_AS(sums.reorder(tensor({2}, {1}, int64)), IndexError);
  CHECK(sums.length() == 3);
  sums.truncate(0);
  CHECK(close(linear.extend(x, sums), Plain(linear(x, {.causal = true}).output), 1e-5));
  CHECK_THROWS_WITH_AS(
      nn::cached_attention(x, cache, heads, {.causal = true, .window = 2, .pattern = AttentionPattern::band(2)}),
      doctest::Contains("window = 2 beside the pattern"), ValueError);
}

TEST_CASE("TransformerDecoder: a step that runs out of memory leaves the caches as they were") {
  for (const nn::AttentionMechanism& m :
       std::vector<nn::AttentionMechanism>{{}, LinearAttentionOptions{}, nn::PerformerOptions{.features = 8}}) {
    INFO(std::string(m.name()));
    nn::TransformerDecoder decoder(2, d, heads, {.d_ff = 8, .dropout = 0, .mechanism = m});
    const auto drawn = [](const Shape& shape, std::uint64_t seed) { return to(normal(shape, seed), float32); };
    const Tensor x = drawn({2, 4, d}, 1), memory = drawn({2, 5, d}, 2);
    const std::vector<nn::KeyValueCache> source = decoder.read(memory);
    std::vector<nn::KeyValueCache> own(2), other(2);
    decoder.step(slice(x, 1, 0, 3), own, source);
    decoder.step(slice(x, 1, 0, 3), other, source);
    const Tensor last = slice(x, 1, 3);
    const Tensor expected = decoder.step(last, other, source);
    long failures = 0;
    for (bool done = false; !done; ++failures) {
      attune::detail::fail_allocation(failures + 1);
      try {
        decoder.step(last, own, source);
        done = true;
      } catch (const MemoryError&) {
        for (const nn::KeyValueCache& cache : own) REQUIRE(cache.length() == 3);
      }
      if (done) attune::detail::fail_allocation(0);
    }
    CHECK(failures > 20);
    for (nn::KeyValueCache& cache : own) cache.truncate(3);
    CHECK(same(decoder.step(last, own, source), expected));
  }
}
