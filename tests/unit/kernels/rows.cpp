// Row kernels against plain loops in long double, on every instruction set.
#include "autograd/kernels/rows.h"

#include <numeric>

#include "autograd/runtime/parallel.h"
#include "tests/unit/kernel_checks.h"

using namespace attune;
using namespace attune::kernels;

namespace {

/// softmax, log-softmax, logsumexp and their gradients of one row.
struct SoftmaxReference {
  Reals p, log_p, dp, dlog_p;
  Real lse;
  template <class T>
  SoftmaxReference(const T* x, const T* dy, std::size_t n) : p(n), log_p(n), dp(n), dlog_p(n) {
    Real m = -inf_of<Real>, total = 0, dot = 0, sum_dy = 0;
    for (std::size_t i = 0; i < n; ++i) m = std::isnan(x[i]) || static_cast<Real>(x[i]) > m ? x[i] : m;
    const bool empty = m == -inf_of<Real>;
    for (std::size_t i = 0; i < n; ++i) total += empty ? 0 : std::exp(x[i] - m);
    lse = empty ? m : m + std::log(total);
    for (std::size_t i = 0; i < n; ++i) {
      log_p[i] = empty ? m : x[i] - lse;
      p[i] = std::exp(log_p[i]);
      dot += p[i] * dy[i];
      sum_dy += dy[i];
    }
    for (std::size_t i = 0; i < n; ++i) {
      dp[i] = p[i] * (dy[i] - dot);
      dlog_p[i] = empty ? 0 : dy[i] - p[i] * sum_dy;
    }
  }
};

}  // namespace

TEST_CASE_TEMPLATE("softmax family", T, float, double) {
  for_each_target([&] {
    for (double scale : {1.0, 1e4})
      for (std::size_t n : std::initializer_list<std::size_t>{1, 2, 5, 16, 33, 100, 5000}) {
        const std::size_t rows = 7;
        const auto count = static_cast<std::int64_t>(rows * n);
        std::vector<T> x = random_values<T>(count, scale), dy = random_values<T>(count, 1, 5);
        for (std::size_t i = 0; i < n; ++i) {
          x[n + i] = -inf_of<T>;                               // a row of -inf
          if (i % 2 == 0 && i > 0) x[2 * n + i] = -inf_of<T>;  // a masked row
        }
        x[3 * n + n / 2] = nan_of<T>;
        INFO("n = ", n, ", scale = ", scale);
        const auto r = static_cast<std::int64_t>(rows), c = static_cast<std::int64_t>(n);
        std::vector<T> p(x.size()), log_p(x.size()), dp(x.size()), dlog_p(x.size()), lse(rows);
        softmax(x.data(), p.data(), r, c);
        log_softmax(x.data(), log_p.data(), r, c);
        logsumexp(x.data(), lse.data(), r, c);
        softmax_grad(p.data(), dy.data(), dp.data(), r, c);
        log_softmax_grad(log_p.data(), dy.data(), dlog_p.data(), r, c);
        Reals want_p, want_log_p, want_lse, want_dp, want_dlog_p;
        for (std::size_t k = 0; k < rows; ++k) {
          const SoftmaxReference want(x.data() + k * n, dy.data() + k * n, n);
          const auto append = [](Reals& to, const Reals& from) { to.insert(to.end(), from.begin(), from.end()); };
          append(want_p, want.p);
          append(want_log_p, want.log_p);
          append(want_dp, want.dp);
          append(want_dlog_p, want.dlog_p);
          want_lse.push_back(want.lse);
        }
        CHECK(error(p, want_p) < 8);
        CHECK(error(log_p, want_log_p) < 8);
        CHECK(error(lse, want_lse) < 8);
        CHECK(error(dp, want_dp) < 16);
        // exp(y) of a large negative y carries y's rounding error: up to 0.5 e^y |y| epsilons, times sum(dy).
        CHECK(error(dlog_p, want_dlog_p) < 300);
      }
    const T top[] = {T{1}, inf_of<T>, T{2}};
    T lse;
    logsumexp(top, &lse, 1, 3);
    CHECK(lse == inf_of<T>);
  });
}

TEST_CASE_TEMPLATE("cross-entropy", T, float, double) {
  for_each_target([&] {
    for (double scale : {1.0, 1e4})
      for (double smoothing : {0.0, 0.1})
        for (std::size_t n : std::initializer_list<std::size_t>{1, 3, 16, 1000}) {
          const std::size_t rows = 6;
          std::vector<T> x = random_values<T>(static_cast<std::int64_t>(rows * n), scale), dloss(rows), loss(rows),
                         shift(rows), total(rows), dx(x.size());
          std::vector<std::int64_t> target(rows);
          for (std::size_t k = 0; k < rows; ++k) {
            dloss[k] = static_cast<T>(0.5 + static_cast<double>(k));
            target[k] = k == 2 ? -100 : static_cast<std::int64_t>(k * 7 % n);
          }
          std::fill_n(x.begin() + static_cast<std::ptrdiff_t>(n), n, -inf_of<T>);
          x[3 * n] = nan_of<T>;
          Reals want_loss(rows), want_dx(x.size());
          for (std::size_t k = 0; k < rows; ++k) {
            const SoftmaxReference row(x.data() + k * n, x.data() + k * n, n);
            if (k == 2) continue;  // ignored
            const auto t = static_cast<std::size_t>(target[k]);
            const Real s = static_cast<Real>(smoothing), mean = s / static_cast<Real>(n);
            want_loss[k] = (s - 1) * row.log_p[t];
            for (std::size_t j = 0; j < n; ++j) {
              if (smoothing != 0) want_loss[k] -= mean * row.log_p[j];
              const Real slope = row.p[j] - (j == t ? 1 - s : 0) - mean;
              want_dx[k * n + j] = k == 1 ? 0 : dloss[k] * slope;  // row 1 is all -inf
            }
          }
          INFO("n = ", n, ", scale = ", scale, ", smoothing = ", smoothing);
          const auto r = static_cast<std::int64_t>(rows), c = static_cast<std::int64_t>(n);
          cross_entropy(x.data(), target.data(), -100, smoothing, loss.data(), shift.data(), total.data(), r, c);
          cross_entropy_grad(x.data(), shift.data(), total.data(), target.data(), -100, smoothing, dloss.data(),
                             dx.data(), r, c);
          CHECK(error(loss, want_loss) < 8);
          CHECK(error(dx, want_dx) < 16);
        }
  });
}

TEST_CASE_TEMPLATE("layer norm and RMS norm", T, float, double) {
  for_each_target([&] {
    for (bool affine : {true, false})
      for (double offset : {0.0, 1e4})
        for (std::size_t n : std::initializer_list<std::size_t>{1, 3, 16, 33, 1000}) {
          const std::size_t rows = 70;
          const auto r = static_cast<std::int64_t>(rows), c = static_cast<std::int64_t>(n);
          std::vector<T> x = random_values<T>(r * c), dy = random_values<T>(r * c, 1, 5);
          for (T& v : x) v = static_cast<T>(offset) + v * (offset == 0 ? T{1} : T(0.004));
          const std::vector<T> w = random_values<T>(c, 1, 8), b = random_values<T>(c, 1, 9);
          const T *pw = affine ? w.data() : nullptr, *pb = affine ? b.data() : nullptr;
          const double eps = 1e-5;
          for (bool centre : {true, false}) {
            if (!centre && offset != 0) continue;
            std::vector<T> y(x.size()), dx(x.size()), mean(rows), rstd(rows), dw(n), db(n);
            if (centre) {
              layer_norm(x.data(), pw, pb, eps, y.data(), mean.data(), rstd.data(), r, c);
              layer_norm_grad(x.data(), pw, mean.data(), rstd.data(), dy.data(), dx.data(), dw.data(), db.data(), r, c);
            } else {
              rms_norm(x.data(), pw, eps, y.data(), rstd.data(), r, c);
              rms_norm_grad(x.data(), pw, rstd.data(), dy.data(), dx.data(), dw.data(), r, c);
            }
            Reals want_y, want_dx, want_dw(n), want_db(n), want_rstd;
            for (std::size_t k = 0; k < rows; ++k) {
              const T *xk = x.data() + k * n, *dyk = dy.data() + k * n;
              const Real count = static_cast<Real>(n);
              // The reference works relative to the first element: long double has too few digits for an offset of 1e4.
              std::vector<Real> moved(xk, xk + n);
              for (std::size_t i = 0; centre && i < n; ++i) moved[i] -= xk[0];
              const Real m = centre ? std::accumulate(moved.begin(), moved.end(), Real{0}) / count : 0;
              Real squares = 0, level = 0, along = 0;
              for (std::size_t i = 0; i < n; ++i) squares += (moved[i] - m) * (moved[i] - m);
              const Real s = 1 / std::sqrt(squares / count + static_cast<Real>(eps));
              want_rstd.push_back(s);
              for (std::size_t i = 0; i < n; ++i) {
                const Real xhat = (moved[i] - m) * s, g = dyk[i] * (affine ? w[i] : Real{1});
                want_y.push_back(xhat * (affine ? w[i] : 1) + (affine && centre ? b[i] : 0));
                level += centre ? g / count : 0;
                along += g * xhat / count;
                want_dw[i] += dyk[i] * xhat;
                want_db[i] += dyk[i];
              }
              for (std::size_t i = 0; i < n; ++i) {
                const Real xhat = (moved[i] - m) * s, g = dyk[i] * (affine ? w[i] : Real{1});
                want_dx.push_back(s * (g - level - xhat * along));
              }
            }
            INFO("n = ", n, ", offset = ", offset, ", affine = ", affine, ", centre = ", centre);
            CHECK(error(y, want_y) < 16);
            CHECK(error(rstd, want_rstd) < 4);
            CHECK(error(dx, want_dx) < 1500);  // if n is small, dx is a difference of terms of size rstd
            CHECK(error(dw, want_dw) < 100);
            if (centre) CHECK(error(db, want_db) < 50);
          }
        }
  });
}

TEST_CASE("row kernels give the same bits with any number of threads") {
  const std::int64_t rows = 300, n = 700;
  const std::vector<float> x = random_values<float>(rows * n), dy = random_values<float>(rows * n, 1, 4);
  const auto run = [&](int threads) {
    set_num_threads(threads);
    std::vector<float> all;
    const auto keep = [&](const std::vector<float>& v) { all.insert(all.end(), v.begin(), v.end()); };
    std::vector<float> y(x.size()), dx(x.size()), mean(rows), rstd(rows), dw(n), db(n);
    softmax(x.data(), y.data(), rows, n);
    keep(y);
    layer_norm<float>(x.data(), dy.data(), nullptr, 1e-5, y.data(), mean.data(), rstd.data(), rows, n);
    layer_norm_grad(x.data(), dy.data(), mean.data(), rstd.data(), dy.data(), dx.data(), dw.data(), db.data(), rows, n);
    for (const auto& v : {y, mean, rstd, dx, dw, db}) keep(v);
    return all;
  };
  const int before = num_threads();
  const std::vector<float> want = run(1);
  CHECK((run(2) == want));
  CHECK((run(4) == want));
  set_num_threads(before);
}
