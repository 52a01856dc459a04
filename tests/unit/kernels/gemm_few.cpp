// Products of a few rows: every count of rows, layout and odd size against plain loops, values that are not finite, and
// the bits, which neither threads nor neighbouring rows change.
#include <array>
#include <cstring>

#include "autograd/kernels/gemm.h"
#include "autograd/kernels/gemm_few.h"
#include "autograd/runtime/parallel.h"
#include "tests/unit/kernel_checks.h"

namespace attune::tests {
namespace {

using kernels::Gemm;
using Size = std::int64_t;

/// C = alpha op(A) op(B) + beta C with gaps between the rows of all.
template <class T>
struct Few {
  Gemm<T> g;
  std::vector<T> a, b, c, bias;

  Few(bool ta, bool tb, Size m, Size n, Size k, Size gap = 0) {
    g.trans_a = ta;
    g.trans_b = tb;
    g.m = m;
    g.n = n;
    g.k = k;
    g.lda = (ta ? m : k) + gap;
    g.ldb = (tb ? k : n) + gap;
    g.ldc = n + gap;
    a = random_values<T>((ta ? k : m) * g.lda, 1, 1);
    b = random_values<T>((tb ? n : k) * g.ldb, 1, 2);
    c = random_values<T>(m * g.ldc, 1, 3);
    bias = random_values<T>(n, 1, 4);
    point();
  }
  void point() {
    g.a = a.data();
    g.b = b.data();
    g.c = c.data();
  }
  Real want(Size i, Size j) const {
    Real sum = 0;
    for (Size p = 0; p < g.k; ++p)
      sum += static_cast<Real>(g.a[g.trans_a ? p * g.lda + i : i * g.lda + p]) *
             g.b[g.trans_b ? j * g.ldb + p : p * g.ldb + j];
    Real y = g.alpha * sum + (g.bias ? g.bias[j] : T{0});
    if (g.beta != T{0}) y += static_cast<Real>(g.beta) * c[static_cast<std::size_t>(i * g.ldc + j)];
    return g.act == Activation::relu ? std::max(y, Real{0}) : y;
  }
  Reals expected() const {
    Reals y;
    for (Size i = 0; i < g.m; ++i)
      for (Size j = 0; j < g.n; ++j) y.push_back(want(i, j));
    return y;
  }
  std::vector<T> result() const {
    std::vector<T> y;
    for (Size i = 0; i < g.m; ++i)
      for (Size j = 0; j < g.n; ++j) y.push_back(c[static_cast<std::size_t>(i * g.ldc + j)]);
    return y;
  }
  double bound() const { return 4 + 2 * static_cast<double>(g.k); }
};

template <class T>
bool same_bits(const std::vector<T>& x, const std::vector<T>& y) {
  return x.size() == y.size() && std::memcmp(x.data(), y.data(), x.size() * sizeof(T)) == 0;
}

struct Sizes {
  Size n, k;
};

template <class T>
void check_layouts(Size m, Sizes s) {
  for (const bool ta : {false, true})
    for (const bool tb : {false, true})
      for (const Size gap : {0, 3}) {
        INFO(m, " x ", s.n, " x ", s.k, " ta ", ta, " tb ", tb, " gap ", gap);
        Few<T> p(ta, tb, m, s.n, s.k, gap);
        p.g.alpha = T(-0.5);
        p.g.beta = gap == 0 ? T(0) : T(2);
        p.g.bias = p.bias.data();
        p.g.act = ta ? Activation::relu : Activation::none;
        const Reals want = p.expected();
        if (gap == 0) std::fill(p.c.begin(), p.c.end(), nan_of<T>);  // beta = 0: must not be read
        const std::vector<T> before = p.c;
        kernels::gemm(p.g);
        CHECK(error(p.result(), want) <= p.bound());
        for (Size i = 0; i < m; ++i)  // between the rows nothing is written
          for (Size j = s.n; j < p.g.ldc; ++j) {
            const auto at = static_cast<std::size_t>(i * p.g.ldc + j);
            CHECK(std::memcmp(&p.c[at], &before[at], sizeof(T)) == 0);
          }
      }
}

}  // namespace

TEST_CASE("few rows: all layouts, odd sizes, both precisions") {
  for_each_target([] {
    for (Size m = 1; m <= kernels::few_rows + 1; ++m)
      for (const Sizes& s : {Sizes{2, 1}, {3, 33}, {17, 40}, {64, 64}, {131, 257}, {519, 35}}) {
        check_layouts<float>(m, s);
        check_layouts<double>(m, s);
      }
  });
}

TEST_CASE("few rows: what is shared between threads") {
  for_each_target([] {
    for (const Size m : {1, 3, 8})
      for (const Sizes& s : {Sizes{700, 301}, {65, 5000}, {8200, 19}, {5000, 40}}) check_layouts<float>(m, s);
  });
}

TEST_CASE("few rows: the bits depend on neither the threads nor the other rows") {
  const int before = num_threads();
  for_each_target([] {
    if (!kernels::has_few_rows_gemm()) return;
    for (const bool tb : {false, true})
      for (const Sizes& s : {Sizes{768, 770}, {2304, 96}, {9001, 40}, {70, 4500}, {50, 64}}) {
        INFO(s.n, " x ", s.k, " tb ", tb);
        Few<float> all(false, tb, kernels::few_rows, s.n, s.k);
        all.g.bias = all.bias.data();
        all.g.act = Activation::gelu_tanh;
        set_num_threads(1);
        kernels::gemm(all.g);
        const std::vector<float> want = all.c;
        for (const int threads : {2, 3, 5}) {
          set_num_threads(threads);
          std::fill(all.c.begin(), all.c.end(), nan_of<float>);
          kernels::gemm(all.g);
          CHECK(same_bits(all.c, want));
        }
        for (Size m = 1; m < kernels::few_rows; ++m) {
          Gemm<float> some = all.g;
          some.m = m;
          some.a += (kernels::few_rows - m) * some.lda;
          std::vector<float> c(static_cast<std::size_t>(m * s.n), nan_of<float>);
          some.c = c.data();
          kernels::gemm(some);
          CHECK(same_bits(c, std::vector<float>(want.end() - m * s.n, want.end())));
        }
      }
  });
  set_num_threads(before);
}

TEST_CASE("few rows: NaN and infinity where the formula has them, and nowhere else") {
  for_each_target([] {
    for (const bool tb : {false, true})
      for (const Sizes& s : {Sizes{50, 70}, {600, 333}}) {
        Few<float> p(false, tb, 3, s.n, s.k);
        const auto b = [&](Size row, Size column) -> float& {
          return p.b[static_cast<std::size_t>(tb ? column * p.g.ldb + row : row * p.g.ldb + column)];
        };
        p.a[static_cast<std::size_t>(p.g.lda + s.k - 1)] = inf_of<float>;  // row 1, the last of k
        p.a[static_cast<std::size_t>(2 * p.g.lda)] = 0;
        b(0, s.n - 1) = nan_of<float>;  // 0 times NaN is NaN
        b(s.k - 1, 4) = 0;              // infinity times 0 too
        kernels::gemm(p.g);
        for (Size i = 0; i < 3; ++i)
          for (Size j = 0; j < s.n; ++j) {
            const float y = p.c[static_cast<std::size_t>(i * s.n + j)];
            if (j == s.n - 1 || (i == 1 && j == 4))
              CHECK(std::isnan(y));
            else if (i == 1)
              CHECK(std::isinf(y));
            else
              CHECK(std::isfinite(y));
          }
      }
  });
}

TEST_CASE("few rows: zero sizes, a repeated row, and a batch of heads") {
  for_each_target([] {
    for (const bool tb : {false, true}) {
      Few<double> none(false, tb, 4, 40, 0);
      none.g.bias = none.bias.data();
      const Reals want = none.expected();
      kernels::gemm(none.g);
      CHECK(error(none.result(), want) <= none.bound());
      Few<double> empty(false, tb, 0, 40, 40);
      kernels::gemm(empty.g);

      Few<double> repeated(false, tb, 5, 60, 70);
      repeated.g.lda = repeated.g.ldb = 0;
      const Reals same = repeated.expected();
      kernels::gemm(repeated.g);
      CHECK(error(repeated.result(), same) <= repeated.bound());

      // Heads side by side in each row, as keys and values lie in a cache.
      constexpr Size heads = 6, d = 64, keys = 300;
      const Size n = tb ? keys : d, k = tb ? d : keys;
      const std::vector<float> lefts = random_values<float>(heads * 2 * k, 1, 9);
      std::vector<float> y(static_cast<std::size_t>(heads * 2 * n));
      const std::vector<float> rows = random_values<float>(keys * heads * d, 1, 8);
      std::array<Size, heads> a_off{}, b_off{}, c_off{};
      for (Size h = 0; h < heads; ++h) {
        const auto at = static_cast<std::size_t>(h);
        a_off[at] = h * 2 * k;
        b_off[at] = h * d;
        c_off[at] = h * 2 * n;
      }
      Gemm<float> g{.trans_b = tb, .m = 2, .n = n, .k = k, .a = lefts.data(), .lda = k, .b = rows.data()};
      g.ldb = heads * d;
      g.c = y.data();
      g.ldc = n;
      kernels::gemm_batched(g, heads, a_off.data(), b_off.data(), c_off.data());
      Reals wanted;
      for (Size h = 0; h < heads; ++h)
        for (Size i = 0; i < 2; ++i)
          for (Size j = 0; j < n; ++j) {
            Real sum = 0;
            for (Size p = 0; p < k; ++p)
              sum += static_cast<Real>(lefts[static_cast<std::size_t>((2 * h + i) * k + p)]) *
                     rows[static_cast<std::size_t>(tb ? j * heads * d + h * d + p : p * heads * d + h * d + j)];
            wanted.push_back(sum);
          }
      CHECK(error(y, wanted) <= 4 + 2.0 * static_cast<double>(k));
    }
  });
}

}  // namespace attune::tests
