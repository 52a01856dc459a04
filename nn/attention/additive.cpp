#include "nn/attention/additive.h"

#include <limits>

#include "autograd/ops/create.h"
#include "autograd/ops/elementwise.h"
#include "autograd/ops/matmul.h"
#include "autograd/ops/movement.h"
#include "autograd/ops/softmax.h"
#include "autograd/tape/op.h"
#include "nn/attention/internal/projections.h"
#include "nn/init.h"
#include "nn/internal/check.h"

namespace attune::nn {

namespace {

Tensor weight(const detail::Check& check, std::int64_t hidden, const char* what, std::int64_t columns) {
  Tensor w = zeros({check.at_least(1, hidden, "hidden"), check.at_least(1, columns, what)});
  return init::normal_(w, 0, 0.001);
}

}  // namespace

AdditiveAttention::AdditiveAttention(std::int64_t query_dim, std::int64_t key_dim, std::int64_t hidden, Here here)
    : Module(here),
      query_weight(parameter("query_weight", weight({"AdditiveAttention", *this}, hidden, "query_dim", query_dim))),
      key_weight(parameter("key_weight", weight({"AdditiveAttention", *this}, hidden, "key_dim", key_dim))),
      score_weight(parameter("score_weight", zeros({hidden}))) {}

Tensor AdditiveAttention::precompute(const Tensor& keys, Here here) const {
  const Scope scope(*this, "AdditiveAttention", here, Scope::no_call);
  return linear(keys, key_weight);
}

AdditiveResult AdditiveAttention::operator()(const Tensor& given_query, const Tensor& given_keys,
                                             const Tensor& precomputed, const Tensor& key_padding_mask,
                                             Here here) const {
  const Scope scope(*this, "AdditiveAttention", here);
  const Tensors inputs = scope.in(Tensors{given_query, given_keys});
  const Tensor &query = inputs[0], &keys = inputs[1];
  const Op op{"additive_attention", here};
  op.check_floating(query);
  op.check_same_dtype(query, keys);
  const bool single = query.rank() == 2;
  if ((!single && query.rank() != 3) || keys.rank() != 3 || keys.size(0) != query.size(0))
    op.fail_shape("query " + query.shape().str() + " and keys " + keys.shape().str() +
                  " do not fit [b, q] or [b, t, q] and [b, n, k]");
  const Shape fits{keys.size(0), keys.size(1), score_weight.size(0)};
  if (precomputed.defined() && precomputed.shape() != fits)
    op.fail_shape("precomputed " + precomputed.shape().str() + " must be " + fits.str());
  Tensor seen = keys, k = precomputed;  // without what hidden keys hold, which may be NaN
  if (key_padding_mask.defined()) {
    detail::check_mask(op, key_padding_mask, "key_padding_mask");
    if (key_padding_mask.shape() != Shape{keys.size(0), keys.size(1)})
      op.fail_shape("key_padding_mask " + key_padding_mask.shape().str() + " does not fit the keys " +
                    keys.shape().str());
    const Tensor hidden = unsqueeze(key_padding_mask, 2);
    seen = masked_fill(keys, hidden, 0);
    if (k.defined()) k = masked_fill(k, hidden, 0);
  }
  const Tensor q = linear(single ? unsqueeze(query, 1) : query, query_weight);    // [b, t, hidden]
  if (!k.defined()) k = linear(seen, key_weight);                                 // [b, n, hidden]
  Tensor scores = matmul(tanh(unsqueeze(q, 2) + unsqueeze(k, 1)), score_weight);  // [b, t, n]
  if (key_padding_mask.defined())
    scores = masked_fill(scores, unsqueeze(key_padding_mask, 1), -std::numeric_limits<double>::infinity());
  const Tensor weights = softmax(scores, -1);
  const Tensor context = matmul(weights, seen);
  AdditiveResult r{context, weights};
  if (single) r = {squeeze(context, 1), squeeze(weights, 1)};
  scope.out_parts(r.context, r.weights);
  return r;
}

}  // namespace attune::nn
