#include "autograd/ops/attention/attention.h"

#include <cmath>

#include "autograd/ops/attention/internal/fused_attention.h"
#include "autograd/ops/movement.h"
#include "autograd/tape/op.h"

namespace attune {

namespace {

constexpr int most_axes = 4;  // of the kernel's operands

Shape leading(const Tensor& x) {
  Shape shape = x.shape();
  shape.resize(x.rank() - 2);
  return shape;
}

/// x with the leading axes `shape`.
Tensor spread(const Tensor& x, Shape shape) {
  shape.push_back(x.size(-2));
  shape.push_back(x.size(-1));
  return x.shape() == shape ? x : expand(x, shape);
}

}  // namespace

AttentionResult scaled_dot_product_attention(const Tensor& q, const Tensor& k, const Tensor& v,
                                             const AttentionOptions& o, bool need_weights, Here here) {
  const Op op{"scaled_dot_product_attention", here};
  if (!(o.dropout >= 0 && o.dropout <= 1)) op.fail_value("dropout = " + detail::text(o.dropout) + " is not in [0, 1]");
  op.check_floating(q);
  op.check_same_dtype(q, k);
  op.check_same_dtype(q, v);
  Shape joint;
  if (q.rank() < 2 || k.rank() < 2 || v.rank() < 2 || q.size(-1) != k.size(-1) || k.size(-2) != v.size(-2) ||
      !broadcast(leading(q), leading(k), joint))
    op.fail_shape("q " + q.shape().str() + ", k " + k.shape().str() + " and v " + v.shape().str() +
                  " do not fit [..., t, d], [..., s, d], [..., s, v]");
  Shape scores = joint;
  scores.push_back(q.size(-2));
  scores.push_back(k.size(-2));
  const auto check_fits = [&](const std::string& what, const Tensor& x) {
    Shape both;
    if (!broadcast(x.shape(), scores, both) || both != scores)
      op.fail_shape(what + (" " + x.shape().str()) + " does not broadcast to the scores " + scores.str() + " of q " +
                    q.shape().str() + " and k " + k.shape().str());
  };
  if (o.bias.defined()) {
    op.check_same_dtype(o.bias, q);
    check_fits("the bias", o.bias);
  }
  if (o.attention_mask.defined()) {
    op.check_dtype(o.attention_mask, DType::boolean);
    check_fits("attention_mask", o.attention_mask);
  }
  if (!broadcast(joint, leading(v), joint))
    op.fail_shape("the leading axes of v " + v.shape().str() + " do not broadcast with those of the scores " +
                  scores.str() + " of q " + q.shape().str() + " and k " + k.shape().str());
  const double usual_scale = 1 / std::sqrt(static_cast<double>(std::max<std::int64_t>(q.size(-1), 1)));
  detail::AttentionSettings settings{
      .causal = o.causal, .scale = o.scale == 0 ? usual_scale : o.scale, .dropout = o.dropout, .dropout_key = {}};
  if (o.dropout > 0) settings.dropout_key = (o.generator ? *o.generator : default_generator()).next();
  if (!need_weights && joint.rank() + 2 <= most_axes)
    return {detail::fused_attention(spread(q, joint), spread(k, joint), spread(v, joint), o.attention_mask, o.bias,
                                    settings, here),
            Tensor()};
  const Tensor weights = detail::attention_weights(q, k, o.attention_mask, o.bias, settings);
  return {detail::attention_output(weights, v, settings), need_weights ? weights : Tensor()};
}

}  // namespace attune
