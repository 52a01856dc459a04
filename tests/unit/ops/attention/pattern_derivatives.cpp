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
