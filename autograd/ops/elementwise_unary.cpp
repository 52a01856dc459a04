// Functions of one operand, and the fused backward passes of some.

#include <cmath>
#include <numbers>

#include "autograd/ops/create.h"
#include "autograd/ops/elementwise.h"
#include "autograd/ops/internal/apply.h"
#include "autograd/ops/movement.h"

namespace attune {

using detail::unary;
using kernels::Binary;
using kernels::Unary;

namespace {

constexpr double two_over_sqrt_pi = 2 * std::numbers::inv_sqrtpi;
constexpr double inv_sqrt_2pi = 0.3989422804014326779;  // the normal density at 0
constexpr double gelu_scale = 0.7978845608028653559;    // sqrt(2 / pi), of gelu's tanh form
constexpr double gelu_cubic = 0.044715;

Tensor normal_density(const Tensor& x) { return inv_sqrt_2pi * exp(-0.5 * square(x)); }

/// Records a function whose steps are flat.
template <class Call>
Tensor flat(const Op& op, Tensor y, const Call& call) {
  return op.record(std::move(y), call, "dx = 0", [](const Tensor& dy) { return zeros_like(dy); });
}

/// A fused backward f(saved, dy) with both shapes equal.
Tensor fused(const Op& op, Binary f, const Tensor& saved, const Tensor& dy) {
  op.check_same_dtype(saved, dy);
  return detail::binary(op, f, saved, dy);
}

}  // namespace

Tensor neg(const Tensor& x, Here here) {
  const Op op{"neg", here};
  return op.record(unary(op, Unary::neg, x), of<neg>(x), "dx = -dy", [](const Tensor& dy) { return -dy; });
}

Tensor abs(const Tensor& x, Here here) {
  const Op op{"abs", here};
  return op.record(unary(op, Unary::abs, x), of<abs>(x), "dx = sign(x) dy",
                   [x = Saved(x)](const Tensor& dy) { return sign(x) * dy; });
}

Tensor sign(const Tensor& x, Here here) {
  const Op op{"sign", here};
  return flat(op, unary(op, Unary::sign, x), of<sign>(x));
}

Tensor floor(const Tensor& x, Here here) {
  const Op op{"floor", here};
  return flat(op, unary(op, Unary::floor, x), of<floor>(x));
}

Tensor ceil(const Tensor& x, Here here) {
  const Op op{"ceil", here};
  return flat(op, unary(op, Unary::ceil, x), of<ceil>(x));
}

Tensor round(const Tensor& x, Here here) {
  const Op op{"round", here};
  return flat(op, unary(op, Unary::round, x), of<round>(x));
}

Tensor trunc(const Tensor& x, Here here) {
  const Op op{"trunc", here};
  return flat(op, unary(op, Unary::trunc, x), of<trunc>(x));
}

Tensor square(const Tensor& x, Here here) {
  const Op op{"square", here};
  return op.record(unary(op, Unary::square, x), of<square>(x), "dx = 2 x dy",
                   [x = Saved(x)](const Tensor& dy) { return 2 * x.get() * dy; });
}

Tensor sqrt(const Tensor& x, Here here) {
  const Op op{"sqrt", here};
  return op.record(unary(op, Unary::sqrt, x), of<sqrt>(x), "dx = dy / (2 y)",
                   [](const Tensor& dy, const Tensor& y) { return 0.5 * dy / y; });
}

Tensor rsqrt(const Tensor& x, Here here) {
  const Op op{"rsqrt", here};
  return op.record(unary(op, Unary::rsqrt, x), of<rsqrt>(x), "dx = -y^3 dy / 2",
                   [](const Tensor& dy, const Tensor& y) { return -0.5 * y * y * y * dy; });
}

Tensor reciprocal(const Tensor& x, Here here) {
  const Op op{"reciprocal", here};
  return op.record(unary(op, Unary::reciprocal, x), of<reciprocal>(x), "dx = -y^2 dy",
                   [](const Tensor& dy, const Tensor& y) { return -square(y) * dy; });
}

Tensor exp(const Tensor& x, Here here) {
  const Op op{"exp", here};
  return op.record(unary(op, Unary::exp, x), of<exp>(x), "dx = y dy",
                   [](const Tensor& dy, const Tensor& y) { return y * dy; });
}

Tensor exp2(const Tensor& x, Here here) {
  const Op op{"exp2", here};
  return op.record(unary(op, Unary::exp2, x), of<exp2>(x), "dx = log(2) y dy",
                   [](const Tensor& dy, const Tensor& y) { return std::numbers::ln2 * y * dy; });
}

Tensor expm1(const Tensor& x, Here here) {
  const Op op{"expm1", here};
  return op.record(unary(op, Unary::expm1, x), of<expm1>(x), "dx = (y + 1) dy",
                   [](const Tensor& dy, const Tensor& y) { return (y + 1) * dy; });
}

Tensor log(const Tensor& x, Here here) {
  const Op op{"log", here};
  return op.record(unary(op, Unary::log, x), of<log>(x), "dx = dy / x",
                   [x = Saved(x)](const Tensor& dy) { return dy / x; });
}

Tensor log2(const Tensor& x, Here here) {
  const Op op{"log2", here};
  return op.record(unary(op, Unary::log2, x), of<log2>(x), "dx = dy / (log(2) x)",
                   [x = Saved(x)](const Tensor& dy) { return dy / (std::numbers::ln2 * x.get()); });
}

Tensor log1p(const Tensor& x, Here here) {
  const Op op{"log1p", here};
  return op.record(unary(op, Unary::log1p, x), of<log1p>(x), "dx = dy / (1 + x)",
                   [x = Saved(x)](const Tensor& dy) { return dy / (x.get() + 1); });
}

Tensor sin(const Tensor& x, Here here) {
  const Op op{"sin", here};
  return op.record(unary(op, Unary::sin, x), of<sin>(x), "dx = cos(x) dy",
                   [x = Saved(x)](const Tensor& dy) { return cos(x) * dy; });
}

Tensor cos(const Tensor& x, Here here) {
  const Op op{"cos", here};
  return op.record(unary(op, Unary::cos, x), of<cos>(x), "dx = -sin(x) dy",
                   [x = Saved(x)](const Tensor& dy) { return -sin(x) * dy; });
}

Tensor tan(const Tensor& x, Here here) {
  const Op op{"tan", here};
  return op.record(unary(op, Unary::tan, x), of<tan>(x), "dx = (1 + y^2) dy",
                   [](const Tensor& dy, const Tensor& y) { return (1 + square(y)) * dy; });
}

Tensor tanh(const Tensor& x, Here here) {
  const Op op{"tanh", here};
  return op.record(unary(op, Unary::tanh, x), of<tanh>(x), "dx = (1 - y^2) dy",
                   [](const Tensor& dy, const Tensor& y) { return tanh_grad(y, dy); });
}

Tensor sigmoid(const Tensor& x, Here here) {
  const Op op{"sigmoid", here};
  return op.record(unary(op, Unary::sigmoid, x), of<sigmoid>(x), "dx = y (1 - y) dy",
                   [](const Tensor& dy, const Tensor& y) { return sigmoid_grad(y, dy); });
}

Tensor log_sigmoid(const Tensor& x, Here here) {
  const Op op{"log_sigmoid", here};
  return op.record(unary(op, Unary::log_sigmoid, x), of<log_sigmoid>(x), "dx = sigmoid(-x) dy",
                   [x = Saved(x)](const Tensor& dy) { return sigmoid(-x) * dy; });
}

Tensor softplus(const Tensor& x, double beta, double threshold, Here here) {
  const Op op{"softplus", here};
  if (!(beta > 0)) op.fail_value("beta = " + detail::text(beta) + " must be positive");
  const bool limited = threshold < std::numeric_limits<double>::infinity();
  const auto value = [&] {
    const NoGrad off;
    if (beta == 1 && !limited) return unary(op, Unary::softplus, x);
    const Tensor scaled = beta * x, y = unary(op, Unary::softplus, scaled) / beta;
    return limited ? where(gt(scaled, threshold), x, y) : y;
  };
  return op.record(value(), of<softplus>(x, beta, threshold),
                   limited     ? "dx = sigmoid(beta x) dy where beta x <= threshold, dy where beta x > threshold"
                   : beta == 1 ? "dx = sigmoid(x) dy"
                               : "dx = sigmoid(beta x) dy",
                   [x = Saved(x), beta, threshold, limited](const Tensor& dy) {
                     const Tensor scaled = beta == 1 ? x.get() : beta * x.get(), dx = sigmoid(scaled) * dy;
                     return limited ? where(gt(scaled, threshold), dy, dx) : dx;
                   });
}

Tensor relu(const Tensor& x, Here here) {
  const Op op{"relu", here};
  return op.record(unary(op, Unary::relu, x), of<relu>(x), "dx = dy where x > 0",
                   [](const Tensor& dy, const Tensor& y) { return relu_grad(y, dy); });
}

Tensor silu(const Tensor& x, Here here) {
  const Op op{"silu", here};
  Tensor y = op.record(unary(op, Unary::silu, x), of<silu>(x), "dx = s (1 + x (1 - s)) dy, s = sigmoid(x)",
                       [x = Saved(x)](const Tensor& dy) { return silu_grad(x, dy); });
  allow_remake(y, [x = Saved(x)] { return silu(x); });
  return y;
}

Tensor gelu(const Tensor& x, Here here) {
  const Op op{"gelu", here};
  Tensor y = op.record(unary(op, Unary::gelu, x), of<gelu>(x), "dx = (Phi(x) + x phi(x)) dy",
                       [x = Saved(x)](const Tensor& dy) { return gelu_grad(x, dy); });
  allow_remake(y, [x = Saved(x)] { return gelu(x); });
  return y;
}

Tensor gelu_tanh(const Tensor& x, Here here) {
  const Op op{"gelu_tanh", here};
  Tensor y = op.record(unary(op, Unary::gelu_tanh, x), of<gelu_tanh>(x),
                       "dx = (1 + t + x (1 - t^2) v) dy / 2, t = tanh(u), u = sqrt(2 / pi) (x + 0.044715 x^3), v = "
                       "sqrt(2 / pi) (1 + 0.134145 x^2)",
                       [x = Saved(x)](const Tensor& dy) { return gelu_tanh_grad(x, dy); });
  allow_remake(y, [x = Saved(x)] { return gelu_tanh(x); });
  return y;
}

Tensor erf(const Tensor& x, Here here) {
  const Op op{"erf", here};
  return op.record(unary(op, Unary::erf, x), of<erf>(x), "dx = 2 / sqrt(pi) e^(-x^2) dy",
                   [x = Saved(x)](const Tensor& dy) { return two_over_sqrt_pi * exp(-square(x)) * dy; });
}

namespace {

const char* clamp_rule(double low, double high) {
  const bool from = std::isfinite(low), to = std::isfinite(high);
  if (from != to) return from ? "dx = dy where x >= low" : "dx = dy where x <= high";
  return "dx = dy where low <= x <= high";
}

}  // namespace

Tensor clamp(const Tensor& x, double low, double high, Here here) {
  const Op op{"clamp", here};
  op.check_floating(x);
  if (!(low <= high)) op.fail_value("low " + detail::text(low) + " is above high " + detail::text(high));
  const auto clamped = [&] {
    const NoGrad off;
    return minimum(maximum(x, low), high);
  };
  return op.record(
      clamped(), of<clamp>(x, low, high), clamp_rule(low, high),
      [x = Saved(x), low, high](const Tensor& dy) { return where(logical_and(ge(x, low), le(x, high)), dy, 0); });
}

Tensor logit(const Tensor& x, double eps, Here here) {
  const Op op{"logit", here};
  op.check_floating(x);
  if (!(eps >= 0 && eps <= 0.5)) op.fail_value("eps = " + detail::text(eps) + " is not in [0, 0.5]");
  const Tensor inside = eps > 0 ? clamp(x, eps, 1 - eps) : x;
  return log(inside) - log1p(-inside);
}

Tensor leaky_relu(const Tensor& x, double slope, Here here) {
  const Op op{"leaky_relu", here};
  op.check_floating(x);
  return where(gt(x, 0), x, slope * x);
}

Tensor elu(const Tensor& x, double alpha, Here here) {
  const Op op{"elu", here};
  op.check_floating(x);
  // At 0 the slope is alpha and the curvature 0: a straight line.
  const Tensor from_0 = ge(x, 0), straight = alpha == 1 ? x : where(gt(x, 0), x, alpha * x);
  return where(from_0, straight, alpha * expm1(where(from_0, 0, x)));
}

Tensor prelu(const Tensor& x, const Tensor& slope, Here here) {
  const Op op{"prelu", here};
  op.check_floating(x);
  op.check_same_dtype(x, slope);
  const std::int64_t channels = x.rank() > 1 ? x.shape()[1] : 1;
  if (slope.rank() > 1 || (slope.numel() != 1 && slope.numel() != channels))
    op.fail_shape("slope " + slope.shape().str() + " is neither one value nor one for each of the " +
                  std::to_string(channels) + " channels of " + x.shape().str());
  Shape along;  // the slopes along axis 1 of x
  for (int i = 0; i < x.rank(); ++i) along.push_back(i == 1 ? slope.numel() : 1);
  const Tensor above = gt(x, 0);  // what is not selected meets no slope: 0 times an infinity is NaN
  return where(above, x, reshape(slope, along) * where(above, 0, x));
}

// ---- fused backward passes

Tensor relu_grad(const Tensor& x, const Tensor& dy, Here here) {
  const Op op{"relu_grad", here};
  return op.record(
      fused(op, Binary::relu_grad, x, dy), of<relu_grad>(x, dy), "dx = 0, ddy = g where x > 0",
      [](const Tensor&) { return Tensor(); }, [x = Saved(x)](const Tensor& g) { return relu_grad(x, g); });
}

Tensor silu_grad(const Tensor& x, const Tensor& dy, Here here) {
  const Op op{"silu_grad", here};
  return op.record(
      fused(op, Binary::silu_grad, x, dy), of<silu_grad>(x, dy),
      "dx = s (1 - s) (2 + x (1 - 2 s)) dy g, ddy = s (1 + x (1 - s)) g, s = sigmoid(x)",
      [x = Saved(x), dy = Saved(dy)](const Tensor& g) {
        const Tensor v = clamp(x, -750, 750), s = sigmoid(v);  // beyond, all is 0 and no infinity meets it
        return s * (1 - s) * (2 + v * (1 - 2 * s)) * dy.get() * g;
      },
      [x = Saved(x)](const Tensor& g) { return silu_grad(x, g); });
}

Tensor gelu_grad(const Tensor& x, const Tensor& dy, Here here) {
  const Op op{"gelu_grad", here};
  return op.record(
      fused(op, Binary::gelu_grad, x, dy), of<gelu_grad>(x, dy),
      "dx = phi(x) (2 - x^2) dy g, ddy = (Phi(x) + x phi(x)) g",
      [x = Saved(x), dy = Saved(dy)](const Tensor& g) {
        const Tensor v = clamp(x, -40, 40);  // beyond, the density is 0 and no infinity meets it
        return normal_density(v) * (2 - square(v)) * dy.get() * g;
      },
      [x = Saved(x)](const Tensor& g) { return gelu_grad(x, g); });
}

Tensor gelu_tanh_grad(const Tensor& x, const Tensor& dy, Here here) {
  const Op op{"gelu_tanh_grad", here};
  return op.record(
      fused(op, Binary::gelu_tanh_grad, x, dy), of<gelu_tanh_grad>(x, dy),
      "dx = (1 - t^2) (v + x w / 2 - x t v^2) dy g, ddy = (1 + t + x (1 - t^2) v) g / 2, t = tanh(u), "
      "u = sqrt(2 / pi) (x + 0.044715 x^3), v = sqrt(2 / pi) (1 + 0.134145 x^2), w = 0.26829 sqrt(2 / pi) x",
      [x = Saved(x), dy = Saved(dy)](const Tensor& g) {
        const Tensor v = clamp(x, -40, 40);
        const Tensor t = tanh(gelu_scale * (v + gelu_cubic * v * v * v));
        const Tensor du = gelu_scale * (1 + 3 * gelu_cubic * square(v));
        const Tensor ddu = 6 * gelu_scale * gelu_cubic * v;
        return (1 - square(t)) * (du + 0.5 * v * ddu - v * t * square(du)) * dy.get() * g;
      },
      [x = Saved(x)](const Tensor& g) { return gelu_tanh_grad(x, g); });
}

Tensor tanh_grad(const Tensor& y, const Tensor& dy, Here here) {
  const Op op{"tanh_grad", here};
  return op.record(
      fused(op, Binary::tanh_grad, y, dy), of<tanh_grad>(y, dy), "d_y = -2 y dy g, ddy = (1 - y^2) g",
      [y = Saved(y), dy = Saved(dy)](const Tensor& g) { return -2 * y.get() * dy.get() * g; },
      [y = Saved(y)](const Tensor& g) { return tanh_grad(y, g); });
}

Tensor sigmoid_grad(const Tensor& y, const Tensor& dy, Here here) {
  const Op op{"sigmoid_grad", here};
  return op.record(
      fused(op, Binary::sigmoid_grad, y, dy), of<sigmoid_grad>(y, dy), "d_y = (1 - 2 y) dy g, ddy = y (1 - y) g",
      [y = Saved(y), dy = Saved(dy)](const Tensor& g) { return (1 - 2 * y.get()) * dy.get() * g; },
      [y = Saved(y)](const Tensor& g) { return sigmoid_grad(y, g); });
}

}  // namespace attune
