// Elementwise arithmetic. Shapes broadcast as in numpy; both sides have one dtype, which a scalar takes over:
// exactly next to an integer tensor, where a fraction, NaN or a number out of the dtype's range throws DTypeError (next
// to bool, anything but 0 and 1). Unary functions take float32 or float64 unless said. At kinks
// the gradient is the subgradient of least norm.
#pragma once

#include <limits>

#include "autograd/ops/operand.h"

namespace attune {

// Binary; also int64 and int32 where marked (i). Throws ShapeError if shapes do not broadcast, DTypeError
// if dtypes differ.
Tensor add(const Operand& a, const Operand& b, Here here = {});  ///< a + b (i)
Tensor sub(const Operand& a, const Operand& b, Here here = {});  ///< a - b (i)
Tensor mul(const Operand& a, const Operand& b, Here here = {});  ///< a b (i)
/// a / b; integers divide towards zero and throw ValueError by zero (i).
Tensor div(const Operand& a, const Operand& b, Here here = {});
/// a^b; the gradient with respect to b is 0 where a = 0 and b >= 0.
Tensor pow(const Operand& a, const Operand& b, Here here = {});
/// NaN wins; a tie shares the gradient 0.5 / 0.5 (i).
Tensor maximum(const Operand& a, const Operand& b, Here here = {});
/// NaN wins; a tie shares the gradient 0.5 / 0.5 (i).
Tensor minimum(const Operand& a, const Operand& b, Here here = {});

Tensor div_trunc(const Operand& a, const Operand& b, Here here = {});  ///< a / b towards zero; gradient 0
/// a - b trunc(a / b), of a's sign; da = dy, db = -trunc(a / b) dy.
Tensor fmod(const Operand& a, const Operand& b, Here here = {});
/// The angle of (b, a) in (-pi, pi]; gradient 0 at (0, 0).
Tensor atan2(const Operand& a, const Operand& b, Here here = {});
/// sqrt(a^2 + b^2) without overflow; gradient 0 at (0, 0).
Tensor hypot(const Operand& a, const Operand& b, Here here = {});
/// log(e^a + e^b); gradient 0 if both are -inf.
Tensor logaddexp(const Operand& a, const Operand& b, Here here = {});
/// a log(b), 0 where a = 0 (unless b is NaN), with gradient 0 there where b <= 0.
Tensor xlogy(const Operand& a, const Operand& b, Here here = {});

inline Tensor operator+(const Operand& a, const Operand& b) { return add(a, b); }
inline Tensor operator-(const Operand& a, const Operand& b) { return sub(a, b); }
inline Tensor operator*(const Operand& a, const Operand& b) { return mul(a, b); }
inline Tensor operator/(const Operand& a, const Operand& b) { return div(a, b); }
Tensor operator-(const Operand& a);

// Comparisons: bool tensors off the tape; any dtype.
Tensor eq(const Operand& a, const Operand& b, Here here = {});
Tensor ne(const Operand& a, const Operand& b, Here here = {});
Tensor lt(const Operand& a, const Operand& b, Here here = {});
Tensor le(const Operand& a, const Operand& b, Here here = {});
Tensor gt(const Operand& a, const Operand& b, Here here = {});
Tensor ge(const Operand& a, const Operand& b, Here here = {});
Tensor logical_and(const Tensor& a, const Tensor& b, Here here = Here::current());  ///< bool
Tensor logical_or(const Tensor& a, const Tensor& b, Here here = Here::current());   ///< bool
Tensor logical_not(const Tensor& a, Here here = Here::current());                   ///< bool

/// c ? a : b with a bool condition; the unselected side gets a zero gradient, whatever it holds. What computes that
/// side multiplies this zero by its own slope, which gives NaN if the slope is infinite, as that of sqrt at 0. The safe
/// form gives it a harmless argument: where(zero, 0, sqrt(where(zero, 1, x))) with zero = eq(x, 0).
Tensor where(const Tensor& c, const Operand& a, const Operand& b, Here here = Here::current());
/// x with `value` where the mask is true; both broadcast.
Tensor masked_fill(const Tensor& x, const Tensor& mask, const Operand& value, Here here = Here::current());
/// min(max(x, low), high); the gradient passes where low <= x <= high.
Tensor clamp(const Tensor& x, double low, double high, Here here = Here::current());
/// max(x, low); `low` may be a tensor: the gradient goes to x where x >= low, to `low` elsewhere. NaN stays NaN.
Tensor clamp_min(const Operand& x, const Operand& low, Here here = {});
/// min(x, high): the gradient goes to x where x <= high, to `high` elsewhere.
Tensor clamp_max(const Operand& x, const Operand& high, Here here = {});
/// a + w (b - a); all three broadcast; b itself at w = 1, and at either end whatever the other one holds.
Tensor lerp(const Tensor& a, const Tensor& b, const Operand& w, Here here = Here::current());
/// x + value a b.
Tensor addcmul(const Tensor& x, const Tensor& a, const Tensor& b, const Scalar& value = 1, Here here = Here::current());

Tensor neg(const Tensor& x, Here here = Here::current());
Tensor abs(const Tensor& x, Here here = Here::current());    ///< gradient 0 at 0
Tensor sign(const Tensor& x, Here here = Here::current());   ///< gradient 0
Tensor floor(const Tensor& x, Here here = Here::current());  ///< gradient 0
Tensor ceil(const Tensor& x, Here here = Here::current());   ///< gradient 0
Tensor round(const Tensor& x, Here here = Here::current());  ///< half to even; gradient 0
Tensor trunc(const Tensor& x, Here here = Here::current());  ///< gradient 0
Tensor square(const Tensor& x, Here here = Here::current());
Tensor sqrt(const Tensor& x, Here here = Here::current());
Tensor rsqrt(const Tensor& x, Here here = Here::current());
Tensor reciprocal(const Tensor& x, Here here = Here::current());
Tensor exp(const Tensor& x, Here here = Here::current());
Tensor exp2(const Tensor& x, Here here = Here::current());
Tensor expm1(const Tensor& x, Here here = Here::current());
Tensor log(const Tensor& x, Here here = Here::current());
Tensor log2(const Tensor& x, Here here = Here::current());
Tensor log1p(const Tensor& x, Here here = Here::current());
Tensor sin(const Tensor& x, Here here = Here::current());
Tensor cos(const Tensor& x, Here here = Here::current());
Tensor tan(const Tensor& x, Here here = Here::current());
Tensor tanh(const Tensor& x, Here here = Here::current());
Tensor sigmoid(const Tensor& x, Here here = Here::current());
Tensor log_sigmoid(const Tensor& x, Here here = Here::current());
/// log(1 + e^(beta x)) / beta; x itself where beta x > threshold (never, unless asked for).
Tensor softplus(const Tensor& x, double beta = 1, double threshold = std::numeric_limits<double>::infinity(),
                Here here = Here::current());
/// log(x / (1 - x)), x first clamped to [eps, 1 - eps] if eps is given.
Tensor logit(const Tensor& x, double eps = 0, Here here = Here::current());
Tensor relu(const Tensor& x, Here here = Here::current());  ///< gradient 0 at 0
/// x where x > 0, slope x elsewhere.
Tensor leaky_relu(const Tensor& x, double slope = 0.01, Here here = Here::current());
/// x where x > 0, alpha (e^x - 1) elsewhere (Clevert et al. 2016).
Tensor elu(const Tensor& x, double alpha = 1, Here here = Here::current());
/// leaky_relu with a learned slope: one, or one for each place along axis 1 (He et al. 2015).
Tensor prelu(const Tensor& x, const Tensor& slope, Here here = Here::current());
Tensor silu(const Tensor& x, Here here = Here::current());  ///< x sigmoid(x); 0 at -inf
Tensor gelu(const Tensor& x, Here here = Here::current());  ///< x Phi(x), by erf (Hendrycks and Gimpel 2016); 0 at -inf
Tensor gelu_tanh(const Tensor& x, Here here = Here::current());  ///< its tanh form, as GPT-2 has it
Tensor erf(const Tensor& x, Here here = Here::current());

// Fused backward passes, differentiable in turn: the gradient of f at x (or, for tanh and sigmoid, at the output
// y) times dy.
Tensor relu_grad(const Tensor& x, const Tensor& dy, Here here = Here::current());
Tensor silu_grad(const Tensor& x, const Tensor& dy, Here here = Here::current());
Tensor gelu_grad(const Tensor& x, const Tensor& dy, Here here = Here::current());
Tensor gelu_tanh_grad(const Tensor& x, const Tensor& dy, Here here = Here::current());
Tensor tanh_grad(const Tensor& y, const Tensor& dy, Here here = Here::current());
Tensor sigmoid_grad(const Tensor& y, const Tensor& dy, Here here = Here::current());

}  // namespace attune
