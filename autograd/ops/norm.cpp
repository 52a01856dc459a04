#include "autograd/ops/norm.h"

#include <algorithm>

#include "autograd/kernels/rows.h"
#include "autograd/ops/create.h"
#include "autograd/ops/elementwise.h"
#include "autograd/ops/internal/apply.h"
#include "autograd/ops/internal/powers_of_two.h"
#include "autograd/ops/internal/second_derivative.h"
#include "autograd/ops/movement.h"
#include "autograd/ops/reduce.h"

namespace attune {

using detail::dense;
using detail::elements;
using detail::with_floating;

namespace {

/// The axes normalised over: those of the weight, else of the bias, or the last one.
Shape normalized_shape(const Op& op, const Tensor& x, const Tensor& weight, const Tensor& bias) {
  const Tensor& w = weight.defined() ? weight : bias;
  if (!w.defined()) {
    if (x.rank() == 0) op.fail_shape("needs at least one axis, got " + x.shape().str());
    return {x.shape().back()};
  }
  bool fits = w.rank() >= 1 && w.rank() <= x.rank();
  for (int i = 0; fits && i < w.rank(); ++i) fits = x.shape()[x.rank() - w.rank() + i] == w.shape()[i];
  if (!fits)
    op.fail_shape(std::string(weight.defined() ? "the weight " : "the bias ") + w.shape().str() +
                  " does not fit the last axes of x " + x.shape().str());
  return w.shape();
}

Dims last_axes(int count) {
  Dims axes;
  for (int i = -count; i < 0; ++i) axes.push_back(i);
  return axes;
}

/// x / sqrt(mean(x^2) + eps) along the axes, x less its mean if `centred`.
Tensor scaled_to_root(const Tensor& given, const Dims& axes, double eps, bool centred) {
  const Tensor unit = detail::unit_if_extreme(given, axes);  // squares might leave the range
  const Tensor x = unit.defined() ? given / unit : given, from = centred ? x - mean(x, axes, true) : x;
  const Tensor squares = mean(square(from), axes, true);
  return from * rsqrt(unit.defined() ? squares + eps / unit / unit : squares + eps);
}

Tensor layer_norm_composed(const Tensor& x, const Tensor& w, const Tensor& b, double eps, Here here) {
  const Op op{"layer_norm_composed", here};
  const Dims axes = last_axes(normalized_shape(op, x, w, b).rank());
  Tensor y = scaled_to_root(x, axes, eps, true);
  if (w.defined()) y = y * w;
  return b.defined() ? y + b : y;
}

/// dx, dw, db; those of an absent weight or bias are undefined.
Tensors layer_norm_grad(const Tensor& x, const Tensor& w, const Tensor& b, const Tensor& dy, const Tensor& stats_mean,
                        const Tensor& rstd, double eps, Here here) {
  const Op op{"layer_norm_grad", here};
  const Tensor xd = dense(x), wd = dense(w), gd = dense(dy);
  const std::int64_t n = numel(normalized_shape(op, x, w, b)), rows = n == 0 ? 0 : x.numel() / n;
  Tensor dx = op.empty_like(x);
  Tensor dw = w.defined() ? zeros_like(w) : Tensor(), db = b.defined() ? zeros_like(b) : Tensor();
  with_floating(x.dtype(), [&]<class T>(T) {
    kernels::layer_norm_grad<T>(elements<const T>(xd), elements<const T>(wd), elements<const T>(stats_mean),
                                elements<const T>(rstd), elements<const T>(gd), elements<T>(dx), elements<T>(dw),
                                elements<T>(db), rows, n);
  });
  return detail::record_fused_grad(
      op, {dx, dw, db}, of<layer_norm_grad>(x, w, b, dy, stats_mean, rstd, eps), {x, w, b}, {dy},
      [eps](const Tensors& xs) { return Tensors{layer_norm_composed(xs[0], xs[1], xs[2], eps, {})}; });
}

const char* layer_norm_rule(bool weight, bool bias) {
  if (weight)
    return bias ? "dx = r (g - mean(g) - n mean(n g)), dweight = sum of n dy, dbias = sum of dy, g = weight dy, "
                  "n = r (x - mean(x)), r = 1 / sqrt(var(x) + eps)"
                : "dx = r (g - mean(g) - n mean(n g)), dweight = sum of n dy, g = weight dy, n = r (x - mean(x)), "
                  "r = 1 / sqrt(var(x) + eps)";
  return bias ? "dx = r (dy - mean(dy) - n mean(n dy)), dbias = sum of dy, n = r (x - mean(x)), "
                "r = 1 / sqrt(var(x) + eps)"
              : "dx = r (dy - mean(dy) - n mean(n dy)), n = r (x - mean(x)), r = 1 / sqrt(var(x) + eps)";
}

}  // namespace

Tensor layer_norm(const Tensor& x, const Tensor& w, const Tensor& b, double eps, Here here) {
  const Op op{"layer_norm", here};
  op.check_floating(x);
  if (w.defined()) op.check_same_dtype(x, w);
  if (b.defined()) op.check_same_dtype(x, b);
  if (w.defined() && b.defined() && w.shape() != b.shape())
    op.fail_shape("the bias " + b.shape().str() + " differs from the weight " + w.shape().str());
  const std::int64_t n = numel(normalized_shape(op, x, w, b)), rows = n == 0 ? 0 : x.numel() / n;
  const Tensor xd = dense(x), wd = dense(w), bd = dense(b);
  Tensor y = op.empty_like(x), stats_mean = op.empty({rows}, x.dtype()), rstd = op.empty({rows}, x.dtype());
  with_floating(x.dtype(), [&]<class T>(T) {
    kernels::layer_norm<T>(elements<const T>(xd), elements<const T>(wd), elements<const T>(bd), eps, elements<T>(y),
                           elements<T>(stats_mean), elements<T>(rstd), rows, n);
  });
  return op.record_joint(
      std::move(y), of<layer_norm, layer_norm_composed>(x, w, b, eps), layer_norm_rule(w.defined(), b.defined()),
      [x = Saved(x), w = Saved(w), b = Saved(b), stats_mean, rstd, eps](const Tensors& dys, const Needs&) {
        return layer_norm_grad(x, w, b, dys[0], stats_mean, rstd, eps, {});
      });
}

namespace {

Tensor rms_norm_composed(const Tensor& x, const Tensor& w, double eps, Here here) {
  const Op op{"rms_norm_composed", here};
  const Tensor y = scaled_to_root(x, {-1}, eps, false);
  return w.defined() ? y * w : y;
}

Tensors rms_norm_grad(const Tensor& x, const Tensor& w, const Tensor& dy, const Tensor& rrms, double eps, Here here) {
  const Op op{"rms_norm_grad", here};
  const Tensor xd = dense(x), wd = dense(w), gd = dense(dy);
  const std::int64_t n = x.shape().back(), rows = n == 0 ? 0 : x.numel() / n;
  Tensor dx = op.empty_like(x), dw = w.defined() ? zeros_like(w) : Tensor();
  with_floating(x.dtype(), [&]<class T>(T) {
    kernels::rms_norm_grad<T>(elements<const T>(xd), elements<const T>(wd), elements<const T>(rrms),
                              elements<const T>(gd), elements<T>(dx), elements<T>(dw), rows, n);
  });
  return detail::record_fused_grad(
      op, {dx, dw}, of<rms_norm_grad>(x, w, dy, rrms, eps), {x, w}, {dy},
      [eps](const Tensors& xs) { return Tensors{rms_norm_composed(xs[0], xs[1], eps, {})}; });
}

}  // namespace

Tensor rms_norm(const Tensor& x, const Tensor& w, double eps, Here here) {
  const Op op{"rms_norm", here};
  op.check_floating(x);
  if (w.defined()) op.check_same_dtype(x, w);
  if (x.rank() == 0) op.fail_shape("needs at least one axis, got " + x.shape().str());
  if (w.defined() && w.shape() != Shape{x.shape().back()})
    op.fail_shape("the weight " + w.shape().str() + " does not fit the last axis of x " + x.shape().str());
  const std::int64_t n = x.shape().back(), rows = n == 0 ? 0 : x.numel() / n;
  const Tensor xd = dense(x), wd = dense(w);
  Tensor y = op.empty_like(x), rrms = op.empty({rows}, x.dtype());
  with_floating(x.dtype(), [&]<class T>(T) {
    kernels::rms_norm<T>(elements<const T>(xd), elements<const T>(wd), eps, elements<T>(y), elements<T>(rrms), rows, n);
  });
  return op.record_joint(std::move(y), of<rms_norm, rms_norm_composed>(x, w, eps),
                         w.defined() ? "dx = r (g - n mean(n g)), dweight = sum of n dy, g = weight dy, n = r x, "
                                       "r = 1 / sqrt(mean(x^2) + eps)"
                                     : "dx = r (dy - n mean(n dy)), n = r x, r = 1 / sqrt(mean(x^2) + eps)",
                         [x = Saved(x), w = Saved(w), rrms, eps](const Tensors& dys, const Needs&) {
                           return rms_norm_grad(x, w, dys[0], rrms, eps, {});
                         });
}

Tensor normalize(const Tensor& x, double p, std::int64_t axis, double eps, Here here) {
  const Op op{"normalize", here};
  op.check_floating(x);
  return x / clamp_min(vector_norm(x, p, {detail::row_axis(op, x, axis)}, true), eps);
}

Tensor cosine_similarity(const Tensor& a, const Tensor& b, std::int64_t axis, double eps, Here here) {
  const Op op{"cosine_similarity", here};
  op.check_floating(a);
  op.check_same_dtype(a, b);
  const Shape shape = detail::joint_shape(op, a, b);
  const int along = op.axis_of_rank(axis, std::max(shape.rank(), 1), shape);
  return sum(normalize(expand(a, shape), 2, along, eps) * normalize(expand(b, shape), 2, along, eps), {along});
}

}  // namespace attune
