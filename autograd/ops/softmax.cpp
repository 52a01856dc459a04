#include "autograd/ops/softmax.h"

#include "autograd/kernels/rows.h"
#include "autograd/ops/elementwise.h"
#include "autograd/ops/internal/apply.h"
#include "autograd/ops/internal/zero_product.h"
#include "autograd/ops/movement.h"
#include "autograd/ops/reduce.h"

namespace attune {

using detail::dense;
using detail::elements;
using detail::row_axis;
using detail::with_floating;

namespace {

/// kernel(x, other, y, rows, n) on the dense rows along `axis` of x and of `other`, which may be undefined. The result
/// has x's layout.
template <class Kernel>
Tensor by_rows(const Tensor& x, int axis, const Tensor& other, Kernel&& kernel) {
  const NoGrad off;
  const bool last = axis == x.rank() - 1;
  const auto rows_of = [&](const Tensor& t) { return last || !t.defined() ? dense(t) : dense(transpose(t, axis, -1)); };
  const Tensor a = rows_of(x), b = rows_of(other);
  Tensor y = empty(a.shape(), a.dtype());
  const std::int64_t n = a.shape().back();
  if (y.numel() != 0)
    with_floating(x.dtype(), [&]<class T>(T) {
      kernel(elements<const T>(a), elements<const T>(b), elements<T>(y), y.numel() / n, n);
    });
  return last ? y : contiguous(transpose(y, axis, -1));
}

struct SoftmaxRule {
  int axis;
  Tensor operator()(const Tensor& dy, const Tensor& y) const { return softmax_grad(y, dy, axis); }
  std::string text() const { return "dx = y (dy - sum(y dy)), summed along axis " + std::to_string(axis); }
};

struct LogSoftmaxRule {
  int axis;
  Tensor operator()(const Tensor& dy, const Tensor& y) const { return log_softmax_grad(y, dy, axis); }
  std::string text() const { return "dx = dy - e^y sum(dy), summed along axis " + std::to_string(axis); }
};

}  // namespace

Tensor softmax(const Tensor& x, std::int64_t axis, Here here) {
  const Op op{"softmax", here};
  op.check_floating(x);
  const int a = row_axis(op, x, axis);
  if (x.rank() == 0) return reshape(softmax(reshape(x, {1})), {});
  Tensor y = by_rows(x, a, {}, []<class T>(const T* in, const T*, T* out, std::int64_t rows, std::int64_t n) {
    kernels::softmax(in, out, rows, n);
  });
  return op.record(std::move(y), of<softmax>(x, axis), "dx = y (dy - sum(y dy))", SoftmaxRule{a});
}

Tensor log_softmax(const Tensor& x, std::int64_t axis, Here here) {
  const Op op{"log_softmax", here};
  op.check_floating(x);
  const int a = row_axis(op, x, axis);
  if (x.rank() == 0) return reshape(log_softmax(reshape(x, {1})), {});
  Tensor y = by_rows(x, a, {}, []<class T>(const T* in, const T*, T* out, std::int64_t rows, std::int64_t n) {
    kernels::log_softmax(in, out, rows, n);
  });
  return op.record(std::move(y), of<log_softmax>(x, axis), "dx = dy - e^y sum(dy)", LogSoftmaxRule{a});
}

namespace {

int grad_axis(const Op& op, const Tensor& y, const Tensor& dy, std::int64_t axis) {
  op.check_floating(y);
  op.check_same_dtype(y, dy);
  if (y.shape() != dy.shape()) op.fail_shape("dy " + dy.shape().str() + " differs from y " + y.shape().str());
  return op.axis(axis, y);
}

}  // namespace

Tensor softmax_grad(const Tensor& y, const Tensor& dy, std::int64_t axis, Here here) {
  const Op op{"softmax_grad", here};
  const int a = grad_axis(op, y, dy, axis);
  Tensor dx = by_rows(y, a, dy, []<class T>(const T* p, const T* g, T* out, std::int64_t rows, std::int64_t n) {
    kernels::softmax_grad(p, g, out, rows, n);
  });
  return op.record(
      std::move(dx), of<softmax_grad>(y, dy, axis), "d_y = g (dy - sum(y dy)) - dy sum(g y), ddy = y (g - sum(y g))",
      [y = Saved(y), dy = Saved(dy), a](const Tensor& g) {
        const Tensor &p = y.get(), d = detail::finite_where_weightless(dy, y);
        return g * (d - sum(p * d, {a}, true)) - d * sum(g * p, {a}, true);
      },
      [y = Saved(y), a](const Tensor& g) { return softmax_grad(y, g, a); });
}

Tensor log_softmax_grad(const Tensor& y, const Tensor& dy, std::int64_t axis, Here here) {
  const Op op{"log_softmax_grad", here};
  const int a = grad_axis(op, y, dy, axis);
  Tensor dx = by_rows(y, a, dy, []<class T>(const T* p, const T* g, T* out, std::int64_t rows, std::int64_t n) {
    kernels::log_softmax_grad(p, g, out, rows, n);
  });
  return op.record(
      std::move(dx), of<log_softmax_grad>(y, dy, axis), "d_y = -e^y sum(dy) g, ddy = g - sum(e^y g)",
      [y = Saved(y), dy = Saved(dy), a](const Tensor& g) { return -exp(y) * sum(dy, {a}, true) * g; },
      [y = Saved(y), a](const Tensor& g) {
        const Tensor p = exp(y);
        return where(eq(sum(p, {a}, true), 0), 0, g - sum(p * g, {a}, true));  // rows of -inf take no gradient
      });
}

}  // namespace attune
