// Losses made of other operations: of pairs, and of distances between embeddings.

#include <cmath>
#include <numbers>

#include "autograd/ops/create.h"
#include "autograd/ops/elementwise.h"
#include "autograd/ops/internal/loss_reduction.h"
#include "autograd/ops/internal/zero_product.h"
#include "autograd/ops/movement.h"
#include "autograd/ops/norm.h"
#include "autograd/ops/reduce.h"
#include "autograd/tape/op.h"

namespace attune {

using detail::finite_where_weightless;
using detail::has_non_finite;
using detail::reduce_loss;

namespace {

void check_pair(const Op& op, const Tensor& x, const Tensor& y) {
  op.check_floating(x);
  op.check_same_dtype(x, y);
  if (x.shape() != y.shape()) op.fail_shape("shapes differ: " + x.shape().str() + " and " + y.shape().str());
}

void check_element_weight(const Op& op, const Tensor& w, const Tensor& x) {
  if (!w.defined()) return;
  op.check_same_dtype(x, w);
  if (Shape joint; !broadcast(w.shape(), x.shape(), joint) || joint != x.shape())
    op.fail_shape("the weight " + w.shape().str() + " does not broadcast to " + x.shape().str());
}

/// x without what is not finite where its weight, if there is one, is 0.
Tensor weighed(const Tensor& x, const Tensor& weight) {
  return weight.defined() ? finite_where_weightless(x, weight) : x;
}

}  // namespace

Tensor mse_loss(const Tensor& x, const Tensor& y, Reduction reduction, Here here) {
  const Op op{"mse_loss", here};
  check_pair(op, x, y);
  return reduce_loss(square(x - y), reduction);
}

Tensor l1_loss(const Tensor& x, const Tensor& y, Reduction reduction, Here here) {
  const Op op{"l1_loss", here};
  check_pair(op, x, y);
  return reduce_loss(abs(x - y), reduction);
}

Tensor huber_loss(const Tensor& x, const Tensor& y, double delta, Reduction reduction, Here here) {
  const Op op{"huber_loss", here};
  check_pair(op, x, y);
  if (!(delta > 0)) op.fail_value("delta = " + detail::text(delta) + " must be positive");
  const Tensor d = x - y, a = abs(d);
  if (std::isinf(delta)) return reduce_loss(0.5 * square(d), reduction);
  const Tensor small = lt(a, delta);
  // The square's slope at an infinity would meet a gradient of 0.
  const Tensor near = has_non_finite(d) ? where(small, d, 0) : d;
  return reduce_loss(where(small, 0.5 * square(near), delta * (a - 0.5 * delta)), reduction);
}

Tensor kl_div(const Tensor& x, const Tensor& target, bool log_target, Reduction reduction, Here here) {
  const Op op{"kl_div", here};
  check_pair(op, x, target);
  if (!log_target) return reduce_loss(xlogy(target, target) - target * finite_where_weightless(x, target), reduction);
  const Tensor share = exp(target);
  return reduce_loss(share * (finite_where_weightless(target, share) - finite_where_weightless(x, share)), reduction);
}

Tensor binary_cross_entropy_with_logits(const Tensor& x, const Tensor& target, const BinaryCrossEntropyOptions& o,
                                        Here here) {
  const Op op{"binary_cross_entropy_with_logits", here};
  check_pair(op, x, target);
  check_element_weight(op, o.weight, x);
  check_element_weight(op, o.positive_weight, x);
  // -t log sigmoid(x) - (1 - t) log sigmoid(-x): two terms of one sign, so that nothing cancels
  // if the logit is confident.
  const Tensor logits = weighed(x, o.weight), t = weighed(target, o.weight), rest = 1 - t;
  const Tensor share = o.positive_weight.defined() ? o.positive_weight * t : t;
  Tensor positive = softplus(-logits), negative = softplus(logits);
  if (has_non_finite(logits)) {
    positive = finite_where_weightless(positive, share);
    negative = finite_where_weightless(negative, rest);
  }
  const Tensor loss = share * positive + rest * negative;
  return reduce_loss(o.weight.defined() ? o.weight * finite_where_weightless(loss, o.weight) : loss, o.reduction);
}

Tensor smooth_l1_loss(const Tensor& x, const Tensor& y, double beta, Reduction reduction, Here here) {
  const Op op{"smooth_l1_loss", here};
  check_pair(op, x, y);
  if (!(beta >= 0)) op.fail_value("beta = " + detail::text(beta) + " must not be negative");
  if (beta == 0) return l1_loss(x, y, reduction);
  return huber_loss(x, y, beta, reduction) / beta;
}

namespace {

/// max(log(v), -100), with gradient 0 where that is the bound.
Tensor bounded_log(const Tensor& v) {
  const Tensor inside = gt(v, 0);
  return where(inside, clamp_min(log(where(inside, v, 1)), -100), -100);
}

/// Of a target of signs, 1 or -1: whether it is 1.
Tensor positives(const Op& op, const Tensor& sign) {
  for (double v : sign.to_vector<double>())
    if (v != 1 && v != -1) op.fail_value("the target " + detail::text(v) + " is neither 1 nor -1");
  return eq(sign, 1);
}

}  // namespace

Tensor binary_cross_entropy(const Tensor& x, const Tensor& target, const Tensor& weight, Reduction reduction,
                            Here here) {
  const Op op{"binary_cross_entropy", here};
  check_pair(op, x, target);
  check_element_weight(op, weight, x);
  for (double v : x.to_vector<double>())
    if (v < 0 || v > 1) op.fail_value("the probability " + detail::text(v) + " is not in [0, 1]");
  const Tensor p = weighed(x, weight), t = weighed(target, weight);
  const Tensor loss = -(t * bounded_log(p) + (1 - t) * bounded_log(1 - p));
  return reduce_loss(weight.defined() ? weight * loss : loss, reduction);
}

Tensor soft_margin_loss(const Tensor& x, const Tensor& sign, Reduction reduction, Here here) {
  const Op op{"soft_margin_loss", here};
  check_pair(op, x, sign);
  return reduce_loss(softplus(-sign * x), reduction);
}

Tensor hinge_embedding_loss(const Tensor& x, const Tensor& sign, double margin, Reduction reduction, Here here) {
  const Op op{"hinge_embedding_loss", here};
  check_pair(op, x, sign);
  return reduce_loss(where(positives(op, sign), x, relu(margin - x)), reduction);
}

Tensor margin_ranking_loss(const Tensor& a, const Tensor& b, const Tensor& sign, double margin, Reduction reduction,
                           Here here) {
  const Op op{"margin_ranking_loss", here};
  check_pair(op, a, b);
  check_pair(op, a, sign);
  return reduce_loss(relu(margin - sign * (a - b)), reduction);
}

Tensor cosine_embedding_loss(const Tensor& a, const Tensor& b, const Tensor& sign, double margin, Reduction reduction,
                             Here here) {
  const Op op{"cosine_embedding_loss", here};
  check_pair(op, a, b);
  op.check_same_dtype(a, sign);
  Shape rows = a.shape();
  if (rows.rank() == 0) op.fail_shape("needs embeddings [..., d], got []");
  rows.resize(rows.rank() - 1);
  if (sign.shape() != rows)
    op.fail_shape("target " + sign.shape().str() + " must be " + rows.str() + " for " + a.shape().str());
  const Tensor alike = cosine_similarity(a, b);
  return reduce_loss(where(positives(op, sign), 1 - alike, relu(alike - margin)), reduction);
}

Tensor triplet_margin_loss(const Tensor& anchor, const Tensor& positive, const Tensor& negative,
                           const TripletMarginOptions& o, Here here) {
  const Op op{"triplet_margin_loss", here};
  check_pair(op, anchor, positive);
  check_pair(op, anchor, negative);
  if (!(o.margin > 0)) op.fail_value("margin = " + detail::text(o.margin) + " must be positive");
  const auto distance = [&](const Tensor& a, const Tensor& b) { return vector_norm(a - b + o.eps, o.p, {-1}); };
  Tensor far = distance(anchor, negative);
  if (o.swap) far = minimum(far, distance(positive, negative));
  return reduce_loss(relu(distance(anchor, positive) - far + o.margin), o.reduction);
}

Tensor poisson_nll_loss(const Tensor& x, const Tensor& target, const PoissonOptions& o, Here here) {
  const Op op{"poisson_nll_loss", here};
  check_pair(op, x, target);
  Tensor loss = o.log_input ? exp(x) - target * finite_where_weightless(x, target) : x - xlogy(target, x + o.eps);
  if (o.full) {
    const Tensor many = gt(target, 1), t = where(many, target, 2);
    loss = loss + where(many, t * log(t) - t + 0.5 * log(2 * std::numbers::pi * t), 0);  // Stirling's log(t!)
  }
  return reduce_loss(loss, o.reduction);
}

Tensor gaussian_nll_loss(const Tensor& x, const Tensor& target, const Tensor& variance, const GaussianOptions& o,
                         Here here) {
  const Op op{"gaussian_nll_loss", here};
  check_pair(op, x, target);
  op.check_same_dtype(x, variance);
  Shape last_one = x.shape(), without_last = x.shape();
  if (x.rank() > 0) last_one.back() = 1, without_last.resize(x.rank() - 1);
  Tensor v = variance;
  if (x.rank() > 0 && v.shape() == without_last) v = unsqueeze(v, -1);
  if (v.shape() != x.shape() && v.shape() != last_one)
    op.fail_shape("the variance " + variance.shape().str() + " does not fit " + x.shape().str());
  if (!(o.eps > 0)) op.fail_value("eps = " + detail::text(o.eps) + " must be positive");
  for (double value : v.to_vector<double>())
    if (value < 0) op.fail_value("the variance " + detail::text(value) + " is negative");
  v = clamp_min(v, o.eps);
  const Tensor d = x - target;
  const Tensor loss = 0.5 * (log(v) + d * (d / v));  // the square alone might overflow
  return reduce_loss(o.full ? loss + 0.5 * std::log(2 * std::numbers::pi) : loss, o.reduction);
}

}  // namespace attune
