// Reductions against plain loops in long double, on every instruction set.
#include "autograd/kernels/reduce.h"

#include <numeric>

#include "autograd/runtime/parallel.h"
#include "tests/unit/kernel_checks.h"

using namespace attune;
using namespace attune::kernels;

namespace {

struct Sizes {
  std::int64_t outer, n, inner;
};
const Sizes sizes[] = {{1, 1, 1},   {3, 7, 1},    {5, 33, 1},    {1, 200001, 1}, {2, 9000, 1},  {1, 3, 5},
                       {2, 100, 3}, {3, 65, 300}, {1, 3000, 70}, {2, 5, 1030},   {1, 70000, 3}, {4, 1, 6}};

template <class T>
std::vector<T> reduced(Reduce f, const std::vector<T>& x, Sizes s) {
  std::vector<T> y(static_cast<std::size_t>(s.outer * s.inner));
  reduce(f, x.data(), s.outer, s.n, s.inner, y.data());
  return y;
}

/// Calls f(row values) for every reduced row of x.
template <class T, class F>
void each_row(const std::vector<T>& x, Sizes s, F f) {
  std::vector<T> row(static_cast<std::size_t>(s.n));
  for (std::int64_t o = 0; o < s.outer; ++o)
    for (std::int64_t i = 0; i < s.inner; ++i) {
      for (std::int64_t k = 0; k < s.n; ++k)
        row[static_cast<std::size_t>(k)] = x[static_cast<std::size_t>((o * s.n + k) * s.inner + i)];
      f(row);
    }
}

}  // namespace

TEST_CASE_TEMPLATE("reductions along any axis", T, float, double) {
  for_each_target([&] {
    for (const Sizes& s : sizes) {
      INFO(s.outer, " ", s.n, " ", s.inner);
      const std::vector<T> x = random_values<T>(s.outer * s.n * s.inner);
      Reals sums, magnitudes, largest, smallest;
      std::vector<std::int64_t> first_largest, first_smallest;
      each_row(x, s, [&](const std::vector<T>& row) {
        sums.push_back(std::accumulate(row.begin(), row.end(), Real{0}));
        magnitudes.push_back(
            std::accumulate(row.begin(), row.end(), Real{0}, [](Real t, T v) { return t + std::abs(v); }));
        largest.push_back(*std::max_element(row.begin(), row.end()));
        smallest.push_back(*std::min_element(row.begin(), row.end()));
        first_largest.push_back(std::max_element(row.begin(), row.end()) - row.begin());
        first_smallest.push_back(std::min_element(row.begin(), row.end()) - row.begin());
      });
      std::vector<T> relative = reduced(Reduce::sum, x, s);  // errors relative to the sum of magnitudes
      Reals zeros(sums.size());
      for (std::size_t i = 0; i < sums.size(); ++i)
        relative[i] = static_cast<T>((static_cast<Real>(relative[i]) - sums[i]) / magnitudes[i]);
      CHECK(error(relative, zeros) < 2);
      CHECK(error(reduced(Reduce::max, x, s), largest) == 0);
      CHECK(error(reduced(Reduce::min, x, s), smallest) == 0);
      std::vector<std::int64_t> at(sums.size());
      arg_extreme(true, x.data(), s.outer, s.n, s.inner, at.data());
      CHECK((at == first_largest));
      arg_extreme(false, x.data(), s.outer, s.n, s.inner, at.data());
      CHECK((at == first_smallest));

      std::vector<T> near_one = x;
      for (T& v : near_one) v = 1 + v / 1024;
      Reals products;
      each_row(near_one, s, [&](const std::vector<T>& row) {
        products.push_back(std::accumulate(row.begin(), row.end(), Real{1}, std::multiplies<>()));
      });
      CHECK(error(reduced(Reduce::prod, near_one, s), products) < 500);
    }
  });
}

TEST_CASE("a sum of ten million floats stays accurate") {
  const std::int64_t n = 10'000'000;
  std::vector<float> x(static_cast<std::size_t>(n));
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = 0.1f + static_cast<float>(i % 97) * 0.013f;
  const double want = std::accumulate(x.begin(), x.end(), 0.0);
  for_each_target([&] {
    for (std::int64_t inner : {1, 8}) {
      const std::vector<float> y = reduced(Reduce::sum, x, {1, n / inner, inner});
      const double got = std::accumulate(y.begin(), y.end(), 0.0);
      CHECK(std::abs(got - want) <= 3e-7 * want);
    }
    CHECK(dot(x.data(), x.data(), n) ==
          doctest::Approx(std::inner_product(x.begin(), x.end(), x.begin(), 0.0)).epsilon(1e-6));
  });
}

TEST_CASE_TEMPLATE("reductions: empty, NaN, infinities and ties", T, float, double) {
  for_each_target([&] {
    for (std::int64_t inner : {1, 5}) {
      CHECK(reduced(Reduce::sum, std::vector<T>{}, {2, 0, inner})[1] == 0);
      CHECK(reduced(Reduce::prod, std::vector<T>{}, {2, 0, inner})[1] == 1);
      CHECK(reduced(Reduce::sum, std::vector<T>{}, {0, 3, inner}).empty());
      for (std::int64_t n = 1; n <= 40; ++n) {
        std::vector<T> x(static_cast<std::size_t>(n * inner), T{2});
        std::int64_t position[5];
        arg_extreme(true, x.data(), 1, n, inner, position);
        CHECK(position[inner - 1] == 0);
        for (std::int64_t at = 0; at < n; ++at) {
          T& last = x[static_cast<std::size_t>(at * inner + inner - 1)];  // the last column's row `at`
          const auto result = [&](Reduce f, T v) {
            last = v;
            return reduced(f, x, {1, n, inner})[static_cast<std::size_t>(inner - 1)];
          };
          bool ok = std::isnan(result(Reduce::max, nan_of<T>)) && std::isnan(result(Reduce::min, nan_of<T>)) &&
                    std::isnan(result(Reduce::sum, nan_of<T>));
          arg_extreme(false, x.data(), 1, n, inner, position);
          ok = ok && position[inner - 1] == at;
          ok = ok && result(Reduce::max, inf_of<T>) == inf_of<T> && result(Reduce::min, -inf_of<T>) == -inf_of<T>;
          last = T{2};
          CHECK(ok);
        }
      }
      const std::vector<T> low(static_cast<std::size_t>(3 * inner), -inf_of<T>);
      CHECK(reduced(Reduce::max, low, {1, 3, inner})[0] == -inf_of<T>);
    }
  });
}

TEST_CASE_TEMPLATE("integer reductions", T, std::int64_t, std::int32_t) {
  for_each_target([&] {
    for (const Sizes& s : sizes) {
      std::vector<T> x(static_cast<std::size_t>(s.outer * s.n * s.inner));
      for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<T>(i * 7919 % 1009) - 500;
      std::vector<T> sums, largest, smallest;
      each_row(x, s, [&](const std::vector<T>& row) {
        sums.push_back(std::accumulate(row.begin(), row.end(), T{0}));
        largest.push_back(*std::max_element(row.begin(), row.end()));
        smallest.push_back(*std::min_element(row.begin(), row.end()));
      });
      CHECK((reduced(Reduce::sum, x, s) == sums));
      CHECK((reduced(Reduce::max, x, s) == largest));
      CHECK((reduced(Reduce::min, x, s) == smallest));
    }
    CHECK(reduced(Reduce::prod, std::vector<T>{2, 3, -7}, {1, 3, 1})[0] == -42);
    CHECK(reduced(Reduce::sum, std::vector<T>{std::numeric_limits<T>::max(), 1}, {1, 2, 1})[0] ==
          std::numeric_limits<T>::min());
  });
}

TEST_CASE_TEMPLATE("cumsum", T, float, double, std::int64_t, std::int32_t) {
  for (const Sizes& s : sizes) {
    std::vector<T> x(static_cast<std::size_t>(s.outer * s.n * s.inner)), y(x.size());
    for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<T>(i % 11);
    cumsum(x.data(), s.outer, s.n, s.inner, y.data());
    int wrong = 0;
    for (std::int64_t o = 0; o < s.outer; ++o)
      for (std::int64_t i = 0; i < s.inner; ++i) {
        double total = 0;
        for (std::int64_t k = 0; k < s.n; ++k) {
          const auto at = static_cast<std::size_t>((o * s.n + k) * s.inner + i);
          total += static_cast<double>(x[at]);
          wrong += y[at] != static_cast<T>(total);
        }
      }
    CHECK(wrong == 0);
  }
}

TEST_CASE("reductions give the same bits with any number of threads") {
  const std::int64_t n = 210'000;
  const std::vector<float> x = random_values<float>(n), other = random_values<float>(n, 1, 4);
  const auto run = [&](int threads) {
    set_num_threads(threads);
    std::vector<double> all = {dot(x.data(), other.data(), n)};
    for (const Sizes& s :
         {Sizes{1, n, 1}, Sizes{1, n / 4, 4}, Sizes{1, 300, 700}, Sizes{70, 1500, 2}, Sizes{300, 700, 1}})
      for (float v : reduced(Reduce::sum, x, s)) all.push_back(v);
    return all;
  };
  const int before = num_threads();
  const std::vector<double> want = run(1);
  CHECK((run(2) == want));
  CHECK((run(4) == want));
  set_num_threads(before);
}
