#include "nn/attention/multihead.h"

#include "autograd/ops/create.h"
#include "autograd/ops/elementwise.h"
#include "autograd/ops/movement.h"
#include "autograd/ops/reduce.h"
#include "autograd/tape/modes.h"
#include "autograd/tape/op.h"
#include "nn/attention/internal/options.h"
#include "nn/attention/internal/projections.h"
#include "nn/init.h"
#include "nn/internal/check.h"

namespace attune::nn {

namespace {

std::int64_t checked(const detail::Check& check, std::int64_t d, std::int64_t heads, const MultiheadOptions& o) {
  check.at_least(1, d, "d_model");
  check.at_least(1, heads, "heads");
  check.head_dim(d, heads);
  check.probability(o.dropout, "dropout");
  check.at_least(0, o.key_dim, "key_dim");
  check.at_least(0, o.value_dim, "value_dim");
  if (check.at_least(0, o.key_heads, "key_heads") > 0 && heads % o.key_heads != 0)
    check.fail("key_heads = " + std::to_string(o.key_heads) + " does not divide heads = " + std::to_string(heads));
  const std::string what = std::string(" does not go with ") + o.mechanism.name() + " attention";
  if (o.mechanism.pattern()) detail::check_heads(check, *o.mechanism.pattern(), heads);
  if (!o.mechanism.has_scores()) {
    if (o.key_heads != 0 && o.key_heads != heads) check.fail("key_heads = " + std::to_string(o.key_heads) + what);
    if (o.bias_kv || o.zero_attention) check.fail((o.bias_kv ? "bias_kv" : "zero_attention") + what);
    if (o.mechanism.shares_keys() && o.key_dim != 0 && o.key_dim != d)
      check.fail("key_dim = " + std::to_string(o.key_dim) + what + ", whose keys are its queries");
  }
  return d;
}

/// [b, t, s], one an example, as [b, 1, t, s].
void spread_over_heads(Tensor& term) {
  if (term.defined() && term.rank() == 3) term = unsqueeze(term, 1);
}

AttentionResult in_heads(const Tensor& q, const Tensor& k, const Tensor& v, std::int64_t heads, std::int64_t key_heads,
                         AttentionOptions o, bool need_weights) {
  spread_over_heads(o.attention_mask);
  spread_over_heads(o.bias);
  const auto heads_of = [&](const Tensor& x, std::int64_t n) {
    return permute(reshape(x, {x.size(0), x.size(1), n, x.size(2) / n}), {0, 2, 1, 3});
  };
  o.grouped_heads = key_heads != heads;  // query head i has key head i / (heads / key_heads)
  const AttentionResult a =
      scaled_dot_product_attention(heads_of(q, heads), heads_of(k, key_heads), heads_of(v, key_heads), o, need_weights);
  return {flatten(permute(a.output, {0, 2, 1, 3}), 2, 3), a.weights};
}

/// The masks of [.., s] keys for [.., s + more], the last of which every query sees.
void see_more_keys(AttentionOptions& o, std::int64_t t, std::int64_t s, std::int64_t more) {
  const auto widened = [&](const Tensor& given) {
    const Tensor m = given.rank() == 0 ? unsqueeze(given, 0) : given;
    Shape all = m.shape(), added = m.shape();
    all[all.rank() - 1] = s;
    added[added.rank() - 1] = more;
    return cat({expand(m, all), zeros(added, m.dtype())}, -1);
  };
  if (!o.pattern.sees_all()) {
    const Tensor unseen = o.pattern.mask(t, s);
    o.attention_mask = o.attention_mask.defined() ? logical_or(o.attention_mask, unseen) : unseen;
    o.pattern = {};
  }
  if (o.causal) {  // query i is the i-th of the last t of the given keys
    const Tensor future = triu(ones({t, s}, DType::boolean), s - t + 1);
    o.attention_mask = o.attention_mask.defined() ? logical_or(o.attention_mask, future) : future;
    o.causal = false;
  }
  if (o.attention_mask.defined()) o.attention_mask = widened(o.attention_mask);
  if (o.bias.defined()) o.bias = widened(o.bias);
}

}  // namespace

MultiheadAttention::MultiheadAttention(std::int64_t d, std::int64_t heads, const MultiheadOptions& o, Here here)
    : Module(here),
      d_(checked({"MultiheadAttention", *this}, d, heads, o)),
      heads_(heads),
      key_heads_(o.key_heads == 0 ? heads : o.key_heads),
      key_size_(d / heads * key_heads_),
      shares_keys_(o.mechanism.shares_keys()),
      dropout_(o.dropout),
      zero_attention_(o.zero_attention),
      generator_(o.generator),
      joint_((o.key_dim == 0 || o.key_dim == d) && (o.value_dim == 0 || o.value_dim == d)),
      out_(child<Linear>("out_proj", d, d, LinearOptions{.bias = o.bias})) {
  const auto projection = [&](const char* name, std::int64_t out, std::int64_t in) {
    Parameter& w = parameter(name, zeros({out, in}));
    init::xavier_uniform_(w);
    return &w;
  };
  const std::int64_t rows = d + (shares_keys_ ? 1 : 2) * key_size_;
  if (joint_) {
    in_ = projection("in_proj_weight", rows, d);
  } else {
    q_ = projection("q_proj_weight", d, d);
    if (!shares_keys_) k_ = projection("k_proj_weight", key_size_, o.key_dim == 0 ? d : o.key_dim);
    v_ = projection("v_proj_weight", key_size_, o.value_dim == 0 ? d : o.value_dim);
  }
  if (o.bias) {
    bias_ = &parameter("in_proj_bias", zeros({rows}));
    init::zeros_(out_.bias());
  }
  if (o.mechanism.pattern()) pattern_ = *o.mechanism.pattern();
  if (!o.mechanism.has_scores())
    mechanism_ = &child<HeadsAttention>("mechanism", heads, d / heads, o.mechanism,
                                        HeadsOptions{.dropout = o.dropout, .generator = o.generator});
  if (!o.bias_kv) return;
  const auto extra = [&](const char* name) {
    Parameter& w = parameter(name, zeros({1, 1, key_size_}));
    init::xavier_normal_(w);
    return &w;
  };
  bias_k_ = extra("bias_k");
  bias_v_ = extra("bias_v");
}

AttentionResult MultiheadAttention::operator()(const Tensor& x, const MultiheadCall& call, Here here) const {
  return (*this)(x, x, x, call, here);
}

AttentionResult MultiheadAttention::operator()(const Tensor& query, const Tensor& key, const Tensor& value,
                                               const MultiheadCall& call, Here here) const {
  const Scope scope(*this, "MultiheadAttention", here);
  AttentionResult r = attend(scope.in(Tensors{query, key, value}), call, here);
  scope.out_parts(r.output, r.weights);
  return r;
}

Tensor MultiheadAttention::project(const Tensor& x, int part) const {
  // Where queries, keys and values are among the rows.
  const std::int64_t before = shares_keys_ ? 0 : part - 1, first = part == 0 ? 0 : d_ + before * key_size_;
  const auto rows = [&](const Tensor& all) { return slice(all, 0, first, first + (part == 0 ? d_ : key_size_)); };
  const Parameter* own = part == 0 ? q_ : part == 1 ? k_ : v_;
  return linear(x, joint_ ? rows(*in_) : *own, bias_ ? rows(*bias_) : Tensor());
}

Tensors MultiheadAttention::project(const Tensors& inputs) const {
  const Tensor &query = inputs[0], &key = inputs[1], &value = inputs[2];
  if (joint_ && query.impl() == key.impl() && key.impl() == value.impl()) {
    const Tensor all = linear(query, *in_, bias_ ? *bias_ : Tensor());  // one product for all
    if (!shares_keys_) return split(all, {d_, key_size_, key_size_}, 2);
    const Tensors parts = split(all, {d_, key_size_}, 2);
    return {parts[0], parts[0], parts[1]};
  }
  const Tensor q = project(query, 0);
  return {q, shares_keys_ ? q : project(key, 1), project(value, 2)};
}

/// The joined heads [b, t, d].
Tensor MultiheadAttention::by_mechanism(const Tensors& qkv, const MultiheadCall& call, Here here) const {
  const Op op{"multihead_attention", here};
  const auto refuse = [&](const char* what) {
    op.fail_value(mechanism_->mechanism.name() +
                  (std::string(" attention has no scores of pairs: it takes no ") + what));
  };
  if (call.attention_mask.defined()) refuse("attention_mask");
  if (call.attention_bias.defined()) refuse("attention_bias");
  if (!call.pattern.sees_all()) refuse("pattern");
  if (call.need_weights) refuse("need_weights");
  const auto heads_of = [&](const Tensor& x) { return detail::split_heads(x, heads_, x.size(2) / heads_); };
  return flatten((*mechanism_)(heads_of(qkv[0]), heads_of(qkv[1]), heads_of(qkv[2]),
                               {.causal = call.causal, .key_padding_mask = call.key_padding_mask}),
                 2, 3);
}

/// Throws ValueError unless steps from a cache are what this module's call is.
void MultiheadAttention::check_cached(Here here) const {
  if (mechanism_ || !pattern_.sees_all())
    throw ValueError(std::string("MultiheadAttention: no cache with ") +
                         (mechanism_ ? mechanism_->mechanism.name() : "pattern") + " attention",
                     here);
  check_extra_keys(here);
}

void MultiheadAttention::check_extra_keys(Here here) const {
  if (bias_k_ || zero_attention_) throw ValueError("MultiheadAttention: no cache with bias_kv or zero_attention", here);
}

void MultiheadAttention::append(const Tensor& key, const Tensor& value, KeyValueCache& cache, Here here) const {
  const Scope scope(*this, "MultiheadAttention", here, Scope::no_call);
  const NoGrad off;
  check_cached(here);
  cache.append(project(key, 1), project(value, 2));
}

Tensor MultiheadAttention::step(const Tensor& query, const KeyValueCache& cache, const CachedAttentionOptions& options,
                                Here here) const {
  const Scope scope(*this, "MultiheadAttention", here, Scope::no_call);
  const NoGrad off;
  check_cached(here);
  return out_(cached_attention(project(query, 0), cache, heads_, options));
}

Tensor MultiheadAttention::extend(const Tensor& x, KeyValueCache& cache, Here here) const {
  const Scope scope(*this, "MultiheadAttention", here, Scope::no_call);
  const NoGrad off;
  check_extra_keys(here);
  detail::check_input("MultiheadAttention", x, d_, here);
  const AttentionMechanism exact, &mechanism = mechanism_ ? mechanism_->mechanism : exact;
  using Kind = AttentionMechanism::Kind;
  if (mechanism.kind() == Kind::lsh || mechanism.kind() == Kind::linformer)
    throw ValueError(std::string("MultiheadAttention: no steps with ") + mechanism.name() + " attention", here);
  const LocalOptions* local = mechanism.local();
  if (local && local->ring && (local->chunks_before > 1 || local->chunks_after > 0))
    throw ValueError("MultiheadAttention: no steps with local attention that may see round a ring's ends", here);
  if (x.size(1) < 1) throw ShapeError("MultiheadAttention: x " + x.shape().str() + " has no token", here);
  const Tensors qkv = project({x, x, x});
  if (mechanism.kind() == Kind::linear || mechanism.kind() == Kind::performer) {
    const auto heads_of = [&](const Tensor& y) { return detail::split_heads(y, heads_, y.size(2) / heads_); };
    PerformerState next = cache.sums();
    Tensor y = out_(flatten(mechanism_->step(heads_of(qkv[0]), heads_of(qkv[1]), heads_of(qkv[2]), next, here), 2, 3));
    cache.advance(next, here);
    return y;
  }
  const std::int64_t before = cache.length(), n = before + x.size(1);
  AttentionPattern seen =
      local ? AttentionPattern::local_blocks(local->chunk, local->chunks_before, local->chunks_after) : pattern_;
  if (seen.tokens() > n) seen = seen.first(n);
  if (const std::string misfit = seen.misfit(x.size(0), heads_, x.size(1), n); !misfit.empty())
    throw ShapeError("MultiheadAttention: " + misfit, here);
  return detail::or_back_to_before({&cache, 1}, [&] {
    cache.append(qkv[1], qkv[2], here);
    return out_(cached_attention(qkv[0], cache, heads_, {.causal = true, .pattern = seen}, here));
  });
}

AttentionResult MultiheadAttention::attend(const Tensors& inputs, const MultiheadCall& call, Here here) const {
  const Op op{"multihead_attention", here};
  const Tensor &query = inputs[0], &key = inputs[1], &value = inputs[2];
  op.check_floating(query);
  op.check_floating(key);
  op.check_floating(value);
  if (query.rank() != 3 || key.rank() != 3 || value.rank() != 3 || query.size(2) != d_ ||
      key.size(0) != query.size(0) || value.size(0) != query.size(0) || key.size(1) != value.size(1))
    op.fail_shape("query " + query.shape().str() + ", key " + key.shape().str() + " and value " + value.shape().str() +
                  " do not fit [b, t, " + std::to_string(d_) + "], [b, s, ..], [b, s, ..]");
  const std::int64_t b = query.size(0), t = query.size(1), s = key.size(1);
  detail::check_padding(op, call.key_padding_mask, key);
  const Tensors qkv = project(inputs);
  if (mechanism_) return {out_(by_mechanism(qkv, call, here)), Tensor()};
  const Tensor& q = qkv[0];
  Tensor k = qkv[1], v = qkv[2];
  AttentionOptions o{.attention_mask = call.attention_mask,
                     .bias = call.attention_bias,
                     .causal = call.causal,
                     .pattern = pattern_ & call.pattern,
                     .dropout = training() ? dropout_ : 0,
                     .generator = generator_};
  if (o.attention_mask.defined()) detail::check_mask(op, o.attention_mask, "attention_mask");
  if (o.bias.defined()) op.check_same_dtype(o.bias, query);
  const Shape scores{b, heads_, t, s};
  for (const auto& [name, given] :
       {std::pair{"attention_mask", &o.attention_mask}, std::pair{"attention_bias", &o.bias}}) {
    const Tensor as_given = *given;
    spread_over_heads(*given);
    if (Shape both; given->defined() && (!broadcast(given->shape(), scores, both) || both != scores))
      op.fail_shape(name + (" " + as_given.shape().str()) + " does not broadcast to the scores " + scores.str() +
                    " of query " + query.shape().str() + " and key " + key.shape().str() +
                    (as_given.rank() == 3 ? "; three axes are [b, t, s]" : ""));
  }
  const std::string misfit = o.pattern.misfit(b, heads_, t, s);
  if (!misfit.empty()) op.fail_shape(misfit);
  if (call.key_padding_mask.defined()) {
    const Tensor padding = reshape(call.key_padding_mask, {b, 1, 1, s});
    o.attention_mask = o.attention_mask.defined() ? logical_or(o.attention_mask, padding) : padding;
  }
  const auto add_key = [&](const Tensor& key_part, const Tensor& value_part) {
    k = cat({k, expand(key_part, {b, 1, key_size_})}, 1);
    v = cat({v, expand(value_part, {b, 1, key_size_})}, 1);
  };
  if (bias_k_) add_key(*bias_k_, *bias_v_);
  if (zero_attention_) add_key(zeros({1, 1, key_size_}, k.dtype()), zeros({1, 1, key_size_}, v.dtype()));
  const std::int64_t keys = k.size(1);
  if (keys > s) see_more_keys(o, t, s, keys - s);
  const AttentionResult a = in_heads(q, k, v, heads_, key_heads_, o, call.need_weights);
  return {out_(a.output), a.weights.defined() && call.average_weights ? mean(a.weights, {1}) : a.weights};
}

AttentionResult multihead_attention(const Tensor& q, const Tensor& k, const Tensor& v, std::int64_t heads,
                                    const AttentionOptions& o, bool need_weights, Here here) {
  const Op op{"multihead_attention", here};
  op.check_defined(q);
  op.check_defined(k);
  op.check_defined(v);
  for (const Tensor& x : {q, k, v})
    if (heads < 1 || x.rank() != 3 || (!(o.grouped_heads && x.impl() != q.impl()) && x.size(2) % heads != 0))
      op.fail_shape(x.shape().str() + " must be [b, n, " + std::to_string(heads) + " d]");
  if (o.grouped_heads) {
    const std::int64_t d = q.size(2) / heads, key_heads = d == 0 ? 0 : k.size(2) / d;
    if (key_heads < 1 || k.size(2) % d != 0 || v.size(2) % key_heads != 0 || heads % key_heads != 0)
      op.fail_shape("k " + k.shape().str() + " and v " + v.shape().str() + " must be [b, s, g " + std::to_string(d) +
                    "] and [b, s, g d'] with g dividing the " + std::to_string(heads) + " heads of q " +
                    q.shape().str());
  }
  const std::int64_t key_heads = o.grouped_heads ? k.size(2) / (q.size(2) / heads) : heads;
  return in_heads(q, k, v, heads, key_heads, o, need_weights);
}

}  // namespace attune::nn
