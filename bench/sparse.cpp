// What sparse attention costs: patterns beside exact attention, forward and backward. For each the share of tiles that
// it computes, its time over exact attention's, and that ratio over the share, which is 1 if time follows what is seen;
// then a sliding window at growing lengths, in time a token. Times are medians of passes in turn.

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <vector>

#include "autograd/autograd.h"

using namespace attune;

namespace {

struct Sizes {
  std::int64_t heads = 8, d = 64;
  int repeats = 7;
};

/// Seconds of a forward and backward pass with each pattern: medians of passes in turn, after a first one of each. As
/// in a model, heads lie side by side in memory, and gradients arrive as they lie there.
std::vector<double> seconds(const Sizes& s, std::int64_t n, const std::vector<AttentionPattern>& patterns) {
  Generator g(1);
  const auto draw = [&] { return randn({1, n, s.heads, s.d}, float32, g); };
  const auto by_head = [](const Tensor& x) { return permute(x, {0, 2, 1, 3}); };
  Tensor q = draw().requires_grad_(), k = draw().requires_grad_(), v = draw().requires_grad_();
  const Tensor dy = by_head(draw());
  std::vector<std::vector<double>> times(patterns.size());
  for (int i = 0; i <= s.repeats; ++i)
    for (std::size_t j = 0; j < patterns.size(); ++j) {
      const auto begin = std::chrono::steady_clock::now();
      scaled_dot_product_attention(by_head(q), by_head(k), by_head(v), {.pattern = patterns[j]})
          .output.backward({.gradient = dy});
      for (Tensor* x : {&q, &k, &v}) x->zero_grad();
      if (i > 0) times[j].push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
    }
  std::vector<double> medians;
  for (auto& t : times) {
    std::ranges::nth_element(t, t.begin() + std::ssize(t) / 2);
    medians.push_back(t[t.size() / 2]);
  }
  return medians;
}

/// `count` blocks a block of queries, drawn.
AttentionPattern drawn_blocks(std::int64_t count, std::int64_t block, std::int64_t n) {
  Generator g(5);
  return AttentionPattern::chosen_blocks(randint(0, n / block, {n / block, count}, g), block, n);
}

void compare(const Sizes& s, std::int64_t n) {
  using P = AttentionPattern;
  Generator g(3);
  const std::vector<P> patterns{
      {},
      P::causal(),
      P::sliding_window(512),
      P::sliding_window(2048),
      P::band(512),
      P::bigbird(P::draw_blocks(s.heads, 3, 64, n, g), 64, n),
      drawn_blocks(7, 64, n),
      drawn_blocks(16, 64, n),
      drawn_blocks(64, 64, n),
      (P::band(128) | P::strided(128)) & P::causal(),
      P::fixed(128, 8) & P::causal(),
  };
  const std::vector<double> times = seconds(s, n, patterns);
  const double exact = times[0];
  fmt::print("{} tokens, {} heads of {}: exact attention {:.3f} s\n", n, s.heads, s.d, exact);
  fmt::print("{:44} {:>8} {:>8} {:>8}\n", "pattern", "density", "time", "ratio");
  for (std::size_t i = 1; i < patterns.size(); ++i) {
    const double share = patterns[i].density(n, n), time = times[i] / exact;
    fmt::print("{:44} {:8.4f} {:8.4f} {:8.3f}\n", patterns[i].str(), share, time, time / share);
  }
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("What sparse attention costs beside exact attention.");
  Sizes s;
  std::int64_t n = 8192, window = 512, longest = 65536, beside = 32768;
  app.add_option("--heads", s.heads)->capture_default_str();
  app.add_option("--repeats", s.repeats)->check(CLI::PositiveNumber)->capture_default_str();
  app.add_option("--length", n, "of the patterns, a multiple of 64; 0: none")->capture_default_str();
  app.add_option("--window", window, "even")->capture_default_str();
  app.add_option("--longest", longest, "of the window")->capture_default_str();
  app.add_option("--beside", beside, "length at which the window is compared with exact attention; 0: none")
      ->capture_default_str();
  CLI11_PARSE(app, argc, argv);

  if (n > 0) compare(s, n);
  const auto pattern = AttentionPattern::sliding_window(window);
  for (std::int64_t length = 1024; length <= longest; length *= 2)
    fmt::print("{} at {:6} tokens: {:8.3f} us a token and head\n", pattern.str(), length,
               1e6 * seconds(s, length, {pattern})[0] / static_cast<double>(length * s.heads));
  if (beside > 0) {
    const Sizes one{.heads = 1, .repeats = 1};
    const std::vector<double> times = seconds(one, beside, {AttentionPattern{}, pattern});
    const double exact = times[0], sparse = times[1];
    fmt::print("at {} tokens: exact attention {:.2f} s, the window {:.3f} s, {:.1f} times as fast\n", beside, exact,
               sparse, exact / sparse);
  }
  return 0;
}
