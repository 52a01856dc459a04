// The memory pool, threads, random numbers and the GEMM shim.

#include <doctest/doctest.h>

#include <atomic>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <thread>

#include "autograd/kernels/gemm.h"
#include "autograd/kernels/index.h"
#include "autograd/kernels/random.h"
#include "autograd/runtime/philox.h"
#include "tests/plain.h"

namespace attune::tests {
namespace {

struct Product {
  bool ta, tb;
  std::int64_t m, n, k;
};

/// C = alpha op(A) op(B) + beta C against plain loops in long double, with odd leading dimensions and NaN in C where
/// beta is 0.
template <class T>
void check_product(const Product& s, T alpha, T beta, kernels::Activation act, bool bias, std::mt19937& random) {
  std::normal_distribution<double> normal;
  const auto filled = [&](std::int64_t n) {
    std::vector<T> v(static_cast<std::size_t>(n));
    for (T& x : v) x = static_cast<T>(normal(random));
    return v;
  };
  const std::int64_t lda = (s.ta ? s.m : s.k) + 3, ldb = (s.tb ? s.k : s.n) + 1, ldc = s.n + 2;
  const std::vector<T> a = filled((s.ta ? s.k : s.m) * lda + 1), b = filled((s.tb ? s.n : s.k) * ldb + 1),
                       offset = filled(s.n);
  std::vector<T> c = filled(s.m * ldc + 1), pre(c.size());
  const std::vector<T> before = c;
  if (beta == T{0})
    for (T& x : c) x = std::numeric_limits<T>::quiet_NaN();
  kernels::gemm<T>({.trans_a = s.ta,
                    .trans_b = s.tb,
                    .m = s.m,
                    .n = s.n,
                    .k = s.k,
                    .alpha = alpha,
                    .a = a.data(),
                    .lda = lda,
                    .b = b.data(),
                    .ldb = ldb,
                    .beta = beta,
                    .c = c.data(),
                    .ldc = ldc,
                    .bias = bias ? offset.data() : nullptr,
                    .act = act,
                    .pre = pre.data()});
  double worst = 0;
  for (std::int64_t i = 0; i < s.m; ++i)
    for (std::int64_t j = 0; j < s.n; ++j) {
      long double sum = 0;
      for (std::int64_t p = 0; p < s.k; ++p) {
        const auto at = static_cast<std::size_t>(s.ta ? p * lda + i : i * lda + p),
                   bt = static_cast<std::size_t>(s.tb ? j * ldb + p : p * ldb + j);
        sum += static_cast<long double>(a[at]) * b[bt];
      }
      const auto ct = static_cast<std::size_t>(i * ldc + j);
      long double y =
          alpha * sum + (beta == T{0} ? 0 : beta * before[ct]) + (bias ? offset[static_cast<std::size_t>(j)] : 0);
      if (act == kernels::Activation::relu) y = std::max(y, 0.0L);
      if (act == kernels::Activation::tanh) y = std::tanh(y);
      const double error = std::abs(static_cast<double>(y) - static_cast<double>(c[ct]));
      worst = std::isnan(error) ? std::numeric_limits<double>::infinity() : std::max(worst, error);
    }
  CHECK(worst <= (sizeof(T) == 4 ? 2e-6 : 1e-14) * (4 + static_cast<double>(s.k)));
}

}  // namespace

TEST_CASE("gemm: against plain loops, in all shapes and epilogues") {
  std::mt19937 random(1);
  const auto size = [&](int most) { return static_cast<std::int64_t>(random() % static_cast<unsigned>(most)); };
  for (int i = 0; i < 300; ++i) {
    const Product s{random() % 2 == 0, random() % 2 == 0, size(i % 10 == 0 ? 700 : 40), size(40),
                    size(i % 7 == 0 ? 300 : 30)};
    CAPTURE(s.m);
    CAPTURE(s.n);
    CAPTURE(s.k);
    const kernels::Activation act =
        std::array{kernels::Activation::none, kernels::Activation::relu, kernels::Activation::tanh}[random() % 3];
    check_product<double>(s, random() % 3 ? 1.0 : -0.5, static_cast<double>(random() % 3) * 0.5, act, random() % 2,
                          random);
    check_product<float>(s, random() % 3 ? 1.0f : 0.0f, static_cast<float>(random() % 2), act, random() % 2, random);
  }
  check_product<float>({true, false, 16, 24, 9000}, 1, 0, kernels::Activation::none, true, random);  // slices of k
  check_product<float>({false, true, 1500, 70, 33}, 1, 1, kernels::Activation::relu, true, random);  // several tiles
}

TEST_CASE("gemm: batches with shared and transposed operands") {
  const Tensor a = randn({3, 1, 4, 5}, float64), b = randn({2, 6, 5}, float64);
  const Tensor y = matmul(a, transpose(b));
  REQUIRE(y.shape() == Shape{3, 2, 4, 6});
  for (std::int64_t i = 0; i < 3; ++i)
    for (std::int64_t j = 0; j < 2; ++j) {
      const Tensor one = matmul(select(select(a, 0, i), 0, 0), contiguous(transpose(select(b, 0, j))));
      CHECK(amax(abs(one - select(select(y, 0, i), 0, j))).item() < 1e-12);
    }
}

TEST_CASE("pool: blocks are aligned, counted and reused") {
  const MemoryStats before = memory_stats();
  {
    const Tensor x = empty({1000, 1000});
    CHECK(reinterpret_cast<std::uintptr_t>(x.raw()) % 64 == 0);
    CHECK(memory_stats().live_bytes >= before.live_bytes + 4'000'000);
    CHECK(memory_stats().peak_bytes >= memory_stats().live_bytes);
  }
  CHECK(memory_stats().live_bytes == before.live_bytes);
  CHECK(memory_stats().live_blocks == before.live_blocks);
  reset_peak_memory();
  CHECK(memory_stats().peak_bytes == memory_stats().live_bytes);
  release_cached_memory();
  CHECK(memory_stats().cached_bytes >= 0);
}

TEST_CASE("pool: a block may be freed by another thread than the one that made it") {
  const std::int64_t before = memory_stats().live_blocks;
  for (int round = 0; round < 20; ++round) {
    std::vector<Tensor> made(64);
    std::thread([&] {
      for (std::size_t i = 0; i < made.size(); ++i) made[i] = zeros({static_cast<std::int64_t>(i * 100)});
    }).join();
    std::thread([&] { made.clear(); }).join();
  }
  CHECK(memory_stats().live_blocks == before);
}

TEST_CASE("pool: what cannot be had is refused before anything is allocated") {
  CHECK(refusal<MemoryError>([] { empty({std::int64_t{1} << 50}); }).find("memory: ") == 0);
  CHECK(refusal<ShapeError>([] {
          empty({std::int64_t{1} << 40, std::int64_t{1} << 40});
        }).find("shape: the number of elements of ") == 0);
  CHECK(refusal<ShapeError>([] { empty({std::int64_t{1} << 61}, float64); }).find("overflow 64 bits") !=
        std::string::npos);
  CHECK(refusal<ShapeError>([] { empty({-1}); }) == "shape: negative size in [-1]");
  CHECK(refusal<ValueError>([] { set_memory_budget(-1); }).find("set_memory_budget: ") == 0);
}

TEST_CASE("threads: pieces depend on the sizes alone, and the lowest failure wins") {
  const int before = num_threads();
  for (int threads : {1, 2, 4}) {
    set_num_threads(threads);
    std::atomic<std::int64_t> sum{0}, pieces{0};
    parallel_for(1000, 64, [&](std::int64_t begin, std::int64_t end) {
      CHECK(begin % 64 == 0);
      for (std::int64_t i = begin; i < end; ++i) sum += i;
      ++pieces;
      parallel_for(10, 1, [&](std::int64_t, std::int64_t) {});  // inside another one: on this thread
    });
    CHECK(sum == 499'500);
    CHECK(pieces == 16);
    CHECK(refusal<ValueError>([] {
            parallel_for(100, 1, [](std::int64_t begin, std::int64_t) {
              if (begin >= 30) throw ValueError("piece " + std::to_string(begin));
            });
          }) == "piece 30");
  }
  set_num_threads(before);
  CHECK(refusal<ValueError>([] { set_num_threads(0); }) == "set_num_threads: 0 threads; it takes 1 to 4096");
}

TEST_CASE("random: Philox4x32-10 gives the published numbers") {
  using Words = std::array<std::uint32_t, 4>;
  CHECK(philox({0, 0}, 0) == Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8});
  CHECK(philox({~0ull, ~0ull}, ~0ull) == Words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd});
  CHECK(philox({0x299f31d0a4093822, 0x0370734413198a2e}, 0x85a308d3243f6a88) ==
        Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1});
}

TEST_CASE("random: moments, ranges and replay") {
  Generator g(4);
  const RandomKey state = g.state();
  for (DType dtype : {float32, float64}) {
    const Tensor z = randn({100'000}, dtype, g), u = rand({100'000}, dtype, g);
    CHECK(std::abs(mean(z).item()) < 0.02);
    CHECK(var(z).item() == doctest::Approx(1).epsilon(0.02));
    CHECK(mean(square(square(z))).item() == doctest::Approx(3).epsilon(0.05));
    CHECK(amin(u).item() >= 0);
    CHECK(amax(u).item() < 1);
    CHECK(mean(u).item() == doctest::Approx(0.5).epsilon(0.01));
  }
  g.set_state(state);
  const std::vector<double> once = randn({5}, float32, g).to_vector<double>();
  g.set_state(state);
  CHECK(randn({5}, float32, g).to_vector<double>() == once);
  std::vector<int> counts(7);
  for (std::int64_t v : randint(-3, 4, {70'000}, g).to_vector<std::int64_t>())
    ++counts.at(static_cast<std::size_t>(v + 3));
  for (int c : counts) CHECK(std::abs(c - 10'000) < 500);
  std::vector<std::int64_t> order = randperm(1000, g).to_vector<std::int64_t>();
  CHECK(order[0] + order[1] + order[2] != 3);
  std::sort(order.begin(), order.end());
  for (std::size_t i = 0; i < order.size(); ++i) CHECK(order[i] == static_cast<std::int64_t>(i));
}

TEST_CASE("random: dropout keeps the share and the mean, and its gradient has the same mask") {
  const Tensor x = ones({100'000}).requires_grad_();
  const Tensor y = dropout_at(x, 0.3, {1, 2});
  CHECK(mean(y).item() == doctest::Approx(1).epsilon(0.02));
  CHECK(mean(to(eq(y, 0), float32)).item() == doctest::Approx(0.3).epsilon(0.02));
  sum(y).backward();
  CHECK(all(eq(x.grad(), y.detach())));
  CHECK(all(eq(dropout_at(x, 1, {1, 2}), 0)));
  CHECK(all(eq(dropout_at(x, 0, {1, 2}), 1)));
}

}  // namespace attune::tests
