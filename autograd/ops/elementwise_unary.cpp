// Functions of one operand, and the fused backward passes of some.

#include <cmath>
#include <numbers>

#include "autograd/ops/apply.h"
#include "autograd/ops/elementwise.h"

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
  return op.record(unary(op, Unary::sign, x), of<sign>(x), "dx = 0", [](const Tensor& dy) { return 0 * dy; });
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

Tensor softplus(const Tensor& x, Here here) {
  const Op op{"softplus", here};
  return op.record(unary(op, Unary::softplus, x), of<softplus>(x), "dx = sigmoid(x) dy",
                   [x = Saved(x)](const Tensor& dy) { return sigmoid(x) * dy; });
}

Tensor relu(const Tensor& x, Here here) {
  const Op op{"relu", here};
  return op.record(unary(op, Unary::relu, x), of<relu>(x), "dx = dy where x > 0",
                   [](const Tensor& dy, const Tensor& y) { return relu_grad(y, dy); });
}

Tensor silu(const Tensor& x, Here here) {
  const Op op{"silu", here};
  return op.record(unary(op, Unary::silu, x), of<silu>(x), "dx = s (1 + x (1 - s)) dy, s = sigmoid(x)",
                   [x = Saved(x)](const Tensor& dy) { return silu_grad(x, dy); });
}

Tensor gelu(const Tensor& x, Here here) {
  const Op op{"gelu", here};
  return op.record(unary(op, Unary::gelu, x), of<gelu>(x), "dx = (Phi(x) + x phi(x)) dy",
                   [x = Saved(x)](const Tensor& dy) { return gelu_grad(x, dy); });
}

Tensor gelu_tanh(const Tensor& x, Here here) {
  const Op op{"gelu_tanh", here};
  return op.record(unary(op, Unary::gelu_tanh, x), of<gelu_tanh>(x),
                   "dx = (1 + t + x (1 - t^2) u') dy / 2, t = tanh(u), u = sqrt(2/pi) (x + 0.044715 x^3)",
                   [x = Saved(x)](const Tensor& dy) { return gelu_tanh_grad(x, dy); });
}

Tensor erf(const Tensor& x, Here here) {
  const Op op{"erf", here};
  return op.record(unary(op, Unary::erf, x), of<erf>(x), "dx = 2/sqrt(pi) e^(-x^2) dy",
                   [x = Saved(x)](const Tensor& dy) { return two_over_sqrt_pi * exp(-square(x)) * dy; });
}

Tensor clamp(const Tensor& x, double low, double high, Here here) {
  const Op op{"clamp", here};
  op.check_floating(x);
  if (!(low <= high)) op.fail_value("low " + detail::text(low) + " is above high " + detail::text(high));
  const auto clamped = [&] {
    const NoGrad off;
    return minimum(maximum(x, low), high);
  };
  return op.record(
      clamped(), of<clamp>(x, low, high), "dx = dy where low <= x <= high",
      [x = Saved(x), low, high](const Tensor& dy) { return where(logical_and(ge(x, low), le(x, high)), dy, 0); });
}

// ---- fused backward passes
// ---------------------------------------------------------------------------------------------------------

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
      "dx = s (1 - s) (2 + x (1 - 2 s)) dy g, ddy = silu'(x) g",
      [x = Saved(x), dy = Saved(dy)](const Tensor& g) {
        const Tensor s = sigmoid(x);
        return s * (1 - s) * (2 + x.get() * (1 - 2 * s)) * dy.get() * g;
      },
      [x = Saved(x)](const Tensor& g) { return silu_grad(x, g); });
}

Tensor gelu_grad(const Tensor& x, const Tensor& dy, Here here) {
  const Op op{"gelu_grad", here};
  return op.record(
      fused(op, Binary::gelu_grad, x, dy), of<gelu_grad>(x, dy), "dx = phi(x) (2 - x^2) dy g, ddy = gelu'(x) g",
      [x = Saved(x), dy = Saved(dy)](const Tensor& g) { return normal_density(x) * (2 - square(x)) * dy.get() * g; },
      [x = Saved(x)](const Tensor& g) { return gelu_grad(x, g); });
}

Tensor gelu_tanh_grad(const Tensor& x, const Tensor& dy, Here here) {
  const Op op{"gelu_tanh_grad", here};
  return op.record(
      fused(op, Binary::gelu_tanh_grad, x, dy), of<gelu_tanh_grad>(x, dy),
      "dx = (1 - t^2) (u' + x u''/2 - x t u'^2) dy g, ddy = gelu_tanh'(x) g",
      [x = Saved(x), dy = Saved(dy)](const Tensor& g) {
        const Tensor& v = x.get();
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
