#include "autograd/ops/attention.h"

#include <cmath>
#include <limits>

#include "autograd/op.h"
#include "autograd/ops/create.h"
#include "autograd/ops/elementwise.h"
#include "autograd/ops/matmul.h"
#include "autograd/ops/movement.h"
#include "autograd/ops/random.h"
#include "autograd/ops/softmax.h"

namespace attune {

Attention scaled_dot_product_attention(const Tensor& q, const Tensor& k, const Tensor& v, const AttentionOptions& o,
                                       bool need_weights, Here here) {
  const Op op{"scaled_dot_product_attention", here};
  if (!(o.dropout >= 0 && o.dropout <= 1)) op.fail_value("dropout = " + detail::text(o.dropout) + " is not in [0, 1]");
  op.check_floating(q);
  op.check_same_dtype(q, k);
  op.check_same_dtype(q, v);
  if (q.rank() < 2 || k.rank() < 2 || v.rank() < 2 || q.size(-1) != k.size(-1) || k.size(-2) != v.size(-2))
    op.fail_shape("q " + q.shape().str() + ", k " + k.shape().str() + " and v " + v.shape().str() +
                  " do not fit [..., t, d], [..., s, d], [..., s, v]");
  const std::int64_t t = q.size(-2), s = k.size(-2);
  const double scale =
      o.scale != 0 ? o.scale : 1 / std::sqrt(static_cast<double>(std::max<std::int64_t>(q.size(-1), 1)));
  Tensor scores = matmul(scale * q, transpose(k));
  const auto check_fits = [&](const char* what, const Tensor& x) {
    Shape joint;
    if (!broadcast(x.shape(), scores.shape(), joint) || joint != scores.shape())
      op.fail_shape(std::string("the ") + what + " " + x.shape().str() + " does not broadcast to the scores " +
                    scores.shape().str());
  };
  if (o.bias.defined()) {
    op.check_same_dtype(o.bias, q);
    check_fits("bias", o.bias);
    scores = scores + o.bias;
  }
  Tensor hidden = o.mask;
  if (hidden.defined()) {
    op.check_dtype(hidden, DType::boolean);
    check_fits("mask", hidden);
  }
  if (o.causal) {
    const Tensor future = gt(arange(s), unsqueeze(arange(t), 1) + (s - t));
    hidden = hidden.defined() ? logical_or(hidden, future) : future;
  }
  if (hidden.defined()) scores = masked_fill(scores, hidden, -std::numeric_limits<double>::infinity());
  const Tensor weights = softmax(scores, -1);
  const Tensor kept =
      o.dropout > 0 ? dropout(weights, o.dropout, o.generator ? *o.generator : default_generator()) : weights;
  return {matmul(kept, v), need_weights ? weights : Tensor()};
}

}  // namespace attune
