#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

#include "autograd/kernels/buffer.h"
#include "autograd/kernels/reduce.h"
#include "autograd/kernels/rows.h"
#include "autograd/kernels/rows_table.h"
#include "autograd/kernels/simd_targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "autograd/kernels/rows_norm.cpp"
#include "hwy/foreach_target.h"
// After foreach_target.h:
#include "autograd/kernels/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace attune::kernels::HWY_NAMESPACE {

/// w[i], or 1 if w is null.
template <class S, class T>
HWY_INLINE auto weight(S s, const T* w, Size i) {
  return w == nullptr ? hn::Set(s.d, T{1}) : s.load(w + i);
}

/// A mean as the sum of two T, so that x - mean is right even if the elements differ by a few units in the last
/// place: x - high is exact there.
template <class T>
struct Mean {
  T high, low;
};

template <class T, class V>
HWY_INLINE V centred(V x, Mean<T> mean) {
  const hn::DFromV<V> d;
  return hn::Sub(hn::Sub(x, hn::Set(d, mean.high)), hn::Set(d, mean.low));
}

// ---- rows beyond the usual range: their squares overflow or vanish in T. Scaled by a power of 2, in double.

/// Whether the squares of a row lost what matters beside eps.
template <class T>
bool lost(double squares, double eps, Size n) {
  constexpr double least = sizeof(T) == 4 ? 1e-30 : 1e-290;  // of a square
  return !std::isfinite(squares) || (eps < least && squares < least * static_cast<double>(n));
}

/// A row x as (double) x scale, the largest of which is near 1.
template <class T>
struct ScaledRow {
  const T* x;
  Size n;
  double scale = 1;
  bool finite = true;

  ScaledRow(const T* row, Size count) : x(row), n(count) {
    double most = 0;
    for (Size i = 0; i < n; ++i) {
      finite &= std::isfinite(x[i]);
      most = std::max(most, std::abs(static_cast<double>(x[i])));
    }
    int exponent = 0;
    std::frexp(most, &exponent);
    if (finite && most > 0) scale = std::ldexp(1.0, std::clamp(-exponent, -1000, 1000));
  }
  double operator[](Size i) const { return static_cast<double>(x[i]) * scale; }
  double mean() const {
    double sum = 0;
    for (Size i = 0; i < n; ++i) sum += (*this)[i];
    return sum / static_cast<double>(n);
  }
  /// 1 / sqrt(mean((x - centre)^2) + eps) of the unscaled x, as a factor of scaled ones; centre is scaled.
  double inverse_root(double centre, double eps) const {
    double squares = 0;
    for (Size i = 0; i < n; ++i) squares += ((*this)[i] - centre) * ((*this)[i] - centre);
    return 1 / std::sqrt(squares / static_cast<double>(n) + eps * scale * scale);
  }
};

template <class T>
double weight_at(const T* w, Size i) {
  return w == nullptr ? 1 : static_cast<double>(w[i]);
}

template <class T>
void normalize_scaled(const ScaledRow<T>& row, double centre, double eps, const T* w, const T* b, T* y, T* inverse) {
  const double r = row.inverse_root(centre, eps);
  *inverse = static_cast<T>(r * row.scale);
  for (Size i = 0; i < row.n; ++i)
    y[i] = static_cast<T>((row[i] - centre) * r * weight_at(w, i) + (b == nullptr ? 0 : static_cast<double>(b[i])));
}

template <class T>
bool is_zero(const T* dy, Size n) {
  return std::all_of(dy, dy + n, [](T g) { return g == 0; });
}

/// The gradients where sums in T are not finite: a row whose cotangent is 0 has and gives none. False if the row itself
/// is not finite, which is left to the usual way.
template <class T>
bool grad_scaled(const T* x, const T* w, bool centred, T inverse, const T* dy, T* dx, T* dw, T* db, Size n) {
  if (is_zero(dy, n)) {
    std::fill_n(dx, n, T{0});
    return true;
  }
  const ScaledRow<T> row(x, n);
  if (!row.finite) return false;
  const double centre = centred ? row.mean() : 0, r = static_cast<double>(inverse), to_xhat = r / row.scale;
  const double count = static_cast<double>(n);
  double level = 0, along = 0;
  for (Size i = 0; i < n; ++i) {
    const double g = static_cast<double>(dy[i]) * weight_at(w, i);
    level += centred ? g / count : 0;
    along += g * ((row[i] - centre) * to_xhat) / count;
  }
  for (Size i = 0; i < n; ++i) {
    const double xhat = (row[i] - centre) * to_xhat, dyi = static_cast<double>(dy[i]);
    if (dw != nullptr) dw[i] = static_cast<T>(static_cast<double>(dw[i]) + dyi * xhat);
    if (db != nullptr) db[i] += dy[i];
    dx[i] = static_cast<T>(r * (dyi * weight_at(w, i) - level - xhat * along));
  }
  return true;
}

// ---- the usual way

template <class T>
void layer_norm_row(const T* x, const T* w, const T* b, double eps, T* y, T* mean, T* rstd, Size n) {
  const hn::ScalableTag<T> d;
  const double count = static_cast<double>(n);
  const T high = static_cast<T>(sum<4>(d, n, [=](auto s, Size i) ATTUNE_SIMD { return s.load(x + i); }) / count);
  // Around `high`, which is the mean but for its rounding, squares cancel no digits that matter.
  const auto h = hn::Set(d, high);
  const auto [rest, squares] = sums<2>(d, n, [=](auto s, Size i) ATTUNE_SIMD {
    const auto c = hn::Sub(s.load(x + i), h);
    return std::array{c, hn::Mul(c, c)};
  });
  if (!std::isfinite(high) || lost<T>(squares, eps, n)) {
    const ScaledRow<T> row(x, n);
    if (const double centre = row.mean(); row.finite) {
      *mean = static_cast<T>(centre / row.scale);
      normalize_scaled(row, centre, eps, w, b, y, rstd);
      return;
    }
  }
  const Mean<T> m{high, static_cast<T>(rest / count)};
  const double variance = std::max(0.0, squares / count - (rest / count) * (rest / count));
  *mean = m.high;
  *rstd = static_cast<T>(1 / std::sqrt(variance + eps));
  const auto r = hn::Set(d, *rstd);
  for_vectors(d, n, [=](auto s, Size i) ATTUNE_SIMD {
    const auto xhat = hn::Mul(centred(s.load(x + i), m), r);
    const auto shift = b == nullptr ? hn::Zero(d) : s.load(b + i);
    s.store(hn::MulAdd(xhat, weight(s, w, i), shift), y + i);
  });
}

template <class T>
void rms_norm_row(const T* x, const T* w, double eps, T* y, T* rrms, Size n) {
  const hn::ScalableTag<T> d;
  const double squares = sum<4>(d, n, [=](auto s, Size i) ATTUNE_SIMD {
    const auto v = s.load(x + i);
    return hn::Mul(v, v);
  });
  if (lost<T>(squares, eps, n)) {
    const ScaledRow<T> row(x, n);
    if (row.finite) return normalize_scaled<T>(row, 0, eps, w, nullptr, y, rrms);
  }
  *rrms = static_cast<T>(1 / std::sqrt(squares / static_cast<double>(n) + eps));
  const auto r = hn::Set(d, *rrms);
  for_vectors(d, n,
              [=](auto s, Size i) ATTUNE_SIMD { s.store(hn::Mul(hn::Mul(s.load(x + i), r), weight(s, w, i)), y + i); });
}

/// dx = rstd (g - mean(g) - xhat mean(g xhat)) with g = dy w; dw += dy xhat, db += dy.
template <class T>
void layer_norm_grad_row(const T* x, const T* w, T mean, T rstd, const T* dy, T* dx, T* dw, T* db, Size n) {
  const hn::ScalableTag<T> d;
  const double count = static_cast<double>(n);
  const auto h = hn::Set(d, mean), r = hn::Set(d, rstd);
  // xhat = (c - rest) rstd with c = x - `mean`, whose own mean `rest` is known at the end of the pass.
  const auto [rest, level, with_c] = sums<3>(d, n, [=](auto s, Size i) ATTUNE_SIMD {
    const auto c = hn::Sub(s.load(x + i), h), g = hn::Mul(s.load(dy + i), weight(s, w, i));
    return std::array{c, g, hn::Mul(g, hn::Mul(c, r))};
  });
  if (!std::isfinite(rest + level + with_c) && grad_scaled(x, w, true, rstd, dy, dx, dw, db, n)) return;
  const Mean<T> m{mean, static_cast<T>(rest / count)};
  const double along = (with_c - rest / count * static_cast<double>(rstd) * level) / count;
  const auto a = hn::Set(d, static_cast<T>(along)), l = hn::Set(d, static_cast<T>(level / count));
  for_vectors(d, n, [=](auto s, Size i) ATTUNE_SIMD {
    const auto xhat = hn::Mul(centred(s.load(x + i), m), r), dyi = s.load(dy + i);
    const auto g = hn::Mul(dyi, weight(s, w, i));
    if (dw != nullptr) s.store(hn::MulAdd(dyi, xhat, s.load(dw + i)), dw + i);
    if (db != nullptr) s.store(hn::Add(s.load(db + i), dyi), db + i);
    s.store(hn::Mul(r, hn::NegMulAdd(xhat, a, hn::Sub(g, l))), dx + i);
  });
}

/// dx = rrms (g - xhat mean(g xhat)) with g = dy w; dw += dy xhat.
template <class T>
void rms_norm_grad_row(const T* x, const T* w, T rrms, const T* dy, T* dx, T* dw, Size n) {
  const hn::ScalableTag<T> d;
  const auto r = hn::Set(d, rrms);
  const auto xhat = [=](auto s, Size i) ATTUNE_SIMD { return hn::Mul(s.load(x + i), r); };
  const auto g = [=](auto s, Size i) ATTUNE_SIMD { return hn::Mul(s.load(dy + i), weight(s, w, i)); };
  const double along = sum<4>(d, n, [=](auto s, Size i) ATTUNE_SIMD { return hn::Mul(g(s, i), xhat(s, i)); });
  if (!std::isfinite(along) && grad_scaled<T>(x, w, false, rrms, dy, dx, dw, nullptr, n)) return;
  const auto a = hn::Set(d, static_cast<T>(along / static_cast<double>(n)));
  for_vectors(d, n, [=](auto s, Size i) ATTUNE_SIMD {
    const auto xh = xhat(s, i);
    if (dw != nullptr) s.store(hn::MulAdd(s.load(dy + i), xh, s.load(dw + i)), dw + i);
    s.store(hn::Mul(r, hn::NegMulAdd(xh, a, g(s, i))), dx + i);
  });
}

// What the table holds: `rows` rows on one thread.
template <class T>
void layer_norm_rows(const T* x, const T* w, const T* b, double eps, T* y, T* mean, T* rstd, Size rows, Size n) {
  for (Size i = 0; i < rows; ++i) layer_norm_row(x + i * n, w, b, eps, y + i * n, mean + i, rstd + i, n);
}
template <class T>
void rms_norm_rows(const T* x, const T* w, double eps, T* y, T* rrms, Size rows, Size n) {
  for (Size i = 0; i < rows; ++i) rms_norm_row(x + i * n, w, eps, y + i * n, rrms + i, n);
}
/// run(row, dw, db) for every row; it adds to dw and db, if they are not null. After some rows these are added up in
/// double, so that sums over many rows are as accurate as those of reduce().
template <class T, class F>
void with_flushed_sums(Size rows, Size n, T* dw, T* db, F run) {
  constexpr Size at_once = 64;
  const Size count = dw != nullptr || db != nullptr ? rows : 0;
  std::vector<double> totals(static_cast<std::size_t>(count > at_once ? 2 * n : 0), 0.0);
  const auto clear = [=] {
    if (dw != nullptr) std::fill_n(dw, n, T{0});
    if (db != nullptr) std::fill_n(db, n, T{0});
  };
  const auto flush = [n](const T* part, double* total) {
    for (Size i = 0; part != nullptr && i < n; ++i) total[i] += static_cast<double>(part[i]);
  };
  clear();
  for (Size i = 0; i < rows; ++i) {
    run(i, dw, db);
    if (totals.empty() || ((i + 1) % at_once != 0 && i + 1 != rows)) continue;
    flush(dw, totals.data());
    flush(db, totals.data() + n);
    if (i + 1 != rows) clear();
  }
  if (totals.empty()) return;
  for (Size i = 0; i < n; ++i) {
    if (dw != nullptr) dw[i] = static_cast<T>(totals[static_cast<std::size_t>(i)]);
    if (db != nullptr) db[i] = static_cast<T>(totals[static_cast<std::size_t>(n + i)]);
  }
}

template <class T>
void layer_norm_grad_rows(const T* x, const T* w, const T* mean, const T* rstd, const T* dy, T* dx, T* dw, T* db,
                          Size rows, Size n) {
  with_flushed_sums(rows, n, dw, db, [=](Size i, T* dw_sum, T* db_sum) {
    layer_norm_grad_row(x + i * n, w, mean[i], rstd[i], dy + i * n, dx + i * n, dw_sum, db_sum, n);
  });
  if (n == 1) std::fill_n(dx, rows, T{0});  // x is its own mean; 1 / sqrt(eps) magnifies what rounding leaves of g - g
}
template <class T>
void rms_norm_grad_rows(const T* x, const T* w, const T* rrms, const T* dy, T* dx, T* dw, Size rows, Size n) {
  with_flushed_sums<T>(rows, n, dw, nullptr, [=](Size i, T* dw_sum, T* /*db_sum*/) {
    rms_norm_grad_row(x + i * n, w, rrms[i], dy + i * n, dx + i * n, dw_sum, n);
  });
}

template <class T>
inline constexpr NormKernels<T> norm_kernels = {layer_norm_rows<T>, rms_norm_rows<T>, layer_norm_grad_rows<T>,
                                                rms_norm_grad_rows<T>};

const NormKernels<float>& norm_f32() { return norm_kernels<float>; }
const NormKernels<double>& norm_f64() { return norm_kernels<double>; }

}  // namespace attune::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace attune::kernels {

HWY_EXPORT(norm_f32);
HWY_EXPORT(norm_f64);

template <class T>
static const NormKernels<T>& kernels() {
  if constexpr (sizeof(T) == 4)
    return HWY_DYNAMIC_DISPATCH(norm_f32)();
  else
    return HWY_DYNAMIC_DISPATCH(norm_f64)();
}

template <class T>
void layer_norm(const T* x, const T* w, const T* b, double eps, T* y, T* mean, T* rstd, Size rows, Size n) {
  for_rows(rows, n, [=](Size r, Size count) {
    kernels<T>().layer_norm(x + r * n, w, b, eps, y + r * n, mean + r, rstd + r, count, n);
  });
}

template <class T>
void rms_norm(const T* x, const T* w, double eps, T* y, T* rrms, Size rows, Size n) {
  for_rows(rows, n,
           [=](Size r, Size count) { kernels<T>().rms_norm(x + r * n, w, eps, y + r * n, rrms + r, count, n); });
}

/// Runs body(first_row, rows, dw, db) over blocks of rows whose size follows from the shape alone, each with its own
/// partial dw and db [n] (null if the target is), and adds the partial sums up in a fixed tree.
template <class T, class F>
static void with_column_sums(Size rows, Size n, T* dw, T* db, F body) {
  const Size width = std::max<Size>(1, n);
  const Size block = std::clamp<Size>(rows / 4, std::clamp<Size>(8192 / width, 16, 1024),  // worth a thread,
                                      std::clamp<Size>(32768 / width, 16, 4096));          // and few partial sums
  const Size blocks = std::max<Size>(1, (rows + block - 1) / block);
  const Buffer<T> dw_partial(dw == nullptr ? 0 : blocks * n), db_partial(db == nullptr ? 0 : blocks * n);
  T *const pw = dw_partial.data(), *const pb = db_partial.data();
  parallel_for(rows, block, [=](Size begin, Size end) {
    const Size k = begin / block;
    body(begin, end - begin, pw == nullptr ? nullptr : pw + k * n, pb == nullptr ? nullptr : pb + k * n);
  });
  const Size filled = rows == 0 ? 0 : blocks;
  if (dw != nullptr) reduce(Reduce::sum, pw, 1, filled, n, dw);
  if (db != nullptr) reduce(Reduce::sum, pb, 1, filled, n, db);
}

template <class T>
void layer_norm_grad(const T* x, const T* w, const T* mean, const T* rstd, const T* dy, T* dx, T* dw, T* db, Size rows,
                     Size n) {
  with_column_sums(rows, n, dw, db, [=](Size r, Size count, T* dw_sum, T* db_sum) {
    kernels<T>().layer_norm_grad(x + r * n, w, mean + r, rstd + r, dy + r * n, dx + r * n, dw_sum, db_sum, count, n);
  });
}

template <class T>
void rms_norm_grad(const T* x, const T* w, const T* rrms, const T* dy, T* dx, T* dw, Size rows, Size n) {
  with_column_sums(rows, n, dw, static_cast<T*>(nullptr), [=](Size r, Size count, T* dw_sum, T* /*db_sum*/) {
    kernels<T>().rms_norm_grad(x + r * n, w, rrms + r, dy + r * n, dx + r * n, dw_sum, count, n);
  });
}

#define ATTUNE_INSTANTIATE(T)                                                                              \
  template void layer_norm(const T*, const T*, const T*, double, T*, T*, T*, Size, Size);                  \
  template void layer_norm_grad(const T*, const T*, const T*, const T*, const T*, T*, T*, T*, Size, Size); \
  template void rms_norm(const T*, const T*, double, T*, T*, Size, Size);                                  \
  template void rms_norm_grad(const T*, const T*, const T*, const T*, T*, T*, Size, Size);
ATTUNE_INSTANTIATE(float)
ATTUNE_INSTANTIATE(double)
#undef ATTUNE_INSTANTIATE

}  // namespace attune::kernels
#endif
