#include "autograd/ops/attention/linear_attention.h"

#include <cmath>

#include "autograd/kernels/attention/causal_product.h"
#include "autograd/ops/create.h"
#include "autograd/ops/elementwise.h"
#include "autograd/ops/internal/apply.h"
#include "autograd/ops/internal/views.h"
#include "autograd/ops/matmul.h"
#include "autograd/ops/operators.h"
#include "autograd/ops/reduce.h"

namespace attune {

namespace {

/// [b, s, 1, 1], or undefined.
Tensor hidden_keys(const Op& op, const Tensor& key_padding_mask, const Tensor& k) {
  if (!key_padding_mask.defined()) return {};
  detail::check_bool(op, key_padding_mask, "key_padding_mask");
  if (key_padding_mask.shape() != Shape{k.size(0), k.size(1)})
    op.fail_shape("key_padding_mask " + key_padding_mask.shape().str() + " must be [batch, keys] of " +
                  k.shape().str());
  return reshape(key_padding_mask, {k.size(0), k.size(1), 1, 1});
}

/// numerator [b, t, h, m] / denominator [b, t, h, 1]. What a query is that nothing is asked of has no influence on the
/// gradients, not even if it is NaN.
Tensor quotient(const Tensor& numerator, const Tensor& denominator, Here here) {
  const Op op{"linear_attention", here};
  Tensor y;
  {
    const NoGrad off;
    y = numerator / denominator;
  }
  const auto unasked = [](const Tensor& dy) { return eq(sum(abs(dy.detach()), {-1}, true), 0); };
  return op.record(
      std::move(y), of<quotient>(numerator, denominator),
      "dnumerator = dy / denominator, ddenominator = -sum(dy y) / denominator",
      [d = Saved(denominator), unasked](const Tensor& dy) { return dy / masked_fill(Tensor(d), unasked(dy), 1); },
      [n = Saved(numerator), d = Saved(denominator), unasked](const Tensor& dy) {
        const Tensor rows = unasked(dy), safe = masked_fill(Tensor(d), rows, 1);
        return -(sum(dy * masked_fill(Tensor(n), rows, 0) / safe, {-1}, true) / safe);
      });
}

}  // namespace

Tensor detail::next_to_zero(const Tensor& denominator) {
  const double least =
      denominator.dtype() == DType::float64 ? 1e-300 : 1e-35;  // some thousand of the least normal ones
  return lt(abs(denominator.detach()), least);
}

void detail::check_features(const Op& op, const Tensor& q, const Tensor& k, const Tensor& v, bool causal, char size) {
  op.check_floating(q);
  op.check_same_dtype(q, k);
  op.check_same_dtype(q, v);
  const bool fit = q.rank() == 4 && k.rank() == 4 && v.rank() == 4 && q.size(0) == k.size(0) &&
                   k.size(0) == v.size(0) && k.size(1) == v.size(1) && q.size(2) == k.size(2) &&
                   k.size(2) == v.size(2) && q.size(3) == k.size(3);
  const std::string given = "q " + q.shape().str() + ", k " + k.shape().str() + " and v " + v.shape().str(), f(1, size);
  if (!fit) op.fail_shape(given + " do not fit [b, t, h, " + f + "], [b, s, h, " + f + "], [b, s, h, m]");
  if (causal && q.size(1) != k.size(1)) op.fail_shape(given + ": causal attention needs as many queries as keys");
}

Tensor causal_product(const Tensor& q, const Tensor& k, const Tensor& v, bool reverse, Here here) {
  const Op op{"causal_product", here};
  detail::check_features(op, q, k, v, true);
  const Tensor qd = detail::with_dense_rows(q), kd = detail::with_dense_rows(k), vd = detail::with_dense_rows(v);
  Tensor out = op.empty(v.shape(), v.dtype());
  const kernels::CausalPlan plan{.batch = q.size(0),
                                 .heads = q.size(2),
                                 .length = q.size(1),
                                 .features = q.size(3),
                                 .values = v.size(3),
                                 .reverse = reverse};
  detail::with_floating(q.dtype(), [&]<class T>(T) {
    kernels::causal_product<T>(plan, detail::heads_at<const T>(qd, 0, 2, 1), detail::heads_at<const T>(kd, 0, 2, 1),
                               detail::heads_at<const T>(vd, 0, 2, 1), detail::heads_at<T>(out, 0, 2, 1));
  });
  const char* const rule = reverse ? "dq = triu(dy v^T) k, dk = triu(dy v^T)^T q, dv = triu(q k^T)^T dy"
                                   : "dq = tril(dy v^T) k, dk = tril(dy v^T)^T q, dv = tril(q k^T)^T dy";
  return op.record(
      std::move(out), of<causal_product>(q, k, v, reverse), rule,
      [k = Saved(k), v = Saved(v), reverse](const Tensor& dy) { return causal_product(dy, v, k, reverse, {}); },
      [q = Saved(q), v = Saved(v), reverse](const Tensor& dy) { return causal_product(v, dy, q, !reverse, {}); },
      [q = Saved(q), k = Saved(k), reverse](const Tensor& dy) { return causal_product(k, q, dy, !reverse, {}); });
}

Tensor linear_attention(const Tensor& q, const Tensor& keys, const Tensor& values, const LinearAttentionOptions& o,
                        const Tensor& key_padding_mask, Here here) {
  const Op op{"linear_attention", here};
  detail::check_features(op, q, keys, values, o.causal);
  for (const auto& [name, x] : {std::pair{"epsilon", o.epsilon}, {"key_sum_epsilon", o.key_sum_epsilon}})
    if (!(x >= 0 && std::isfinite(x)))
      op.fail_value(name + (" = " + detail::text(x)) + " must be finite and not negative");
  const Tensor hidden = hidden_keys(op, key_padding_mask, keys);
  const Tensor k = hidden.defined() ? masked_fill(keys, hidden, 0) : keys;
  const Tensor v = hidden.defined() ? masked_fill(values, hidden, 0) : values;
  const std::int64_t m = v.size(3);
  Tensor numerator, denominator;
  if (o.causal) {
    // A value of 1 more for each key: what it adds up to is the denominator.
    const Tensor both = causal_product(q, k, cat({v, ones({v.size(0), v.size(1), v.size(2), 1}, v.dtype())}, -1));
    numerator = slice(both, 3, 0, m);
    denominator = slice(both, 3, m, m + 1);
    if (o.key_sum_epsilon > 0) denominator = denominator + o.key_sum_epsilon * sum(q, {-1}, true);
  } else {
    const Tensor in_heads = permute(q, {0, 2, 1, 3});
    const Tensor together = matmul(permute(k, {0, 2, 3, 1}), permute(v, {0, 2, 1, 3}));  // [b, h, f, m]
    const Tensor all = unsqueeze(sum(k, {1}), -1) + o.key_sum_epsilon;                   // [b, h, f, 1]
    numerator = permute(matmul(in_heads, together), {0, 2, 1, 3});
    denominator = permute(matmul(in_heads, all), {0, 2, 1, 3});
  }
  if (o.epsilon > 0) return quotient(numerator, denominator + o.epsilon, here);
  const Tensor none = detail::next_to_zero(denominator);
  if (!any(none)) return quotient(numerator, denominator, here);
  return quotient(masked_fill(numerator, none, 0), masked_fill(denominator, none, 1), here);
}

}  // namespace attune
