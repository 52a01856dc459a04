#include "nn/attention/performer.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "autograd/ops/create.h"
#include "autograd/ops/elementwise.h"
#include "autograd/ops/gather.h"
#include "autograd/ops/inplace.h"
#include "autograd/ops/matmul.h"
#include "autograd/ops/movement.h"
#include "autograd/ops/operators.h"
#include "autograd/ops/random.h"
#include "autograd/ops/reduce.h"
#include "autograd/tape/modes.h"
#include "autograd/tape/op.h"
#include "autograd/tape/replay.h"
#include "nn/attention/internal/features.h"
#include "nn/attention/internal/projections.h"
#include "nn/attention/internal/recurrence.h"
#include "nn/init.h"
#include "nn/internal/check.h"
#include "nn/layers/activation.h"

namespace attune::nn {

namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();

PerformerOptions checked(const detail::Check& check, std::int64_t d, PerformerOptions o) {
  check.at_least(1, d, "head_dim");
  if (check.at_least(0, o.features, "features") == 0) {
    const auto size = static_cast<double>(d);
    o.features = std::max<std::int64_t>(static_cast<std::int64_t>(std::min(size * std::log(size), 0x1p62)), 1);
  }
  check.finite(o.softmax_epsilon, "softmax_epsilon");
  check.finite(o.generalized_epsilon, "generalized_epsilon");
  check.finite(o.causal_epsilon, "causal_epsilon");
  return o;
}

LinearAttentionOptions sums_options(const PerformerOptions& o) {
  return {.causal = o.causal, .epsilon = 0, .key_sum_epsilon = o.causal ? o.causal_epsilon : 0};
}

/// |x|^2 / (2 sqrt(d)), [b, n, h, 1].
Tensor half_squares(const Tensor& x) {
  return sum(square(x), {-1}, true) * (0.5 / std::sqrt(static_cast<double>(x.size(3))));
}

double normalizer(const PerformerOptions& o) { return 1 / std::sqrt(static_cast<double>(o.features)); }

/// exp(w k - |k|^2 / 2 - largest), stable for w k as `directions` has it.
Tensor exponentials(const Tensor& directions, const Tensor& x, const Tensor& largest) {
  return exp(directions - (half_squares(x) + largest.detach()));
}

/// What keeps the keys' exponentials in range is the largest w k, as published. Where no epsilon tells one such
/// constant from another it is the largest exponent, so that long keys do not all vanish.
Tensor stabilised(const Tensor& directions, const Tensor& k, const PerformerOptions& o) {
  const bool cancels = o.softmax_epsilon == 0 && sums_options(o).key_sum_epsilon == 0;
  return cancels ? directions - half_squares(k) : directions;
}

/// The largest of all positions and features [b, 1, h, 1]; 0 where nothing is seen.
Tensor largest_of_keys(const Tensor& directions, const Tensor& hidden) {
  const NoGrad off;
  if (directions.numel() == 0) return zeros({directions.size(0), 1, directions.size(2), 1}, directions.dtype());
  const Tensor x = directions.detach();
  if (!hidden.defined()) return amax(x, {1, 3}, true);
  const Tensor top = amax(masked_fill(x, hidden, -infinity), {1, 3}, true);
  return masked_fill(top, eq(top, -infinity), 0);
}

}  // namespace

PerformerOptions PerformerOptions::lucidrains() {
  PerformerOptions o;
  o.causal_epsilon = 1e-6;
  o.mask_values_only = true;
  return o;
}

Tensor orthogonal_features(std::int64_t f, std::int64_t d, FeatureNorms norms, DType dtype, Generator& g, Here here) {
  const detail::Check check("orthogonal_features", here);
  check.at_least(1, f, "f");
  check.at_least(1, d, "d");
  const NoGrad off;
  // First of all: what cannot be had is refused before it is drawn.
  const Tensor rows = Op("orthogonal_features", here).empty({f, d}, DType::float64);
  for (std::int64_t at = 0; at < f; at += d) {
    const std::int64_t n = std::min(d, f - at);
    Tensor into = slice(rows, 0, at, at + n);
    copy_(into, slice(init::orthogonal_(zeros({d, d}, DType::float64), 1, g), 0, 0, n));
  }
  if (norms == FeatureNorms::sqrt_dim) return to(rows * std::sqrt(static_cast<double>(d)), dtype);
  return to(rows * norm(randn({f, d}, DType::float64, g), {1}, true), dtype);
}

PerformerAttention::PerformerAttention(std::int64_t head_dim, const PerformerOptions& o, Here here)
    : Module(here),
      options(checked({"PerformerAttention", *this}, head_dim, o)),
      projection_matrix(buffer("projection_matrix", orthogonal_features(options.features, head_dim, options.norms,
                                                                        DType::float32, default_generator(), site()))) {
}

void PerformerAttention::redraw(Generator& g) {
  projection_matrix = orthogonal_features(projection_matrix.size(0), projection_matrix.size(1), options.norms,
                                          projection_matrix.dtype(), g);
}

/// w x / d^(1/4), [b, n, h, f].
Tensor PerformerAttention::directions(const Tensor& x) const {
  return linear(x, projection_matrix * std::pow(static_cast<double>(x.size(3)), -0.25));
}

Tensor PerformerAttention::query_features(const Tensor& q, const PerformerOptions& o) const {
  Tensor x = directions(q);
  if (o.kernel == PerformerKernel::generalized) return activate(x, o.activation) + o.generalized_epsilon;
  if (x.numel() == 0) return x;
  const Tensor largest = amax(x.detach(), {-1}, true);
  if (o.softmax_epsilon == 0) return exp(x - largest) * normalizer(o);  // |q|^2 / 2 is the same for all of a row
  return (exponentials(x, q, largest) + o.softmax_epsilon) * normalizer(o);
}

Tensor PerformerAttention::key_features(const Tensor& k, const PerformerOptions& o, const Tensor& hidden) const {
  const Tensor x = directions(k);
  if (o.kernel == PerformerKernel::generalized) return activate(x, o.activation) + o.generalized_epsilon;
  return (exponentials(x, k, largest_of_keys(stabilised(x, k, o), hidden)) + o.softmax_epsilon) * normalizer(o);
}

Tensor PerformerAttention::operator()(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& key_padding_mask,
                                      Here here) const {
  return attend(q, k, v, options, key_padding_mask, here);
}

Tensor PerformerAttention::attend(const Tensor& query, const Tensor& key, const Tensor& value,
                                  const PerformerOptions& given, const Tensor& key_padding_mask, Here here) const {
  const Scope scope(*this, "PerformerAttention", here);
  const Op op{"performer_attention", here};
  const Tensors in = scope.in(Tensors{query, key, value});
  const Tensor &q = in[0], &k = in[1], &v = in[2];
  const PerformerOptions o = ReplayLog::setting(given);
  detail::check_inputs(op, q, k, v, o.causal, projection_matrix.size(1));
  detail::check_padding(op, key_padding_mask, k);
  if (key_padding_mask.defined() && o.mask_values_only)
    return scope.out(linear_attention(query_features(q, o), key_features(k, o, {}),
                                      detail::without_hidden(v, key_padding_mask), sums_options(o), {}, here));
  Tensor hidden;
  if (key_padding_mask.defined()) hidden = reshape(key_padding_mask, {k.size(0), k.size(1), 1, 1});
  return scope.out(linear_attention(query_features(q, o),
                                    key_features(detail::without_hidden(k, key_padding_mask), o, hidden), v,
                                    sums_options(o), key_padding_mask, here));
}

Tensor PerformerAttention::step(const Tensor& q, const Tensor& k, const Tensor& v, PerformerState& state,
                                Here here) const {
  const Scope scope(*this, "PerformerAttention", here, Scope::no_call);
  detail::check_step({"PerformerAttention: step()", here}, options.causal, q, k, v, state.sums.s,
                     projection_matrix.size(1), options.features);
  const NoGrad off;
  const std::int64_t b = q.size(0), h = q.size(2), m = v.size(3);
  PerformerState next = state;
  if (next.length == 0) {
    next.sums.s = zeros({b, h, options.features, m}, q.dtype());
    next.sums.z = zeros({b, h, options.features}, q.dtype());
    next.values = zeros({b, h, m}, q.dtype());
  }
  const Tensor features = query_features(q, options);
  Tensor y;
  if (options.kernel == PerformerKernel::generalized) {
    const Tensor keys = key_features(k, options, {});
    y = detail::after_sums(features, keys, v, next.sums.s, next.sums.z, sums_options(options));
    detail::add_keys(keys, v, next.sums.s, next.sums.z);
  } else {
    // What epsilon adds is not scaled when the largest changes, and so is kept by itself.
    const Tensor x = directions(k), top = largest_of_keys(stabilised(x, k, options), {});
    const Tensor largest = next.length == 0 ? top : maximum(next.largest, top);
    if (next.length > 0) {
      const Tensor factor = reshape(exp(next.largest - largest), {b, h, 1});
      next.sums.s = next.sums.s * unsqueeze(factor, -1);
      next.sums.z = next.sums.z * factor;
    }
    next.largest = largest;
    const double added = options.softmax_epsilon * normalizer(options);
    const Tensor keys = exponentials(x, k, largest) * normalizer(options);
    y = detail::after_sums(features, keys + added, v, next.sums.s + added * unsqueeze(next.values, 2),
                           next.sums.z + added * static_cast<double>(next.length), sums_options(options));
    detail::add_keys(keys, v, next.sums.s, next.sums.z);
  }
  next.values = next.values + sum(v, {1});
  next.length += q.size(1);
  state = next;
  return y;
}

void PerformerState::reorder(const Tensor& rows, Here here) {
  if (length == 0) return;
  const NoGrad off;
  PerformerState next = *this;
  next.sums.reorder(rows, here);
  if (largest.defined()) next.largest = index_select(largest, 0, rows, here);
  if (values.defined()) next.values = index_select(values, 0, rows, here);
  *this = next;
}

std::int64_t redraw_features(Module& module, Generator& g) {
  std::int64_t count = 0;
  for (const auto& [path, m] : module.named_modules())
    if (auto* const performer = dynamic_cast<PerformerAttention*>(m)) {
      performer->redraw(g);
      ++count;
    }
  return count;
}

}  // namespace attune::nn
