// Random fills: what each element is, on every instruction set and at any thread count.
#include "autograd/kernels/random.h"
#include "autograd/runtime/parallel.h"
#include "tests/unit/kernel_checks.h"

namespace attune::tests {

TEST_CASE("random: element i depends on the key and i alone") {
  const RandomKey key{7, 3};
  const int before = num_threads();
  const auto same_everywhere = [&](auto zero, auto draw) {
    using T = decltype(zero);
    constexpr std::size_t n = 40'001;
    std::vector<T> all(n), again(n);
    set_num_threads(1);
    draw(all.data(), static_cast<std::int64_t>(n));
    for (int threads : {2, 4}) {
      set_num_threads(threads);
      draw(again.data(), static_cast<std::int64_t>(n));
      CHECK(again == all);
    }
    for (const std::size_t fewer : std::vector<std::size_t>{1, 2, 3, 5, 100, 8191}) {
      std::vector<T> begin(fewer);
      draw(begin.data(), static_cast<std::int64_t>(fewer));
      CHECK(std::equal(begin.begin(), begin.end(), all.begin()));
    }
  };
  std::vector<float> x(40'001, 2);
  same_everywhere(0.0F, [&](float* y, std::int64_t n) { kernels::uniform<float>(key, -1, 2, y, n); });
  same_everywhere(0.0, [&](double* y, std::int64_t n) { kernels::uniform<double>(key, -1, 2, y, n); });
  same_everywhere(0.0F, [&](float* y, std::int64_t n) { kernels::normal<float>(key, 0, 1, y, n); });
  same_everywhere(0.0, [&](double* y, std::int64_t n) { kernels::normal<double>(key, 0, 1, y, n); });
  same_everywhere(0.0F, [&](float* y, std::int64_t n) { kernels::dropout<float>(key, 0.4, x.data(), y, n); });
  same_everywhere(std::int64_t{0}, [&](std::int64_t* y, std::int64_t n) { kernels::random_integers(key, 0, 9, y, n); });
  set_num_threads(before);
}

TEST_CASE("random: the words of every instruction set are Philox's") {
  const RandomKey key{0x123456789abcdef0, 0xfedcba9876543210};
  constexpr std::size_t n = 4 * 301 + 1;
  for_each_target([&] {
    std::vector<float> u(n);
    std::vector<double> d(n);
    kernels::uniform<float>(key, 0, 1, u.data(), n);
    kernels::uniform<double>(key, 0, 1, d.data(), n);
    for (std::size_t i = 0; i < n; ++i) {
      REQUIRE(u[i] == static_cast<float>(philox(key, i / 4)[i % 4] >> 8) * 0x1p-24F);
      const auto words = philox(key, i / 2);
      const std::uint64_t bits = words[i % 2 * 2] | std::uint64_t{words[i % 2 * 2 + 1]} << 32;
      REQUIRE(d[i] == static_cast<double>(bits >> 11) * 0x1p-53);
    }
  });
}

TEST_CASE("random: the ends of the ranges") {
  std::vector<float> y(1 << 20);
  kernels::normal<float>({1, 1}, 0, 1, y.data(), 1 << 20);
  for (float v : y) REQUIRE(std::isfinite(v));
  // So narrow that rounding would reach the upper end.
  kernels::uniform<float>({1, 1}, 1, std::nextafter(1.0F, 2.0F), y.data(), 1000);
  for (int i = 0; i < 1000; ++i) CHECK(y[static_cast<std::size_t>(i)] == 1);
  std::int64_t v[100];
  constexpr std::int64_t least = std::numeric_limits<std::int64_t>::min(),
                         most = std::numeric_limits<std::int64_t>::max();
  kernels::random_integers({1, 1}, least, most, v, 100);
  CHECK(*std::min_element(v, v + 100) < least / 2);
  CHECK(*std::max_element(v, v + 100) > most / 2);
  kernels::random_integers({1, 1}, 5, 6, v, 100);
  for (std::int64_t one : v) CHECK(one == 5);
  kernels::permutation({1, 1}, v, 0);
  kernels::permutation({1, 1}, v, 1);
  CHECK(v[0] == 0);
}

TEST_CASE("random: dropout keeps the words below (1 - p) 2^32, for every p") {
  const RandomKey key{9, 9};
  std::vector<double> x(1001), y(1001);
  std::vector<float> xf(1001), yf(1001);
  for (std::size_t i = 0; i < x.size(); ++i) xf[i] = static_cast<float>(x[i] = static_cast<double>(i) + 1);
  for (double p : {0.0, 1e-12, 0.1, 0.5, 0.9, 1 - 1e-12, 1.0}) {
    kernels::dropout(key, p, x.data(), y.data(), 1001);
    kernels::dropout(key, p, xf.data(), yf.data(), 1001);
    for (std::size_t i = 0; i < x.size(); ++i) {
      const bool kept = static_cast<double>(philox(key, i / 4)[i % 4]) < (1 - p) * 0x1p32;
      REQUIRE(y[i] == (kept ? x[i] * (1 / (1 - p)) : 0));
      REQUIRE(yf[i] == (kept ? xf[i] * static_cast<float>(1 / (1 - p)) : 0));
    }
  }
  xf[3] = std::numeric_limits<float>::quiet_NaN();
  kernels::dropout(key, 1, xf.data(), xf.data(), 1001);  // in place
  CHECK(xf == std::vector<float>(1001, 0));
}

}  // namespace attune::tests
