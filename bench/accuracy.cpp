// The largest error of every function of one operand over all float32 numbers, in units of the last place:
// `accuracy [--stride N] [--function NAME]`. A stride of 1 tries each of the 2^32 patterns, which takes minutes. The
// reference is the C library in double. Errors of results below the smallest normal number count in its units.

#include <CLI/CLI.hpp>
#include <bit>
#include <cstdio>
#include <mutex>
#include <vector>

#include "autograd/autograd.h"
#include "tests/unit/accuracy.h"

using namespace attune;

namespace {

struct Worst {
  double ulp = 0;
  float x = 0;
};

Worst worst_error(const tests::UnaryCase& c, std::uint64_t stride) {
  constexpr std::int64_t block = 1 << 14;
  const std::int64_t count = static_cast<std::int64_t>(((std::uint64_t{1} << 32) + stride - 1) / stride);
  Worst worst;
  std::mutex mutex;
  parallel_for((count + block - 1) / block, 1, [&](std::int64_t begin, std::int64_t end) {
    std::vector<float> x(block), y(block);
    Worst mine;
    for (std::int64_t b = begin; b < end; ++b) {
      const std::int64_t n = std::min(block, count - b * block);
      for (std::int64_t i = 0; i < n; ++i)
        x[static_cast<std::size_t>(i)] =
            std::bit_cast<float>(static_cast<std::uint32_t>(static_cast<std::uint64_t>(b * block + i) * stride));
      kernels::unary<float>(c.f, {n}, {x.data(), {1}}, y.data());
      for (std::size_t i = 0; i < static_cast<std::size_t>(n); ++i)
        if (const double e = tests::ulp_error(y[i], c.reference(static_cast<double>(x[i]))); e > mine.ulp)
          mine = {e, x[i]};
    }
    const std::lock_guard lock(mutex);
    if (mine.ulp > worst.ulp) worst = mine;
  });
  return worst;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("The largest error of each function over float32, in units of the last place.");
  std::uint64_t stride = 1;
  std::string only;
  app.add_option("--stride", stride, "every so many bit patterns")
      ->check(CLI::Range(1, 1 << 30))
      ->capture_default_str();
  app.add_option("--function", only, "this function alone");
  CLI11_PARSE(app, argc, argv);
  std::printf("| function | largest error, ULP | at |\n|---|---|---|\n");
  bool any = false;
  for (const tests::UnaryCase& c : tests::unary_cases) {
    if (!only.empty() && only != c.name) continue;
    any = true;
    const Worst w = worst_error(c, stride);
    std::printf("| %s | %.2f | %.9g |\n", c.name, w.ulp, static_cast<double>(w.x));
    std::fflush(stdout);
  }
  if (!any) std::fprintf(stderr, "accuracy: there is no function %s\n", only.c_str());
  return any ? 0 : 2;
}
