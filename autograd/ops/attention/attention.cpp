#include "autograd/ops/attention/attention.h"

#include <cmath>

#include "autograd/ops/attention/internal/fused_attention.h"
#include "autograd/ops/internal/apply.h"
#include "autograd/ops/movement.h"

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

/// The leading axes of q, k and v together. Of grouped queries the heads of keys and values, `key_heads`, are left out
/// of it.
Shape joint_axes(const Op& op, const Tensor& q, const Tensor& k, const Tensor& v, bool grouped,
                 std::int64_t& key_heads) {
  const auto fail = [&](const char* form) {
    op.fail_shape("q " + q.shape().str() + ", k " + k.shape().str() + " and v " + v.shape().str() + form);
  };
  if (q.rank() < 2 || k.rank() < 2 || v.rank() < 2 || q.size(-1) != k.size(-1) || k.size(-2) != v.size(-2))
    fail(" do not fit [..., t, d], [..., s, d], [..., s, v]");
  Shape joint, of_k = leading(k), of_v = leading(v);
  if (grouped) {
    constexpr const char* form = " do not fit [..., h, t, d], [..., g, s, d], [..., g, s, v] with g dividing h";
    if (q.rank() < 3 || k.rank() < 3 || v.rank() < 3 || k.size(-3) != v.size(-3) || k.size(-3) < 1 ||
        q.size(-3) % k.size(-3) != 0)
      fail(form);
    key_heads = k.size(-3);
    of_k.back() = of_v.back() = 1;
  }
  if (!broadcast(leading(q), of_k, joint)) fail(" do not fit [..., t, d], [..., s, d], [..., s, v]");
  Shape scores = joint;
  scores.push_back(q.size(-2));
  scores.push_back(k.size(-2));
  if (!broadcast(joint, of_v, joint))
    op.fail_shape("the leading axes of v " + v.shape().str() + " do not broadcast with those of the scores " +
                  scores.str() + " of q " + q.shape().str() + " and k " + k.shape().str());
  return joint;
}

/// A mask or a bias for the scores [..., t, s].
void check_term(const Op& op, const std::string& what, const Tensor& x, const Shape& scores, const Tensor& q,
                const Tensor& k) {
  Shape both;
  if (!broadcast(x.shape(), scores, both) || both != scores)
    op.fail_shape(what + (" " + x.shape().str()) + " does not broadcast to the scores " + scores.str() + " of q " +
                  q.shape().str() + " and k " + k.shape().str());
  // [b, t, s] would be read as [h, t, s], and go unnoticed if b is h.
  if (x.rank() > 2 && x.rank() < scores.rank() && x.size(0) != 1)
    op.fail_shape(what + (" " + x.shape().str()) + " is ambiguous for the scores " + scores.str() +
                  ": give it all of their axes, of size 1 where it is shared");
}

}  // namespace

AttentionResult scaled_dot_product_attention(const Tensor& q, const Tensor& k, const Tensor& v,
                                             const AttentionOptions& o, bool need_weights, Here here) {
  const Op op{"scaled_dot_product_attention", here};
  if (!(o.dropout >= 0 && o.dropout <= 1)) op.fail_value("dropout = " + detail::text(o.dropout) + " is not in [0, 1]");
  op.check_floating(q);
  op.check_same_dtype(q, k);
  op.check_same_dtype(q, v);
  std::int64_t key_heads = 0;  // of grouped queries
  Shape joint = joint_axes(op, q, k, v, o.grouped_heads, key_heads), of_scores;
  Shape of_keys = leading(k);
  if (o.grouped_heads) of_keys.back() = 1;
  broadcast(leading(q), of_keys, of_scores);
  of_scores.push_back(q.size(-2));
  of_scores.push_back(k.size(-2));
  if (o.bias.defined()) {
    op.check_same_dtype(o.bias, q);
    check_term(op, "the bias", o.bias, of_scores, q, k);
  }
  if (o.attention_mask.defined()) {
    detail::check_bool(op, o.attention_mask, "attention_mask");
    check_term(op, "attention_mask", o.attention_mask, of_scores, q, k);
  }
  const auto axis = [&](int i) { return of_scores.rank() >= i ? of_scores[of_scores.rank() - i] : 1; };
  const std::string misfit = o.pattern.misfit(axis(4), axis(3), q.size(-2), k.size(-2));
  if (!misfit.empty()) op.fail_shape(misfit);
  const double usual_scale = 1 / std::sqrt(static_cast<double>(std::max<std::int64_t>(q.size(-1), 1)));
  detail::AttentionSettings settings{.causal = o.causal,
                                     .scale = o.scale == 0 ? usual_scale : o.scale,
                                     .dropout = o.dropout,
                                     .dropout_key = {},
                                     .pattern = o.pattern.rule()};
  if (o.dropout > 0) settings.dropout_key = (o.generator ? *o.generator : default_generator()).next();
  Shape of_values = joint;
  if (o.grouped_heads) of_values.back() = key_heads;
  if (!need_weights && joint.rank() + 2 <= most_axes)
    return {detail::fused_attention(spread(q, joint), spread(k, of_values), spread(v, of_values), o.attention_mask,
                                    o.bias, settings, here),
            Tensor()};
  const auto repeated = [&](const Tensor& x) { return o.grouped_heads ? detail::repeat_heads(x, q.size(-3)) : x; };
  const Tensor weights = detail::attention_weights(q, repeated(k), o.attention_mask, o.bias, settings);
  return {detail::attention_output(weights, repeated(v), settings), need_weights ? weights : Tensor()};
}

}  // namespace attune
