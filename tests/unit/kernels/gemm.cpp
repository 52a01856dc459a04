// Matrix products: every shape, layout and epilogue against plain loops, and the same bits at any thread count.
#include <sys/mman.h>

#include <cstring>
#include <sstream>
#include <thread>

#include "autograd/kernels/elementwise.h"
#include "autograd/kernels/gemm.h"
#include "autograd/kernels/gemm_packed.h"
#include "autograd/kernels/one_blas_thread.h"
#include "autograd/runtime/parallel.h"
#include "tests/unit/kernel_checks.h"

namespace attune::tests {
namespace {

using kernels::Gemm;
using Size = std::int64_t;

/// Operands of a product, with the gaps between rows that lda, ldb and ldc leave.
template <class T>
struct Product {
  Gemm<T> g;
  std::vector<T> a, b, c, bias, pre;

  Product(bool ta, bool tb, Size m, Size n, Size k, Size gap = 0, unsigned seed = 1) {
    g.trans_a = ta;
    g.trans_b = tb;
    g.m = m;
    g.n = n;
    g.k = k;
    g.lda = (ta ? m : k) + gap;
    g.ldb = (tb ? k : n) + gap;
    g.ldc = n + gap;
    a = random_values<T>((ta ? k : m) * g.lda, 1, seed);
    b = random_values<T>((tb ? n : k) * g.ldb, 1, seed + 1);
    c = random_values<T>(m * g.ldc, 1, seed + 2);
    bias = random_values<T>(n, 1, seed + 3);
    pre.assign(c.size(), T{0});
    g.a = a.data();
    g.b = b.data();
    g.c = c.data();
  }

  /// [m, n], and one bound for the rounding of all.
  Reals expected() const {
    Reals y;
    for (Size i = 0; i < g.m; ++i)
      for (Size j = 0; j < g.n; ++j) {
        Real sum = 0;
        for (Size p = 0; p < g.k; ++p)
          sum += static_cast<Real>(g.a[g.trans_a ? p * g.lda + i : i * g.lda + p]) *
                 g.b[g.trans_b ? j * g.ldb + p : p * g.ldb + j];
        Real r = g.alpha == T{0} ? 0 : g.alpha * sum;
        if (g.beta != T{0}) r += static_cast<Real>(g.beta) * c[static_cast<std::size_t>(i * g.ldc + j)];
        y.push_back(g.bias ? r + g.bias[j] : r);
      }
    return y;
  }

  /// The [m, n] elements of something laid out like C.
  std::vector<T> dense(const std::vector<T>& x) const {
    std::vector<T> y;
    for (Size i = 0; i < g.m; ++i)
      for (Size j = 0; j < g.n; ++j) y.push_back(x[static_cast<std::size_t>(i * g.ldc + j)]);
    return y;
  }

  double bound() const { return 4 + 2 * static_cast<double>(g.k); }  // epsilons: products of the order of 1
};

template <class T>
bool same_bits(const std::vector<T>& x, const std::vector<T>& y) {
  return x.size() == y.size() && std::memcmp(x.data(), y.data(), x.size() * sizeof(T)) == 0;
}

template <class T>
using Multiply = void (*)(const Gemm<T>&);

template <class T>
void by_kept_right(const Gemm<T>& g) {
  kernels::PackedRight<T>(g, 2).multiply(g);
}

template <class T>
void check_random_products(int count, Multiply<T> multiply) {
  std::mt19937 random(1);
  const auto below = [&](unsigned n) { return static_cast<Size>(random() % n); };
  for (int i = 0; i < count; ++i) {
    Product<T> p(below(2) == 0, below(2) == 0, below(i % 10 == 0 ? 700 : 40), below(i % 9 == 0 ? 500 : 40),
                 below(i % 7 == 0 ? 300 : 30), below(3), static_cast<unsigned>(i));
    p.g.alpha = std::vector<T>{1, T(-0.5), 0}[random() % 3];
    p.g.beta = std::vector<T>{0, 1, T(0.5)}[random() % 3];
    if (below(2) == 0) p.g.bias = p.bias.data();
    INFO(p.g.m, " x ", p.g.n, " x ", p.g.k, " alpha ", p.g.alpha, " beta ", p.g.beta);
    const Reals want = p.expected();
    if (p.g.beta == T{0}) std::fill(p.c.begin(), p.c.end(), nan_of<T>);  // must not be read
    const std::vector<T> before = p.c;
    multiply(p.g);
    CHECK(error(p.dense(p.c), want) <= p.bound());
    for (Size r = 0; r < p.g.m; ++r)
      for (Size gap = p.g.n; gap < p.g.ldc; ++gap) {
        const auto at = static_cast<std::size_t>(r * p.g.ldc + gap);
        CHECK(std::memcmp(&p.c[at], &before[at], sizeof(T)) == 0);  // between the rows nothing is written
      }
  }
}

}  // namespace

TEST_CASE("gemm: random shapes, layouts, alpha, beta and bias") {
  for_each_target([] {
    check_random_products<double>(300, kernels::gemm);
    check_random_products<float>(300, kernels::gemm);
  });
}

TEST_CASE("gemm: a right operand that is kept for many products") {
  for_each_target([] {
    check_random_products<double>(300, by_kept_right);
    check_random_products<float>(300, by_kept_right);
    const int before = num_threads();
    for (bool trans : {false, true}) {
      Product<float> p(false, trans, 40, 1500, 700);
      p.g.bias = p.bias.data();
      p.g.act = Activation::relu;
      const kernels::PackedRight<float> right(p.g, 2);
      kernels::gemm(p.g);
      const std::vector<float> want = p.c;
      for (int threads : {1, 2, 4}) {
        set_num_threads(threads);
        std::fill(p.c.begin(), p.c.end(), nan_of<float>);
        right.multiply(p.g);
        if (kernels::has_packed_gemm()) CHECK(same_bits(p.c, want));
        CHECK(error(p.c, Reals(want.begin(), want.end())) <= p.bound());
      }
      // Another left operand, and if there is but one product nothing is packed.
      Product<float> other(false, trans, 40, 1500, 700, 0, 7);
      other.b = p.b;
      const Reals others = other.expected();
      Gemm<float> g = other.g;
      right.multiply(g);
      CHECK(error(other.c, others) <= p.bound());
      kernels::PackedRight<float>(g, 1).multiply(g);
      CHECK(error(other.c, others) <= p.bound());
    }
    set_num_threads(before);
  });
}

TEST_CASE("gemm: tiles, slices of k, vectors") {
  for_each_target([] {
    struct Case {
      bool ta, tb;
      Size m, n, k;
    };
    for (const Case& s :
         {Case{false, true, 1500, 70, 33}, Case{false, false, 130, 2100, 40}, Case{true, false, 16, 24, 9000},
          Case{true, false, 300, 260, 300}, Case{false, false, 250, 100, 700}, Case{true, true, 45, 1050, 650},
          Case{false, false, 1, 3000, 700}, Case{false, true, 1, 1100, 90}, Case{true, true, 1, 50, 5000},
          Case{false, false, 900, 1, 400}, Case{true, true, 700, 1, 513}, Case{false, false, 1, 1, 20000}}) {
      INFO(s.m, " x ", s.n, " x ", s.k);
      for (double beta : {0.0, 1.0, 0.5}) {
        Product<float> p(s.ta, s.tb, s.m, s.n, s.k, 3);
        Product<double> q(s.ta, s.tb, s.m, s.n, s.k, 0);
        p.g.beta = static_cast<float>(beta);
        q.g.beta = beta;
        p.g.alpha = -2;
        q.g.alpha = -2;
        p.g.bias = p.bias.data();
        q.g.bias = q.bias.data();
        const Reals want_p = p.expected(), want_q = q.expected();
        kernels::gemm(p.g);
        kernels::gemm(q.g);
        CHECK(error(p.dense(p.c), want_p) <= p.bound());
        CHECK(error(q.dense(q.c), want_q) <= q.bound());
      }
    }
  });
}

TEST_CASE("gemm: the epilogue keeps C + bias and applies each activation") {
  const std::pair<Activation, kernels::Unary> all[] = {
      {Activation::relu, kernels::Unary::relu},           {Activation::gelu, kernels::Unary::gelu},
      {Activation::gelu_tanh, kernels::Unary::gelu_tanh}, {Activation::silu, kernels::Unary::silu},
      {Activation::tanh, kernels::Unary::tanh},           {Activation::sigmoid, kernels::Unary::sigmoid}};
  for (const auto& [act, function] : all)
    for (Size gap : {0, 5})
      for (Size rows : {3, 700}) {
        Product<float> p(false, true, rows, 130, 20, gap);
        p.g.bias = p.bias.data();
        p.g.act = act;
        const Reals want = p.expected();
        p.g.pre = p.pre.data();
        kernels::gemm(p.g);
        const std::vector<float> pre = p.dense(p.pre);
        CHECK(error(pre, want) <= p.bound());
        std::vector<float> y(pre.size());
        kernels::unary<float>(function, Shape{static_cast<Size>(y.size())}, {pre.data(), Strides{1}}, y.data());
        CHECK(error(p.dense(p.c), Reals(y.begin(), y.end())) <= 4);
      }
}

TEST_CASE("gemm: zero sizes are what the formula says") {
  Product<float> p(false, false, 3, 4, 0);
  p.g.beta = 2;
  p.g.bias = p.bias.data();
  p.g.act = Activation::relu;
  Reals want = p.expected();
  for (Real& x : want) x = std::max(x, Real{0});
  kernels::gemm(p.g);
  CHECK(error(p.c, want) <= 2);

  p.g.beta = 0;
  p.g.bias = nullptr;
  std::fill(p.c.begin(), p.c.end(), nan_of<float>);
  kernels::gemm(p.g);
  CHECK(p.c == std::vector<float>(12, 0.0F));

  for (const auto& [m, n] : {std::pair<Size, Size>{0, 4}, {4, 0}, {0, 0}}) {
    Product<double> q(true, true, m, n, 5);
    kernels::gemm(q.g);
    kernels::gemm_single(q.g);
  }
  const Size none = 0;
  kernels::gemm_batched(p.g, 0, &none, &none, &none);
  CHECK(p.c == std::vector<float>(12, 0.0F));
}

TEST_CASE("gemm: a leading dimension of 0 repeats one row") {
  for (bool ta : {false, true})
    for (bool tb : {false, true})
      for (const auto& [m, n, k] : {std::tuple<Size, Size, Size>{3, 4, 5}, {40, 50, 60}, {1, 300, 20}, {300, 1, 20}}) {
        Product<double> p(ta, tb, m, n, k);
        p.g.lda = 0;
        p.g.ldb = 0;
        const Reals want = p.expected();
        kernels::gemm(p.g);
        CHECK(error(p.c, want) <= p.bound());
      }
}

TEST_CASE("gemm: leading dimensions beyond int") {
  // Two rows far apart, in address space of which only the touched pages exist.
  const Size stride = (Size{1} << 31) + 5, k = 20;
  struct Space {
    explicit Space(Size n) : bytes(static_cast<std::size_t>(n) * sizeof(float)) {
      p = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    }
    ~Space() {
      if (p != MAP_FAILED) munmap(p, bytes);
    }
    std::size_t bytes;
    void* p;
  };
  const Space space(stride + 64);
  if (space.p == MAP_FAILED) {
    MESSAGE("8 GiB of address space cannot be had");
    return;
  }
  auto* far = static_cast<float*>(space.p);
  const auto put = [&](const std::vector<float>& rows, Size width) {
    for (Size i = 0; i < 2; ++i) std::copy_n(rows.data() + i * width, width, far + i * stride);
  };
  Product<float> a(false, false, 2, 30, k), b(false, true, 30, 2, k), c(false, false, 2, 30, k);
  for (Product<float>* p : {&a, &b, &c}) p->g.beta = 1;
  const Reals want_a = a.expected(), want_b = b.expected(), want_c = c.expected();
  put(a.a, k);
  a.g.a = far;
  a.g.lda = stride;
  kernels::gemm(a.g);
  CHECK(error(a.c, want_a) <= a.bound());
  put(b.b, k);
  b.g.b = far;
  b.g.ldb = stride;
  kernels::gemm(b.g);
  CHECK(error(b.c, want_b) <= b.bound());
  put(c.c, 30);
  c.g.c = far;
  c.g.ldc = stride;
  kernels::gemm(c.g);
  std::vector<float> y(far, far + 30);
  y.insert(y.end(), far + stride, far + stride + 30);
  CHECK(error(y, want_c) <= c.bound());
}

TEST_CASE("gemm: NaN and infinity come through, but not with alpha = 0") {
  for_each_target([] {
    for (Size size : {3, 40}) {
      Product<float> p(false, false, size, size, size);
      p.a[0] = inf_of<float>;
      p.b[1] = nan_of<float>;
      kernels::gemm(p.g);
      CHECK(std::isinf(p.c[0]));
      CHECK(std::isnan(p.c[1]));
      CHECK(std::isfinite(p.c[static_cast<std::size_t>(size)]));
      p.g.alpha = 0;
      kernels::gemm(p.g);
      CHECK(p.c == std::vector<float>(p.c.size(), 0.0F));
    }
  });
}

TEST_CASE("gemm: a batch is its products, with shared operands") {
  for (const auto& [m, n, k, batch] :
       {std::tuple<Size, Size, Size, Size>{5, 6, 7, 9}, {130, 70, 64, 6}, {300, 300, 200, 2}, {20, 10, 5000, 2}}) {
    Product<float> p(false, true, m, n * batch, k, 0);  // B and C hold one matrix an entry, A is shared
    Product<float> one(false, true, m, n, k);
    one.a = p.a;
    std::vector<Size> a_off, b_off, c_off;
    for (Size i = 0; i < batch; ++i) {
      a_off.push_back(0);
      b_off.push_back(i * n * k);
      c_off.push_back(i * m * n);
    }
    Gemm<float> g = p.g;
    g.n = g.ldc = n;
    g.bias = p.bias.data();
    g.act = Activation::relu;
    g.pre = p.pre.data();
    kernels::gemm_batched(g, batch, a_off.data(), b_off.data(), c_off.data());
    for (Size i = 0; i < batch; ++i) {
      std::copy_n(p.b.data() + i * n * k, n * k, one.b.data());
      one.g.bias = p.bias.data();
      const Reals want = one.expected();
      const float* from = p.pre.data() + i * m * n;
      const std::vector<float> pre(from, from + m * n);
      CHECK(error(pre, want) <= one.bound());
      for (Size e = 0; e < m * n; ++e) CHECK(p.c[static_cast<std::size_t>(i * m * n + e)] == std::max(from[e], 0.0F));
    }
  }
}

namespace {

void check_bits_at_any_thread_count() {
  struct Case {
    bool ta, tb;
    Size m, n, k, batch;
  };
  const int before = num_threads();
  for (const Case& s :
       {Case{false, true, 700, 256, 256, 1}, Case{true, false, 256, 300, 1000, 1}, Case{true, false, 48, 40, 9000, 1},
        Case{false, true, 1, 2000, 700, 1}, Case{false, false, 3000, 1, 500, 1}, Case{false, true, 150, 140, 64, 5},
        Case{false, false, 256, 256, 256, 1}, Case{false, false, 530, 510, 20, 1}}) {
    INFO(s.m, " x ", s.n, " x ", s.k, " batch ", s.batch);
    Product<float> p(s.ta, s.tb, s.m, s.n * s.batch, s.k);
    Gemm<float> g = p.g;
    g.n = g.ldc = s.n;
    if (!s.tb) g.ldb = s.n;
    std::vector<Size> a_off(static_cast<std::size_t>(s.batch)), b_off, c_off;
    for (Size i = 0; i < s.batch; ++i) {
      b_off.push_back(i * s.n * s.k);
      c_off.push_back(i * s.m * s.n);
    }
    const auto run = [&](int threads) {
      set_num_threads(threads);
      std::fill(p.c.begin(), p.c.end(), nan_of<float>);
      kernels::gemm_batched(g, s.batch, a_off.data(), b_off.data(), c_off.data());
      return p.c;
    };
    const std::vector<float> want = run(1);
    CHECK(same_bits(run(2), want));
    CHECK(same_bits(run(4), want));
    // OpenBLAS follows the calling thread's OpenMP setting unless it is told not to.
    std::thread([&] {
      if (omp_set_num_threads) omp_set_num_threads(4);
      const std::vector<float> other = run(1);
      CHECK(same_bits(other, want));
      CHECK((!omp_get_max_threads || omp_get_max_threads() == 4));
    }).join();
    set_num_threads(4);
    parallel_for(2, 1, [&](Size begin, Size) {  // inside a parallel region
      if (begin == 1) kernels::gemm_batched(g, s.batch, a_off.data(), b_off.data(), c_off.data());
    });
    CHECK(same_bits(p.c, want));
  }
  set_num_threads(before);
}

}  // namespace

TEST_CASE("gemm: the same bits at any thread count, from any thread") {
  for_each_target(check_bits_at_any_thread_count);
}

TEST_CASE("gemm: BLAS is named with its version and kernels") {
  std::istringstream words(kernels::blas_description());
  std::string library, version, family, more;
  words >> library >> version >> family;
  CHECK(library == "OpenBLAS");
  CHECK(version.find('.') != std::string::npos);
  CHECK(!family.empty());
  CHECK(!(words >> more));
}

}  // namespace attune::tests
