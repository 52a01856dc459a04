#include "autograd/ops/random.h"

#include "autograd/kernels/random.h"
#include "autograd/ops/internal/apply.h"
#include "autograd/ops/movement.h"

namespace attune {

using detail::elements;
using detail::with_floating;

namespace {

Tensor fresh(const Op& op, const Shape& shape, DType dtype) {
  if (!is_floating(dtype)) op.fail_dtype(std::string("needs float32 or float64, got ") + name_of(dtype));
  return op.empty(shape, dtype);
}

}  // namespace

Tensor randn(const Shape& shape, DType dtype, Generator& g, Here here) {
  const Op op{"randn", here};
  Tensor y = fresh(op, shape, dtype);
  const RandomKey key = g.next();
  with_floating(dtype, [&]<class T>(T) { kernels::normal<T>(key, 0, 1, elements<T>(y), y.numel()); });
  return y;
}

Tensor rand(const Shape& shape, DType dtype, Generator& g, Here here) {
  const Op op{"rand", here};
  Tensor y = fresh(op, shape, dtype);
  const RandomKey key = g.next();
  with_floating(dtype, [&]<class T>(T) { kernels::uniform<T>(key, 0, 1, elements<T>(y), y.numel()); });
  return y;
}

Tensor randint(std::int64_t low, std::int64_t high, const Shape& shape, Generator& g, Here here) {
  const Op op{"randint", here};
  if (low >= high) op.fail_value("low = " + std::to_string(low) + " must be below high = " + std::to_string(high));
  Tensor y = op.empty(shape, DType::int64);
  kernels::random_integers(g.next(), low, high, elements<std::int64_t>(y), y.numel());
  return y;
}

Tensor randperm(std::int64_t n, Generator& g, Here here) {
  const Op op{"randperm", here};
  if (n < 0) op.fail_value("n = " + std::to_string(n) + " is negative");
  Tensor y = op.empty({n}, DType::int64);
  kernels::permutation(g.next(), elements<std::int64_t>(y), n);
  return y;
}

Tensor dropout(const Tensor& x, double p, Generator& g, Here here) {
  const Op op{"dropout", here};
  op.check_floating(x);
  if (!(p >= 0 && p <= 1)) op.fail_value("p = " + detail::text(p) + " is not in [0, 1]");
  return p == 0 ? x : dropout_at(x, p, g.next());
}

Tensor dropout_at(const Tensor& x, double p, RandomKey key, Here here) {
  const Op op{"dropout", here};
  op.check_floating(x);
  if (!(p >= 0 && p <= 1)) op.fail_value("p = " + detail::text(p) + " is not in [0, 1]");
  const Tensor from = detail::dense(x);
  Tensor y = op.empty_like(x);
  with_floating(x.dtype(),
                [&]<class T>(T) { kernels::dropout<T>(key, p, elements<const T>(from), elements<T>(y), y.numel()); });
  return op.record(std::move(y), of<dropout_at>(x, p, key), "dx = dy where kept, scaled by 1 / (1 - p)",
                   [p, key](const Tensor& dy) { return dropout_at(dy, p, key); });
}

}  // namespace attune
