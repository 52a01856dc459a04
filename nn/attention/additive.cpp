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

Tensor weight(const detail::Check& check, std::int64_t hidden, const char* what, std::int64_t columns, double std) {
  Tensor w = zeros({check.at_least(1, hidden, "hidden"), check.at_least(1, columns, what)});
  return init::normal_(w, 0, check.finite(std, "std"));
}

void check_keys(const Op& op, const Tensor& keys, const Tensor& key_padding_mask) {
  op.check_floating(keys);
  if (keys.rank() != 3) op.fail_shape("keys " + keys.shape().str() + " must be [b, n, k]");
  detail::check_padding(op, key_padding_mask, keys);
}

void check_query(const Op& op, const Tensor& query, const Tensor& keys) {
  op.check_floating(query);
  op.check_same_dtype(query, keys);
  if ((query.rank() != 2 && query.rank() != 3) || keys.rank() != 3 || keys.size(0) != query.size(0))
    op.fail_shape("query " + query.shape().str() + " and keys " + keys.shape().str() +
                  " do not fit [b, q] or [b, t, q] and [b, n, k]");
}

}  // namespace

AdditiveAttention::AdditiveAttention(std::int64_t query_dim, std::int64_t key_dim, std::int64_t hidden,
                                     const AdditiveOptions& o, Here here)
    : Module(here),
      query_weight(
          parameter("query_weight", weight({"AdditiveAttention", *this}, hidden, "query_dim", query_dim, o.std))),
      key_weight(parameter("key_weight", weight({"AdditiveAttention", *this}, hidden, "key_dim", key_dim, o.std))),
      score_weight(parameter("score_weight", zeros({hidden}))),
      bias(o.bias ? parameter("bias", zeros({hidden})) : absent("bias")) {
  if (detail::Check("AdditiveAttention", *this).finite(o.score_std, "score_std") > 0)
    init::normal_(score_weight, 0, o.score_std);
}

Tensor AdditiveAttention::precompute(const Tensor& keys, Here here) const {
  const Scope scope(*this, "AdditiveAttention", here, Scope::no_call);
  return linear(keys, key_weight);
}

AdditiveMemory AdditiveAttention::memory(const Tensor& keys, const Tensor& key_padding_mask, Here here) const {
  const Scope scope(*this, "AdditiveAttention", here, Scope::no_call);
  check_keys(Op{"additive_attention", here}, keys, key_padding_mask);
  const Tensor seen = key_padding_mask.defined() ? masked_fill(keys, unsqueeze(key_padding_mask, 2), 0) : keys;
  return {seen, linear(seen, key_weight), key_padding_mask};
}

AdditiveResult AdditiveAttention::attend(const Tensor& query, const AdditiveMemory& m) const {
  const bool single = query.rank() == 2;
  const Tensor q = linear(single ? unsqueeze(query, 1) : query, query_weight, bias);   // [b, t, hidden]
  Tensor scores = matmul(tanh(unsqueeze(q, 2) + unsqueeze(m.keys, 1)), score_weight);  // [b, t, n]
  if (m.key_padding_mask.defined())
    scores = masked_fill(scores, unsqueeze(m.key_padding_mask, 1), -std::numeric_limits<double>::infinity());
  const Tensor weights = softmax(scores, -1);
  const Tensor context = matmul(weights, m.values);
  return single ? AdditiveResult{squeeze(context, 1), squeeze(weights, 1)} : AdditiveResult{context, weights};
}

AdditiveResult AdditiveAttention::operator()(const Tensor& query, const AdditiveMemory& memory, Here here) const {
  const Scope scope(*this, "AdditiveAttention", here);
  const Tensor& q = scope.in(query);
  check_query(Op{"additive_attention", here}, q, memory.values);
  AdditiveResult r = attend(q, memory);
  scope.out_parts(r.context, r.weights);
  return r;
}

AdditiveResult AdditiveAttention::operator()(const Tensor& given_query, const Tensor& given_keys,
                                             const Tensor& precomputed, const Tensor& key_padding_mask,
                                             Here here) const {
  const Scope scope(*this, "AdditiveAttention", here);
  const Tensors inputs = scope.in(Tensors{given_query, given_keys});
  const Tensor &query = inputs[0], &keys = inputs[1];
  const Op op{"additive_attention", here};
  check_query(op, query, keys);
  check_keys(op, keys, key_padding_mask);
  const Shape fits{keys.size(0), keys.size(1), score_weight.size(0)};
  if (precomputed.defined() && precomputed.shape() != fits)
    op.fail_shape("precomputed " + precomputed.shape().str() + " must be " + fits.str());
  AdditiveMemory m{keys, precomputed, key_padding_mask};  // without what hidden keys hold, which may be NaN
  if (key_padding_mask.defined()) {
    const Tensor hidden = unsqueeze(key_padding_mask, 2);
    m.values = masked_fill(keys, hidden, 0);
    if (m.keys.defined()) m.keys = masked_fill(m.keys, hidden, 0);
  }
  if (!m.keys.defined()) m.keys = linear(m.values, key_weight);
  AdditiveResult r = attend(query, m);
  scope.out_parts(r.context, r.weights);
  return r;
}

}  // namespace attune::nn
