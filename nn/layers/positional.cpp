#include "nn/layers/positional.h"

#include <algorithm>
#include <cmath>

#include "autograd/ops/create.h"
#include "autograd/ops/elementwise.h"
#include "autograd/ops/embedding.h"
#include "autograd/ops/movement.h"
#include "autograd/tape/op.h"
#include "nn/init.h"
#include "nn/internal/check.h"

namespace attune::nn {

namespace {

Tensor table(const detail::Check& check, const Shape& shape, double std) {
  for (std::int64_t s : shape)
    if (s < 1) check.fail("sizes must be at least 1, got " + shape.str());
  check.finite(std, "std");
  Tensor t = zeros(shape);
  return init::normal_(t, 0, std);
}

/// Rows offset .. offset + n - 1.
Tensor positions(const Op& op, const Tensor& rows, std::int64_t n, std::int64_t offset) {
  if (n < 0 || offset < 0 || offset > rows.size(0) - n)
    op.fail_shape("positions " + std::to_string(offset) + " to " + std::to_string(offset + n) + " do not fit " +
                  std::to_string(rows.size(0)));
  return slice(rows, 0, offset, offset + n);
}

}  // namespace

Tensor sinusoidal_positions(std::int64_t n, std::int64_t d, DType dtype, Here here) {
  if (n < 0 || d < 2 || d % 2 != 0)
    throw ValueError("sinusoidal_positions: n = " + std::to_string(n) +
                         " must not be negative and d = " + std::to_string(d) + " must be even",
                     here);
  std::vector<double> values;
  for (std::int64_t p = 0; p < n; ++p)
    for (std::int64_t i = 0; i < d; i += 2) {
      const double angle = static_cast<double>(p) * std::pow(10000.0, -static_cast<double>(i) / static_cast<double>(d));
      values.push_back(std::sin(angle));
      values.push_back(std::cos(angle));
    }
  return tensor(values, {n, d}, dtype, here);
}

SinusoidalPositionEmbedding::SinusoidalPositionEmbedding(std::int64_t most, std::int64_t d, Here here)
    : Module(here), table_(sinusoidal_positions(most, d, DType::float64, site())) {}

Tensor SinusoidalPositionEmbedding::operator()(std::int64_t n, std::int64_t offset, DType dtype, Here here) const {
  const Scope scope(*this, "SinusoidalPositionEmbedding", here);
  scope.in(Tensors{});
  return scope.out(attune::to(positions({"SinusoidalPositionEmbedding", here}, table_, n, offset), dtype));
}

LearnedPositionEmbedding::LearnedPositionEmbedding(std::int64_t most, std::int64_t d, double std, Here here)
    : Module(here), weight(parameter("weight", table({"LearnedPositionEmbedding", *this}, {most, d}, std))) {}

Tensor LearnedPositionEmbedding::operator()(std::int64_t n, std::int64_t offset, Here here) const {
  const Scope scope(*this, "LearnedPositionEmbedding", here);
  scope.in(Tensors{});
  return scope.out(positions({"LearnedPositionEmbedding", here}, weight, n, offset));
}

RotaryEmbedding::RotaryEmbedding(std::int64_t most, std::int64_t d, const RotaryOptions& o, Here here)
    : Module(here), pairs_(o.pairs) {
  const detail::Check check{"RotaryEmbedding", *this};
  check.at_least(0, most, "most");
  if (check.at_least(2, d, "d") % 2 != 0) check.fail("d = " + std::to_string(d) + " must be even");
  if (!(o.base > 0 && std::isfinite(o.base))) check.fail("base = " + std::to_string(o.base) + " must be above 0");
  std::vector<double> cosines, sines;
  for (std::int64_t p = 0; p < most; ++p)
    for (std::int64_t i = 0; i < d; i += 2) {
      const double angle = static_cast<double>(p) * std::pow(o.base, -static_cast<double>(i) / static_cast<double>(d));
      cosines.push_back(std::cos(angle));
      sines.push_back(std::sin(angle));
    }
  cos_ = tensor(cosines, {most, d / 2}, DType::float64);
  sin_ = tensor(sines, {most, d / 2}, DType::float64);
}

Tensor RotaryEmbedding::operator()(const Tensor& input, std::int64_t offset, Here here) const {
  const Scope scope(*this, "RotaryEmbedding", here);
  const Tensor& x = scope.in(input);
  const Op op{"RotaryEmbedding", here};
  op.check_floating(x);
  const std::int64_t half = cos_.size(1);
  if (x.rank() < 2 || x.size(-1) != 2 * half)
    op.fail_shape("x " + x.shape().str() + " must be [..., n, " + std::to_string(2 * half) + "]");
  const Tensor c = attune::to(positions(op, cos_, x.size(-2), offset), x.dtype()),
               s = attune::to(positions(op, sin_, x.size(-2), offset), x.dtype());
  const bool halves = pairs_ == RotaryPairs::halves;
  const Tensor a = halves ? slice(x, -1, 0, half) : slice(x, -1, 0, to_end, 2),
               b = halves ? slice(x, -1, half) : slice(x, -1, 1, to_end, 2);
  const Tensors turned{a * c - b * s, a * s + b * c};
  return scope.out(halves ? cat(turned, -1) : flatten(stack(turned, -1), -2, -1));
}

namespace {

/// The buckets [t + s - 1] of all distances from a key to a query, the farthest before it first.
Tensor distance_buckets(std::int64_t t, std::int64_t s, const RelativeBiasOptions& o, std::int64_t offset, Here here) {
  const detail::Check check{"relative_position_buckets", here};
  check.at_least(0, t, "t");
  check.at_least(0, s, "s");
  check.at_least(0, offset, "offset");
  check.at_least(o.bidirectional ? 4 : 2, o.buckets, "buckets");
  const std::int64_t buckets = o.bidirectional ? o.buckets / 2 : o.buckets, exact = buckets / 2;
  check.at_least(exact + 1, o.max_distance, "max_distance");
  // In float32, as the published code has it: bucket boundaries follow its rounding.
  const auto per_log = static_cast<float>(std::log(static_cast<double>(o.max_distance) / static_cast<double>(exact)));
  std::vector<std::int64_t> out;
  for (std::int64_t relative = 1 - t - offset; relative < s - offset; ++relative) {
    const std::int64_t first = o.bidirectional && relative > 0 ? buckets : 0;
    const std::int64_t distance = o.bidirectional ? std::abs(relative) : std::max<std::int64_t>(-relative, 0);
    const float far = std::log(static_cast<float>(distance) / static_cast<float>(exact)) / per_log *
                      static_cast<float>(buckets - exact);
    out.push_back(first +
                  (distance < exact ? distance : std::min(exact + static_cast<std::int64_t>(far), buckets - 1)));
  }
  return index_tensor(out);
}

/// Of values at all distances [.., t + s - 1] those of each query and key [.., t, s]: a query's row is that of the one
/// before it, moved by one place.
Tensor by_distance(const Tensor& x, std::int64_t t, std::int64_t s) {
  Shape shape = x.shape();
  shape[x.rank() - 1] = t;
  shape.push_back(s);
  if (t == 0 || s == 0) return zeros(shape, x.dtype());
  return flip(unfold(x, -1, s), {-2});
}

}  // namespace

Tensor relative_position_buckets(std::int64_t t, std::int64_t s, const RelativeBiasOptions& o, std::int64_t offset,
                                 Here here) {
  return by_distance(distance_buckets(t, s, o, offset, here), t, s);
}

RelativePositionBias::RelativePositionBias(std::int64_t heads, const RelativeBiasOptions& o, Here here)
    : Module(here),
      weight(parameter("weight", table({"RelativePositionBias", *this}, {o.buckets, heads}, o.std))),
      options_(o) {
  relative_position_buckets(0, 0, o, 0, site());  // checks the options
}

Tensor RelativePositionBias::operator()(std::int64_t t, std::int64_t s, std::int64_t offset, Here here) const {
  const Scope scope(*this, "RelativePositionBias", here);
  scope.in(Tensors{});
  return scope.out(by_distance(transpose(embedding(weight, distance_buckets(t, s, options_, offset, here))), t, s));
}

AxialPositionEmbedding::AxialPositionEmbedding(std::int64_t n1, std::int64_t n2, std::int64_t d1, std::int64_t d2,
                                               double std, Here here)
    : Module(here),
      n1_(n1),
      n2_(n2),
      d1_(d1),
      d2_(d2),
      rows_(parameter("0", table({"AxialPositionEmbedding", *this}, {n1, 1, d1}, std))),
      columns_(parameter("1", table({"AxialPositionEmbedding", *this}, {1, n2, d2}, std))) {}

Tensor AxialPositionEmbedding::operator()(std::int64_t n, std::int64_t offset, Here here) const {
  const Scope scope(*this, "AxialPositionEmbedding", here);
  if (n < 0 || offset < 0 || n > n1_ * n2_ - offset)
    throw ShapeError("AxialPositionEmbedding: " + std::to_string(n) + " positions" +
                         (offset == 0 ? "" : " from " + std::to_string(offset) + " on") + " do not fit " +
                         std::to_string(n1_) + " x " + std::to_string(n2_),
                     here);
  scope.in(Tensors{});
  if (n == 0) return scope.out(zeros({0, d1_ + d2_}, rows_.dtype()));
  // The rows of the table that they lie in.
  const std::int64_t first = offset / n2_, last = (offset + n - 1) / n2_ + 1, height = last - first;
  const Tensor all =
      cat({expand(slice(rows_, 0, first, last), {height, n2_, d1_}), expand(columns_, {height, n2_, d2_})}, 2);
  const std::int64_t begin = offset - first * n2_;
  return scope.out(slice(reshape(all, {height * n2_, d1_ + d2_}), 0, begin, begin + n));
}

}  // namespace attune::nn
