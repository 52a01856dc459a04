// Derivatives by a pattern: what they cost, and where there is nothing to differentiate.
#include "tests/unit/attention_checks.h"

using namespace attune;
using namespace attune::tests;

TEST_CASE("AttentionPattern: second derivatives cost what is seen") {
  const auto peak = [](std::int64_t n) {
    const Tensors xs{normal({1, 1, n, 8}, 1), normal({1, 1, n, 8}, 2), normal({1, 1, n, 8}, 3)};
    reset_peak_memory();
    const std::int64_t before = memory_stats().peak_bytes;
    all_orders(xs,
               {.pattern = AttentionPattern::sliding_window(32) | AttentionPattern::global_tokens(eq(arange(n), 0))},
               normal({1, 1, n, 8}, 4));
    return static_cast<double>(memory_stats().peak_bytes - before);
  };
  CHECK(peak(4096) < 2.3 * peak(2048));
}

TEST_CASE("AttentionPattern: where nothing is seen, derivatives of every order are zeros") {
  const std::int64_t n = 70;
  const Tensors xs{normal({1, 2, n, 4}, 1), normal({1, 2, n, 4}, 2), normal({1, 2, n, 3}, 3)};
  const auto nothing = AttentionPattern::padding(full({n}, 1, boolean));
  for (const Tensor& x : all_orders(xs, {.pattern = nothing}, normal({1, 2, n, 3}, 4))) CHECK(same(x, zeros_like(x)));
}

TEST_CASE("AttentionPattern: second derivatives with one axis of heads or none, more queries than keys, NaN unseen") {
  const auto pattern = AttentionPattern::sliding_window(12) & AttentionPattern::causal();
  for (const Dims& lengths : {Dims{150, 150}, Dims{90, 400}, Dims{330, 200}})
    for (const Shape& lead : {Shape{}, Shape{3}}) {
      const std::int64_t t = lengths[0], s = lengths[1];
      INFO(t, " ", s, " ", lead.rank());
      const auto drawn = [&](std::int64_t n, std::uint64_t seed) {
        Shape shape = lead;
        shape.push_back(n), shape.push_back(5);
        return normal(shape, seed);
      };
      const Tensors xs{drawn(t, 1), drawn(s, 2), drawn(s, 3)};
      const Tensor dy = drawn(t, 4), padding = gt(normal({s}, 5), 1);
      const Tensors found = all_orders(xs, {.attention_mask = unsqueeze(padding, 0), .pattern = pattern}, dy);
      const Tensors expected = all_orders(xs, {.attention_mask = logical_or(pattern.mask(t, s), padding)}, dy);
      for (std::size_t i = 0; i < found.size(); ++i) CHECK(close(found[i], Plain(expected[i]), 1e-10));
      const Tensor at = unsqueeze(padding, 1);
      const Tensors holes{xs[0], masked_fill(xs[1], at, not_a_number), masked_fill(xs[2], at, inf)};
      const Tensors again = all_orders(holes, {.attention_mask = unsqueeze(padding, 0), .pattern = pattern}, dy);
      for (std::size_t i = 0; i < found.size(); ++i) CHECK(close(again[i], Plain(expected[i]), 1e-10));
    }
}
