#include "autograd/ops/matmul.h"

#include <limits>
#include <vector>

#include "autograd/kernels/gemm.h"
#include "autograd/kernels/zero_product.h"
#include "autograd/ops/elementwise.h"
#include "autograd/ops/internal/apply.h"
#include "autograd/ops/internal/zero_product.h"
#include "autograd/ops/movement.h"
#include "autograd/ops/reduce.h"

namespace attune {

using detail::elements;
using detail::with_floating;

namespace {

/// The last two axes of a tensor as BLAS reads them: rows at stride `ld`, or, transposed, columns at stride `ld`.
struct Matrix {
  Tensor x;
  bool transposed = false;
  std::int64_t ld = 0;
};

Matrix matrix_of(const Tensor& t) {
  Tensor x = t.detach();
  const auto fits = [](const Tensor& m, int run, int step) {  // `run` dense, `step` apart without overlap
    return (m.strides()[run] == 1 || m.shape()[run] <= 1) &&
           (m.strides()[step] >= m.shape()[run] || m.shape()[step] <= 1);
  };
  const int r = x.rank();
  if (fits(x, r - 1, r - 2)) return {x, false, std::max(x.strides()[r - 2], x.shape()[r - 1])};
  if (fits(x, r - 2, r - 1)) return {x, true, std::max(x.strides()[r - 1], x.shape()[r - 2])};
  const NoGrad off;
  x = contiguous(x);
  return {x, false, std::max<std::int64_t>(x.shape()[r - 1], 1)};
}

Shape leading(const Shape& s) {
  Shape l = s;
  l.resize(s.rank() - 2);
  return l;
}

/// Where each matrix of a broadcast batch begins, in elements.
std::vector<std::int64_t> offsets(const Tensor& x, const Shape& batch) {
  Shape shape = leading(x.shape());
  Strides strides = x.strides();
  strides.resize(shape.rank());
  const Strides s = broadcast_strides(shape, strides, batch);
  std::vector<std::int64_t> out(static_cast<std::size_t>(numel(batch)));
  Shape at;
  at.resize(batch.rank());
  std::int64_t offset = 0;
  for (std::int64_t& o : out) {
    o = offset;
    for (int i = batch.rank() - 1; i >= 0; --i) {
      offset += s[i];
      if (++at[i] < batch[i]) break;
      offset -= at[i] * s[i];
      at[i] = 0;
    }
  }
  return out;
}

std::string sizes(const Tensor& a, const Tensor& b) { return a.shape().str() + " x " + b.shape().str(); }

/// x [.., m, k] as one [M, k] matrix.
Tensor folded(const Tensor& x) { return x.rank() == 2 ? x : flatten(x, 0, -2); }

template <class T>
void multiply(const Matrix& a, const Matrix& b, const Tensor& y, const Shape& batch) {
  const int r = y.rank();
  const std::int64_t m = y.shape()[r - 2], n = y.shape()[r - 1];
  const std::int64_t k = a.x.shape().back();
  const kernels::Gemm<T> g{.trans_a = a.transposed,
                           .trans_b = b.transposed,
                           .m = m,
                           .n = n,
                           .k = k,
                           .a = elements<const T>(a.x),
                           .lda = a.ld,
                           .b = elements<const T>(b.x),
                           .ldb = b.ld,
                           .c = elements<T>(y),
                           .ldc = n};
  if (batch.empty()) {
    kernels::gemm(g);
    return;
  }
  const std::vector<std::int64_t> a_off = offsets(a.x, batch), b_off = offsets(b.x, batch);
  std::vector<std::int64_t> c_off(a_off.size());
  for (std::size_t i = 0; i < c_off.size(); ++i) c_off[i] = static_cast<std::int64_t>(i) * m * n;
  kernels::gemm_batched(g, static_cast<std::int64_t>(c_off.size()), a_off.data(), b_off.data(), c_off.data());
}

bool folds(const Tensor& a, const Tensor& b) { return b.rank() == 2 && a.rank() > 2; }

const char* product_rule(const Tensor& a, const Tensor& b) {
  return folds(a, b) ? "da = dy b^T, db = a^T dy summed over the leading axes" : "da = dy b^T, db = a^T dy";
}

/// a b for at least two axes each, off the tape.
Tensor product(const Op& op, const Tensor& a, const Tensor& b) {
  const bool fold = folds(a, b);  // one tall product
  Shape batch;
  if (!fold && !broadcast(leading(a.shape()), leading(b.shape()), batch))
    op.fail_shape("leading axes do not broadcast: " + sizes(a, b));
  Shape shape = fold ? leading(a.shape()) : batch;
  shape.push_back(a.size(-2));
  shape.push_back(b.size(-1));
  Tensor y = op.empty(shape, a.dtype());
  if (y.numel() == 0) return y;
  const NoGrad off;
  const Matrix left = matrix_of(fold ? folded(a.detach()) : a), right = matrix_of(b);
  const Tensor flat =
      fold ? view_of(y, {left.x.size(0), b.size(-1)}, contiguous_strides({left.x.size(0), b.size(-1)}), 0) : y;
  with_floating(a.dtype(), [&]<class T>(T) { multiply<T>(left, right, flat, batch); });
  return y;
}

}  // namespace

namespace detail {

namespace {

Tensor finite_part(const Tensor& x) { return where(lt(abs(x), std::numeric_limits<double>::infinity()), x, 0); }

/// y, the product, without the terms that zeros leave out; y itself if there are too many to look at.
Tensor without_zero_terms(const Op& op, const Tensor& y, const Tensor& a, const Tensor& b, Zeros zeros) {
  const NoGrad off;
  const Tensor left = a.detach(), right = b.detach();
  if (!has_non_finite(left) && !has_non_finite(right)) return y;  // it overflowed
  const std::int64_t m = folds(a, b) ? y.numel() / y.size(-1) : y.size(-2), n = y.size(-1), k = a.size(-1);
  Tensor z = product(op, finite_part(left), finite_part(right));
  Shape batch = folds(a, b) ? Shape{} : leading(y.shape());
  const auto whole = [&](const Tensor& x) {
    if (folds(a, b)) return contiguous(x);
    Shape shape = batch;
    shape.push_back(x.size(-2));
    shape.push_back(x.size(-1));
    return contiguous(expand(x, shape));
  };
  const Tensor as = whole(left), bs = whole(right);
  bool all = true;
  with_floating(y.dtype(), [&]<class T>(T) {
    for (std::int64_t i = 0; all && i < numel(batch); ++i)
      all = kernels::add_non_finite_terms<T>(zeros != Zeros::right, zeros != Zeros::left, m, n, k,
                                             elements<const T>(as) + i * m * k, elements<const T>(bs) + i * k * n,
                                             elements<T>(z) + i * m * n);
  });
  return all ? z : y;
}

Tensor past_zeros(const Tensor& a, const Tensor& b, Zeros zeros, Here here) {
  const Op op{"matmul", here};
  Tensor y = product(op, a, b);
  if (has_non_finite(y)) y = without_zero_terms(op, y, a, b, zeros);
  return op.record(
      std::move(y), of<past_zeros>(a, b, zeros), product_rule(a, b),
      [b = op.saved_for(a, b), zeros](const Tensor& dy) {
        return matmul_past_zeros(dy, transpose(b), zeros == Zeros::left ? Zeros::left : Zeros::both);
      },
      [a = op.saved_for(b, a), fold = folds(a, b), zeros](const Tensor& dy) {
        const Zeros both = zeros == Zeros::right ? Zeros::right : Zeros::both;
        if (fold) return matmul_past_zeros(transpose(folded(a)), folded(dy), both);
        return matmul_past_zeros(transpose(a), dy, both);
      });
}

}  // namespace

Tensor matmul_past_zeros(const Tensor& a, const Tensor& b, Zeros zeros) { return past_zeros(a, b, zeros, {}); }

}  // namespace detail

using detail::matmul_past_zeros;
using detail::Zeros;

Tensor matmul(const Tensor& a, const Tensor& b, Here here) {
  const Op op{"matmul", here};
  op.check_floating(a);
  op.check_same_dtype(a, b);
  if (a.rank() == 0 || b.rank() == 0) op.fail_shape("needs at least one axis on both sides: " + sizes(a, b));
  const std::int64_t ka = a.size(-1), kb = b.size(b.rank() == 1 ? 0 : -2);
  if (ka != kb)
    op.fail_shape("inner sizes differ: " + sizes(a, b) + " (" + std::to_string(ka) + " != " + std::to_string(kb) + ")");
  if (a.rank() == 1) {
    const Tensor y = matmul(unsqueeze(a, 0), b);
    return squeeze(y, b.rank() == 1 ? 0 : -2);
  }
  if (b.rank() == 1) return squeeze(matmul(a, unsqueeze(b, 1)), -1);
  // A cotangent of 0 hands on 0, whatever it meets: a masked row gives no gradient to a weight.
  return op.record(
      product(op, a, b), of<matmul>(a, b), product_rule(a, b),
      [b = Saved(b)](const Tensor& dy) { return matmul_past_zeros(dy, transpose(b), Zeros::left); },
      [a = Saved(a), fold = folds(a, b)](const Tensor& dy) {
        if (fold) return matmul_past_zeros(transpose(folded(a)), folded(dy), Zeros::right);
        return matmul_past_zeros(transpose(a), dy, Zeros::right);
      });
}

namespace {

/// The gradient of the activation at its argument z or, if that is enough, from its output y.
Tensor activation_grad(Activation f, const Tensor& z, const Tensor& y, const Tensor& dy) {
  switch (f) {
    case Activation::none: return dy;
    case Activation::relu: return relu_grad(y, dy);
    case Activation::tanh: return tanh_grad(y, dy);
    case Activation::sigmoid: return sigmoid_grad(y, dy);
    case Activation::gelu: return gelu_grad(z, dy);
    case Activation::gelu_tanh: return gelu_tanh_grad(z, dy);
    case Activation::silu: return silu_grad(z, dy);
  }
  return dy;
}

/// Whether its gradient is a function of its argument, not of its output.
bool needs_argument(Activation f) {
  switch (f) {
    case Activation::gelu:
    case Activation::gelu_tanh:
    case Activation::silu: return true;
    case Activation::none:
    case Activation::relu:
    case Activation::tanh:
    case Activation::sigmoid: return false;
  }
  return true;
}

Tensor activated(Activation f, const Tensor& z) {
  switch (f) {
    case Activation::none: return z;
    case Activation::relu: return relu(z);
    case Activation::tanh: return tanh(z);
    case Activation::sigmoid: return sigmoid(z);
    case Activation::gelu: return gelu(z);
    case Activation::gelu_tanh: return gelu_tanh(z);
    case Activation::silu: return silu(z);
  }
  return z;
}

/// z is the activation's argument.
const char* linear_rule(Activation f, bool bias) {
  switch (f) {
    case Activation::none: return bias ? "dx = dy w, dw = dy^T x, dbias = sum of dy" : "dx = dy w, dw = dy^T x";
    case Activation::relu:
      return bias ? "dx = dz w, dw = dz^T x, dbias = sum of dz, dz = dy where y > 0"
                  : "dx = dz w, dw = dz^T x, dz = dy where y > 0";
    case Activation::tanh:
      return bias ? "dx = dz w, dw = dz^T x, dbias = sum of dz, dz = (1 - y^2) dy"
                  : "dx = dz w, dw = dz^T x, dz = (1 - y^2) dy";
    case Activation::sigmoid:
      return bias ? "dx = dz w, dw = dz^T x, dbias = sum of dz, dz = y (1 - y) dy"
                  : "dx = dz w, dw = dz^T x, dz = y (1 - y) dy";
    case Activation::gelu:
      return bias ? "dx = dz w, dw = dz^T x, dbias = sum of dz, dz = (Phi(z) + z phi(z)) dy, z = x w^T + bias"
                  : "dx = dz w, dw = dz^T x, dz = (Phi(z) + z phi(z)) dy, z = x w^T";
    case Activation::gelu_tanh:
      return bias ? "dx = dz w, dw = dz^T x, dbias = sum of dz, dz = (1 + t + z (1 - t^2) v) dy / 2, t = tanh(u), "
                    "u = sqrt(2 / pi) (z + 0.044715 z^3), v = sqrt(2 / pi) (1 + 0.134145 z^2), z = x w^T + bias"
                  : "dx = dz w, dw = dz^T x, dz = (1 + t + z (1 - t^2) v) dy / 2, t = tanh(u), "
                    "u = sqrt(2 / pi) (z + 0.044715 z^3), v = sqrt(2 / pi) (1 + 0.134145 z^2), z = x w^T";
    case Activation::silu:
      return bias ? "dx = dz w, dw = dz^T x, dbias = sum of dz, dz = s (1 + z (1 - s)) dy, s = sigmoid(z), "
                    "z = x w^T + bias"
                  : "dx = dz w, dw = dz^T x, dz = s (1 + z (1 - s)) dy, s = sigmoid(z), z = x w^T";
  }
  return "";
}

Tensor linear_composed(const Tensor& x, const Tensor& w, const Tensor& bias, Activation f, Here here) {
  const Op op{"linear_composed", here};
  const Tensor z = matmul(x, transpose(w));
  return activated(f, bias.defined() ? z + bias : z);
}

/// The gradients of x w^T + bias. A row whose cotangent is 0 gives none, whatever it holds.
Tensors linear_grads(const Tensor& x, const Tensor& w, const Tensor& dz, const Needs& needs) {
  const Tensor rows = dz.rank() == 1 ? unsqueeze(dz, 0) : folded(dz);
  Tensors dxs(3);
  if (needs[0]) {
    const Tensor dx = matmul_past_zeros(dz.rank() == 1 ? rows : dz, w, Zeros::left);
    dxs[0] = dz.rank() == 1 ? squeeze(dx, 0) : dx;
  }
  if (needs[1]) dxs[1] = matmul_past_zeros(transpose(rows), x.rank() == 1 ? unsqueeze(x, 0) : folded(x), Zeros::left);
  if (needs[2]) dxs[2] = sum(rows, {0});
  return dxs;
}

}  // namespace

Tensor linear(const Tensor& x, const Tensor& w, const Tensor& bias, Activation f, Here here) {
  const Op op{"linear", here};
  op.check_floating(x);
  op.check_same_dtype(x, w);
  if (x.rank() == 0 || w.rank() != 2 || x.size(-1) != w.size(1))
    op.fail_shape("x " + x.shape().str() + " does not fit the weight " + w.shape().str() + ", which is [out, in]");
  const std::int64_t in = w.size(1), out = w.size(0);
  if (bias.defined()) {
    op.check_same_dtype(x, bias);
    if (bias.shape() != Shape{out})
      op.fail_shape("the bias " + bias.shape().str() + " does not fit the weight " + w.shape().str());
  }
  Shape shape = x.shape();
  shape.back() = out;
  Tensor y = op.empty(shape, x.dtype());
  Tensor z;  // the activation's argument, if the backward pass wants it
  const bool recorded =
      grad_enabled() && (x.requires_grad() || w.requires_grad() || (bias.defined() && bias.requires_grad()));
  if (recorded && needs_argument(f)) z = op.empty(shape, x.dtype());
  if (y.numel() != 0) {
    const NoGrad off;
    const Tensor rows = x.detach();
    const Matrix left = matrix_of(rows.rank() == 1 ? unsqueeze(rows, 0) : folded(rows)), right = matrix_of(w);
    const Tensor b = detail::dense(bias);
    with_floating(x.dtype(), [&]<class T>(T) {
      kernels::gemm<T>({.trans_a = left.transposed,
                        .trans_b = !right.transposed,
                        .m = y.numel() / out,
                        .n = out,
                        .k = in,
                        .a = elements<const T>(left.x),
                        .lda = left.ld,
                        .b = elements<const T>(right.x),
                        .ldb = right.ld,
                        .c = elements<T>(y),
                        .ldc = out,
                        .bias = elements<const T>(b),
                        .act = f,
                        .pre = elements<T>(z)});
    });
  }
  const auto call = of<linear, linear_composed>(x, w, bias, f);
  const char* const rule = linear_rule(f, bias.defined());
  const SavedOrRemade input(x);
  if (f == Activation::none || needs_argument(f)) {  // keeps z alone: the output may go
    y = op.record_joint(std::move(y), call, rule,
                        [input, w = Saved(w), bias = Saved(bias), z, f](const Tensors& dys, const Needs& needs) {
                          const bool again = needs_argument(f) && grad_enabled();
                          const Tensor from = needs[1] || again ? input.get() : Tensor();
                          // For higher derivatives z must be on the tape, so it is computed again.
                          const Tensor argument = again ? linear(from, w, bias) : z;
                          return linear_grads(from, w, activation_grad(f, argument, {}, dys[0]), needs);
                        });
    if (z.defined()) allow_remake(y, [z, f] { return activated(f, z); });
    return y;
  }
  return op.record_joint(
      std::move(y), call, rule, [input, w = Saved(w), f](const Tensors& dys, const Needs& needs, const Tensors& ys) {
        return linear_grads(needs[1] ? input.get() : Tensor(), w, activation_grad(f, {}, ys[0], dys[0]), needs);
      });
}

}  // namespace attune
