#include <algorithm>
#include <cmath>
#include <limits>

#include "autograd/kernels/rows.h"
#include "autograd/kernels/rows_table.h"
#include "autograd/kernels/simd_targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "autograd/kernels/rows_softmax.cpp"
#include "hwy/foreach_target.h"
// After foreach_target.h:
#include "autograd/kernels/rows-inl.h"

HWY_BEFORE_NAMESPACE();
namespace attune::kernels::HWY_NAMESPACE {

template <class T>
void softmax_row(const T* x, T* y, Size n) {
  const double total = sum_exp(x, row_shift(x, n), y, n);
  if (total != 0) scale_row(y, static_cast<T>(1 / total), n);
}

/// Where a probability or a whole cotangent is 0, so is the gradient, whatever they meet.
template <class T>
void softmax_grad_past_zeros(const T* y, const T* dy, T* dx, Size n) {
  double dot = 0;
  const bool asked = std::any_of(dy, dy + n, [](T g) { return g != 0; });
  for (Size i = 0; i < n; ++i)
    if (y[i] != 0) dot += static_cast<double>(y[i]) * static_cast<double>(dy[i]);
  for (Size i = 0; i < n; ++i) dx[i] = y[i] == 0 || !asked ? T{0} : y[i] * (dy[i] - static_cast<T>(dot));
}

template <class T>
void softmax_grad_row(const T* y, const T* dy, T* dx, Size n) {
  const hn::ScalableTag<T> d;
  const double dot = sum<4>(d, n, [=](auto s, Size i) ATTUNE_SIMD { return hn::Mul(s.load(y + i), s.load(dy + i)); });
  if (!std::isfinite(dot)) return softmax_grad_past_zeros(y, dy, dx, n);
  const auto c = hn::Set(d, static_cast<T>(dot));
  map(y, dy, dx, n, [=](auto p, auto g) ATTUNE_SIMD { return hn::Mul(p, hn::Sub(g, c)); });
}

template <class T>
void log_softmax_row(const T* x, T* y, Size n) {
  const hn::ScalableTag<T> d;
  const T shift = row_shift(x, n);
  const double total = sum_exp<T>(x, shift, nullptr, n);
  if (total == 0) {
    std::fill_n(y, n, -inf<T>);
    return;
  }
  const auto m = hn::Set(d, shift), l = hn::Set(d, static_cast<T>(std::log(total)));
  map(x, y, n, [=](auto v) ATTUNE_SIMD { return hn::Sub(hn::Sub(v, m), l); });
}

template <class T>
void log_softmax_grad_row(const T* y, const T* dy, T* dx, Size n) {
  Size k = 0;
  while (k < n && y[k] == -inf<T>) ++k;
  if (k == n) {  // all -inf
    std::fill_n(dx, n, T{0});
    return;
  }
  const hn::ScalableTag<T> d;
  const double total = sum<4>(d, n, [=](auto s, Size i) ATTUNE_SIMD { return s.load(dy + i); });
  if (total == 0 && std::all_of(dy, dy + n, [](T g) { return g == 0; })) {  // whatever y holds
    std::fill_n(dx, n, T{0});
    return;
  }
  const auto c = hn::Set(d, static_cast<T>(total));
  map(y, dy, dx, n, [=](auto l, auto g) ATTUNE_SIMD { return hn::NegMulAdd(exp(l), c, g); });
}

/// sum exp(x) = total exp(shift), in two parts that keep the digits which their logarithm's sum loses.
template <class T>
struct SumExp {
  T shift;
  double total;
  T log() const { return static_cast<T>(static_cast<double>(shift) + std::log(total)); }
};
template <class T>
SumExp<T> sum_exp_row(const T* x, Size n) {
  T shift = row_max(x, n);
  if (shift == inf<T> || shift == -inf<T>) shift = 0;  // exp(inf) and exp(-inf) need no shift
  return {shift, sum_exp<T>(x, shift, nullptr, n)};
}

template <class T>
void cross_entropy_row(const T* x, Size target, bool ignored, double smoothing, T* loss, T* shift, T* total, Size n) {
  const hn::ScalableTag<T> d;
  const SumExp<T> e = sum_exp_row(x, n);
  *shift = e.shift;
  *total = static_cast<T>(e.total);
  *loss = 0;
  if (ignored) return;
  // log p[j] = (x[j] - shift) - log(total)
  const double from = static_cast<double>(e.shift), log_total = std::log(e.total);
  double y = 0;  // no 0 x inf at either end of the smoothing
  if (smoothing != 1) y = (1 - smoothing) * (log_total - (static_cast<double>(x[target]) - from));
  if (smoothing != 0) {
    const auto m = hn::Set(d, e.shift);
    const double rest = sum<4>(d, n, [=](auto s, Size i) ATTUNE_SIMD { return hn::Sub(s.load(x + i), m); });
    y += smoothing * (log_total - rest / static_cast<double>(n));
  }
  *loss = e.total == 0 ? inf<T> : static_cast<T>(y);
}

template <class T>
void cross_entropy_grad_row(const T* x, T shift, T total, Size target, bool ignored, double smoothing, T dloss, T* dx,
                            Size n) {
  if (ignored || total == 0 || dloss == 0) {  // left out: whatever the row holds
    std::fill_n(dx, n, T{0});
    return;
  }
  if (total == inf<T>) {  // a logit is inf: no probability is a number
    std::fill_n(dx, n, std::numeric_limits<T>::quiet_NaN());
    return;
  }
  const hn::ScalableTag<T> d;
  const auto m = hn::Set(d, shift);
  const auto scale = hn::Set(d, static_cast<T>(static_cast<double>(dloss) / static_cast<double>(total)));
  const auto rest = hn::Set(d, static_cast<T>(static_cast<double>(dloss) * smoothing / static_cast<double>(n)));
  map(x, dx, n, [=](auto v) ATTUNE_SIMD { return hn::MulSub(exp(hn::Sub(v, m)), scale, rest); });
  dx[target] -= static_cast<T>(static_cast<double>(dloss) * (1 - smoothing));
}

// What is exported: `rows` rows on one thread.
template <class T>
void softmax_rows(const T* x, T* y, Size rows, Size n) {
  for (Size r = 0; r < rows; ++r) softmax_row(x + r * n, y + r * n, n);
}
template <class T>
void softmax_grad_rows(const T* y, const T* dy, T* dx, Size rows, Size n) {
  for (Size r = 0; r < rows; ++r) softmax_grad_row(y + r * n, dy + r * n, dx + r * n, n);
}
template <class T>
void log_softmax_rows(const T* x, T* y, Size rows, Size n) {
  for (Size r = 0; r < rows; ++r) log_softmax_row(x + r * n, y + r * n, n);
}
template <class T>
void log_softmax_grad_rows(const T* y, const T* dy, T* dx, Size rows, Size n) {
  for (Size r = 0; r < rows; ++r) log_softmax_grad_row(y + r * n, dy + r * n, dx + r * n, n);
}
template <class T>
void logsumexp_rows(const T* x, T* y, Size rows, Size n) {
  for (Size r = 0; r < rows; ++r) y[r] = sum_exp_row(x + r * n, n).log();
}
template <class T>
void cross_entropy_rows(const T* x, const Size* target, Size ignore, double smoothing, T* loss, T* shift, T* total,
                        Size rows, Size n) {
  for (Size r = 0; r < rows; ++r)
    cross_entropy_row(x + r * n, target[r], target[r] == ignore, smoothing, loss + r, shift + r, total + r, n);
}
template <class T>
void cross_entropy_grad_rows(const T* x, const T* shift, const T* total, const Size* target, Size ignore,
                             double smoothing, const T* dloss, T* dx, Size rows, Size n) {
  for (Size r = 0; r < rows; ++r)
    cross_entropy_grad_row(x + r * n, shift[r], total[r], target[r], target[r] == ignore, smoothing, dloss[r],
                           dx + r * n, n);
}

template <class T>
inline constexpr SoftmaxKernels<T> softmax_kernels = {
    softmax_rows<T>,   softmax_grad_rows<T>,  log_softmax_rows<T>,       log_softmax_grad_rows<T>,
    logsumexp_rows<T>, cross_entropy_rows<T>, cross_entropy_grad_rows<T>};

const SoftmaxKernels<float>& softmax_f32() { return softmax_kernels<float>; }
const SoftmaxKernels<double>& softmax_f64() { return softmax_kernels<double>; }

}  // namespace attune::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace attune::kernels {

HWY_EXPORT(softmax_f32);
HWY_EXPORT(softmax_f64);

template <class T>
static const SoftmaxKernels<T>& kernels() {
  if constexpr (sizeof(T) == 4)
    return HWY_DYNAMIC_DISPATCH(softmax_f32)();
  else
    return HWY_DYNAMIC_DISPATCH(softmax_f64)();
}

template <class T>
void softmax(const T* x, T* y, Size rows, Size n) {
  for_rows(rows, n, [=](Size r, Size count) { kernels<T>().softmax(x + r * n, y + r * n, count, n); });
}

template <class T>
void softmax_grad(const T* y, const T* dy, T* dx, Size rows, Size n) {
  for_rows(rows, n,
           [=](Size r, Size count) { kernels<T>().softmax_grad(y + r * n, dy + r * n, dx + r * n, count, n); });
}

template <class T>
void log_softmax(const T* x, T* y, Size rows, Size n) {
  for_rows(rows, n, [=](Size r, Size count) { kernels<T>().log_softmax(x + r * n, y + r * n, count, n); });
}

template <class T>
void log_softmax_grad(const T* y, const T* dy, T* dx, Size rows, Size n) {
  for_rows(rows, n,
           [=](Size r, Size count) { kernels<T>().log_softmax_grad(y + r * n, dy + r * n, dx + r * n, count, n); });
}

template <class T>
void logsumexp(const T* x, T* y, Size rows, Size n) {
  for_rows(rows, n, [=](Size r, Size count) { kernels<T>().logsumexp(x + r * n, y + r, count, n); });
}

template <class T>
void cross_entropy(const T* x, const Size* target, Size ignore, double smoothing, T* loss, T* shift, T* total,
                   Size rows, Size n) {
  for_rows(rows, n, [=](Size r, Size count) {
    kernels<T>().cross_entropy(x + r * n, target + r, ignore, smoothing, loss + r, shift + r, total + r, count, n);
  });
}

template <class T>
void cross_entropy_grad(const T* x, const T* shift, const T* total, const Size* target, Size ignore, double smoothing,
                        const T* dloss, T* dx, Size rows, Size n) {
  for_rows(rows, n, [=](Size r, Size count) {
    kernels<T>().cross_entropy_grad(x + r * n, shift + r, total + r, target + r, ignore, smoothing, dloss + r,
                                    dx + r * n, count, n);
  });
}

#define ATTUNE_INSTANTIATE(T)                                                               \
  template void softmax(const T*, T*, Size, Size);                                          \
  template void softmax_grad(const T*, const T*, T*, Size, Size);                           \
  template void log_softmax(const T*, T*, Size, Size);                                      \
  template void log_softmax_grad(const T*, const T*, T*, Size, Size);                       \
  template void logsumexp(const T*, T*, Size, Size);                                        \
  template void cross_entropy(const T*, const Size*, Size, double, T*, T*, T*, Size, Size); \
  template void cross_entropy_grad(const T*, const T*, const T*, const Size*, Size, double, const T*, T*, Size, Size);
ATTUNE_INSTANTIATE(float)
ATTUNE_INSTANTIATE(double)
#undef ATTUNE_INSTANTIATE

}  // namespace attune::kernels
#endif
