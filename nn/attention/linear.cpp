#include "nn/attention/linear.h"

#include "autograd/ops/create.h"
#include "autograd/ops/elementwise.h"
#include "autograd/ops/gather.h"
#include "autograd/ops/matmul.h"
#include "autograd/ops/movement.h"
#include "autograd/ops/operators.h"
#include "autograd/ops/reduce.h"
#include "autograd/tape/modes.h"
#include "autograd/tape/replay.h"
#include "nn/attention/internal/features.h"
#include "nn/attention/internal/recurrence.h"
#include "nn/internal/check.h"

namespace attune::nn {

namespace detail {

Tensor after_sums(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& s, const Tensor& z,
                  const LinearAttentionOptions& o) {
  const NoGrad off;
  const std::int64_t m = v.size(3);
  const Tensor one = ones({v.size(0), v.size(1), v.size(2), 1}, v.dtype());
  const Tensor sums = cat({s, unsqueeze(z + o.key_sum_epsilon, -1)}, -1);  // [b, h, f, m + 1]
  const Tensor both =
      causal_product(q, k, cat({v, one}, -1)) + permute(matmul(permute(q, {0, 2, 1, 3}), sums), {0, 2, 1, 3});
  const Tensor denominator = slice(both, 3, m, m + 1) + o.epsilon, none = attune::detail::next_to_zero(denominator);
  return masked_fill(slice(both, 3, 0, m) / masked_fill(denominator, none, 1), none, 0);
}

void add_keys(const Tensor& k, const Tensor& v, Tensor& s, Tensor& z) {
  const NoGrad off;
  s = s + matmul(permute(k, {0, 2, 3, 1}), permute(v, {0, 2, 1, 3}));
  z = z + sum(k, {1});
}

void check_inputs(const Op& op, const Tensor& q, const Tensor& k, const Tensor& v, bool causal, std::int64_t d) {
  for (const auto& [name, x] : {std::pair{"q", &q}, {"k", &k}}) {
    if (d == 0) break;
    op.check_floating(*x);
    if (x->rank() != 4 || x->size(3) != d)
      op.fail_shape(name + (" " + x->shape().str()) + " must be [batch, length, heads, " + std::to_string(d) + "]");
  }
  attune::detail::check_features(op, q, k, v, causal, 'd');
}

void check_step(const Op& op, bool causal, const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& s,
                std::int64_t d, std::int64_t f) {
  if (!causal) throw ValueError(std::string(op.name()) + " needs causal attention", op.site());
  check_inputs(op, q, k, v, true, d);
  if (q.size(1) < 1) op.fail_shape("q " + q.shape().str() + " has no token");
  const Shape wanted{q.size(0), q.size(2), f == 0 ? q.size(3) : f, v.size(3)};
  if (s.defined() && (s.shape() != wanted || s.dtype() != q.dtype()))
    op.fail_shape("the state's s " + s.shape().str() + " " + name_of(s.dtype()) + " is not " + wanted.str() + " " +
                  name_of(q.dtype()) + " of q " + q.shape().str() + " and v " + v.shape().str());
}

const LinearAttentionOptions& checked(const Check& check, const LinearAttentionOptions& o) {
  check.finite(o.epsilon, "epsilon");
  check.finite(o.key_sum_epsilon, "key_sum_epsilon");
  return o;
}

Tensor without_hidden(const Tensor& x, const Tensor& key_padding_mask) {
  if (!key_padding_mask.defined() || x.rank() != 4 || key_padding_mask.shape() != Shape{x.size(0), x.size(1)} ||
      key_padding_mask.dtype() != DType::boolean)
    return x;  // what does not fit is for the operation to refuse
  return masked_fill(x, reshape(key_padding_mask, {x.size(0), x.size(1), 1, 1}), 0);
}

}  // namespace detail

void LinearAttentionState::reorder(const Tensor& rows, Here here) {
  if (!s.defined()) return;
  const NoGrad off;
  const Tensor taken = index_select(s, 0, rows, here);
  z = index_select(z, 0, rows, here);
  s = taken;
}

Tensor elu_features(const Tensor& x, Here here) { return elu(x, 1, here) + 1; }

LinearAttention::LinearAttention(const LinearAttentionOptions& o, Here here)
    : Module(here), options(detail::checked({"LinearAttention", *this}, o)) {}

Tensor LinearAttention::operator()(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& key_padding_mask,
                                   Here here) const {
  return attend(q, k, v, options, key_padding_mask, here);
}

Tensor LinearAttention::attend(const Tensor& query, const Tensor& key, const Tensor& value,
                               const LinearAttentionOptions& o, const Tensor& key_padding_mask, Here here) const {
  const Scope scope(*this, "LinearAttention", here);
  const Tensors in = scope.in(Tensors{query, key, value});
  const Tensor &q = in[0], &k = in[1], &v = in[2];
  const LinearAttentionOptions settings = ReplayLog::setting(o);
  detail::check_inputs({"linear_attention", here}, q, k, v, settings.causal);
  return scope.out(linear_attention(elu_features(q), elu_features(detail::without_hidden(k, key_padding_mask)), v,
                                    settings, key_padding_mask, here));
}

Tensor LinearAttention::step(const Tensor& q, const Tensor& k, const Tensor& v, LinearAttentionState& state,
                             Here here) const {
  const Scope scope(*this, "LinearAttention", here, Scope::no_call);
  detail::check_step({"LinearAttention: step()", here}, options.causal, q, k, v, state.s);
  const NoGrad off;
  const Tensor features = elu_features(q), keys = elu_features(k);
  LinearAttentionState next = state;
  if (!next.s.defined()) {
    next.s = zeros({q.size(0), q.size(2), q.size(3), v.size(3)}, q.dtype());
    next.z = zeros({q.size(0), q.size(2), q.size(3)}, q.dtype());
  }
  Tensor y = detail::after_sums(features, keys, v, next.s, next.z, options);
  detail::add_keys(keys, v, next.s, next.z);
  state = next;
  return y;
}

}  // namespace attune::nn
