#include "nn/attention/mechanism.h"

#include "autograd/ops/attention/attention.h"
#include "autograd/ops/movement.h"
#include "autograd/tape/op.h"
#include "autograd/tape/replay.h"
#include "nn/attention/internal/options.h"
#include "nn/attention/internal/projections.h"
#include "nn/attention/linear.h"
#include "nn/attention/linformer.h"
#include "nn/attention/performer.h"

namespace attune::nn {

namespace {

LinformerOptions with_dropout(LinformerOptions o, const HeadsOptions& heads) {
  o.dropout = heads.dropout;
  if (heads.generator) o.generator = heads.generator;
  return o;
}

/// The call says whether attention is causal; steps are.
template <class O>
O causal(O o) {
  o.causal = true;
  return o;
}

/// Of the dropout of a call, if there is any.
RandomKey dropout_key(double dropout, Generator* g) {
  return dropout > 0 ? (g ? *g : default_generator()).next() : RandomKey{};
}

}  // namespace

AttentionMechanism::AttentionMechanism(const AttentionPattern& p) : AttentionMechanism(Kind::pattern, p) {}
AttentionMechanism::AttentionMechanism(const LocalOptions& o) : AttentionMechanism(Kind::local, o) {}
AttentionMechanism::AttentionMechanism(const LshOptions& o) : AttentionMechanism(Kind::lsh, o) {}
AttentionMechanism::AttentionMechanism(const LinearAttentionOptions& o) : AttentionMechanism(Kind::linear, o) {}
AttentionMechanism::AttentionMechanism(const PerformerOptions& o) : AttentionMechanism(Kind::performer, o) {}
AttentionMechanism::AttentionMechanism(const LinformerOptions& o) : AttentionMechanism(Kind::linformer, o) {}

const char* AttentionMechanism::name() const {
  constexpr const char* names[] = {"exact", "pattern", "local", "lsh", "linear", "performer", "linformer"};
  return names[static_cast<int>(kind_)];
}

std::string AttentionMechanism::why_not_causal() const {
  return linformer() ? std::string("a Linformer cannot be causal: ") + detail::linformer_mixes : "";
}

HeadsAttention::HeadsAttention(std::int64_t heads, std::int64_t head_dim, const AttentionMechanism& m,
                               const HeadsOptions& o, Here here)
    : Module(here), mechanism(m), heads_(heads), head_dim_(head_dim), options_(o) {
  const detail::Check check("HeadsAttention", *this);
  check.at_least(1, heads, "heads");
  check.at_least(1, head_dim, "head_dim");
  check.probability(o.dropout, "dropout");
  if (m.pattern()) detail::check_heads(check, *m.pattern(), heads);
  if (m.local()) detail::check_options(check, *m.local());
  if (m.lsh()) detail::check_options(check, *m.lsh());
  if (m.linear()) linear_ = &child<LinearAttention>("linear", causal(*m.linear()));
  if (m.performer()) performer_ = &child<PerformerAttention>("performer", head_dim, causal(*m.performer()));
  if (m.linformer()) linformer_ = &child<LinformerAttention>("linformer", heads, with_dropout(*m.linformer(), o));
}

Tensor HeadsAttention::windows(const Tensor& q, const Tensor& k, const Tensor& v, const HeadsCall& call) const {
  LocalOptions o = *mechanism.local();
  o.causal = call.causal;
  o.dropout = training() ? options_.dropout : 0;
  return local_attention(q, k, v, o, call.key_padding_mask, dropout_key(o.dropout, options_.generator));
}

Tensor HeadsAttention::buckets(const Tensor& q, const Tensor& v, const HeadsCall& call) const {
  LshOptions o = *mechanism.lsh();
  o.causal = call.causal;
  const Tensor found = detail::buckets_of(q, o, {.key_padding_mask = call.key_padding_mask});
  o.dropout = training() ? options_.dropout : 0;
  return lsh_attention(q, v, found, o, call.key_padding_mask, dropout_key(o.dropout, options_.generator));
}

void HeadsAttention::check(const Op& op, const Tensor& q, const Tensor& k, const Tensor& v) const {
  for (const auto& [name, x] : {std::pair{"q", &q}, {"k", &k}, {"v", &v}}) {
    op.check_floating(*x);
    if (x->rank() != 4) op.fail_shape(name + (" must be [batch, length, heads, head size], got " + x->shape().str()));
    if (x == &k && mechanism.kind() == AttentionMechanism::Kind::lsh) continue;  // its keys are its queries
    if (x->size(2) != heads_ || (x != &v && x->size(3) != head_dim_))
      op.fail_shape(name + (" " + x->shape().str()) + " must be [batch, length, " + std::to_string(heads_) + ", " +
                    (x == &v ? "any" : std::to_string(head_dim_)) + "]");
  }
}

Tensor HeadsAttention::operator()(const Tensor& query, const Tensor& key, const Tensor& value, const HeadsCall& call,
                                  Here here) const {
  using Kind = AttentionMechanism::Kind;
  const Scope scope(*this, "HeadsAttention", here);
  const Op op{"heads_attention", here};
  const Tensors in = scope.in(Tensors{query, key, value});
  const Tensor &q = in[0], &k = in[1], &v = in[2];
  const Tensor& padding = call.key_padding_mask;
  check(op, q, k, v);
  switch (mechanism.kind()) {
    case Kind::local: return scope.out(windows(q, k, v, call));
    case Kind::lsh: return scope.out(buckets(q, v, call));
    case Kind::linear: {
      LinearAttentionOptions o = linear_->options;
      o.causal = call.causal;
      return scope.out(linear_->attend(q, k, v, o, padding, here));
    }
    case Kind::performer: {
      PerformerOptions o = performer_->options;
      o.causal = call.causal;
      return scope.out(performer_->attend(q, k, v, o, padding, here));
    }
    case Kind::linformer:
      if (call.causal) op.fail_value(mechanism.why_not_causal());
      return scope.out((*linformer_)(q, k, v, padding));
    default: break;
  }
  AttentionOptions o{.causal = call.causal,
                     .pattern = mechanism.pattern() ? *mechanism.pattern() : AttentionPattern(),
                     .dropout = training() ? options_.dropout : 0,
                     .generator = options_.generator};
  detail::check_padding(op, padding, k);
  if (padding.defined()) o.attention_mask = reshape(padding, {k.size(0), 1, 1, k.size(1)});
  const auto in_heads = [](const Tensor& x) { return permute(x, {0, 2, 1, 3}); };
  return scope.out(in_heads(scaled_dot_product_attention(in_heads(q), in_heads(k), in_heads(v), o).output));
}

Tensor HeadsAttention::step(const Tensor& q, const Tensor& k, const Tensor& v, PerformerState& state, Here here) const {
  check({"heads_attention", here}, q, k, v);
  if (performer_) return performer_->step(q, k, v, state, here);
  if (!linear_)
    throw ValueError(std::string("HeadsAttention: ") + mechanism.name() + " attention keeps no sums from step to step",
                     here);
  Tensor y = linear_->step(q, k, v, state.sums, here);
  state.length += q.size(1);
  return y;
}

}  // namespace attune::nn
