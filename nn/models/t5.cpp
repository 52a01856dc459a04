#include "nn/models/t5.h"

#include <algorithm>
#include <cmath>

#include "autograd/ops/create.h"
#include "autograd/ops/elementwise.h"
#include "autograd/ops/matmul.h"
#include "autograd/ops/movement.h"
#include "autograd/runtime/error.h"
#include "nn/attention/multihead.h"
#include "nn/init.h"
#include "nn/internal/check.h"

namespace attune::nn {

namespace {

T5Config checked(const detail::Check& check, T5Config c) {
  for (const auto& [n, name] : {std::pair{c.vocabulary, "vocabulary"},
                                {c.d_model, "d_model"},
                                {c.d_kv, "d_kv"},
                                {c.d_ff, "d_ff"},
                                {c.heads, "heads"},
                                {c.layers, "layers"}})
    check.at_least(1, n, name);
  if (check.at_least(0, c.decoder_layers, "decoder_layers") == 0) c.decoder_layers = c.layers;
  check.at_least(4, c.buckets, "buckets");  // one of each direction is of distance 0
  if (c.max_distance <= c.buckets / 2)
    check.fail("max_distance = " + std::to_string(c.max_distance) + " must be more than half of the " +
               std::to_string(c.buckets) + " buckets");
  check.finite(c.factor, "factor");
  for (const auto& [id, name] : {std::pair{c.padding_token, "padding_token"}, {c.start_token, "start_token"}})
    if (id < 0 || id >= c.vocabulary)
      check.fail(name + (" = " + std::to_string(id)) + " is outside of the vocabulary of " +
                 std::to_string(c.vocabulary));
  return c;
}

double root(std::int64_t n) { return std::sqrt(static_cast<double>(n)); }

}  // namespace

// ---- the parts

T5::Attention::Attention(const T5Config& c, bool positions, bool both, Here here)
    : Module(here),
      config(c),
      q(child<Linear>("q", c.d_model, c.heads * c.d_kv, LinearOptions{.bias = false})),
      k(child<Linear>("k", c.d_model, c.heads * c.d_kv, LinearOptions{.bias = false})),
      v(child<Linear>("v", c.d_model, c.heads * c.d_kv, LinearOptions{.bias = false})),
      o(child<Linear>("o", c.heads * c.d_kv, c.d_model, LinearOptions{.bias = false})) {
  // The scores are not divided by sqrt(d_kv): the queries begin smaller instead.
  init::normal_(q.weight, 0, c.factor / (root(c.d_model) * root(c.d_kv)));
  init::normal_(k.weight, 0, c.factor / root(c.d_model));
  init::normal_(v.weight, 0, c.factor / root(c.d_model));
  init::normal_(o.weight, 0, c.factor / root(c.heads * c.d_kv));
  if (!positions) return;
  relative_attention_bias = &child<RelativePositionBias>("relative_attention_bias", c.heads,
                                                         RelativeBiasOptions{.buckets = c.buckets,
                                                                             .max_distance = c.max_distance,
                                                                             .bidirectional = both,
                                                                             .std = c.factor / root(c.d_model)});
}

Tensor T5::Attention::operator()(const Tensor& x, const Tensor& memory, AttentionOptions options, Here here) const {
  const Scope scope(*this, "Attention", here);
  const Tensors in = scope.in(Tensors{x, memory});
  options.scale = 1;
  options.dropout = training() ? config.dropout : 0;
  return scope.out(o(multihead_attention(q(in[0]), k(in[1]), v(in[1]), config.heads, options).output));
}

T5::FeedForward::FeedForward(const T5Config& c, Here here)
    : Module(here),
      wi(child<Linear>(c.gated ? "wi_0" : "wi", c.d_model, c.d_ff,
                       LinearOptions{.bias = false, .activation = c.activation})),
      up(c.gated ? &child<Linear>("wi_1", c.d_model, c.d_ff, LinearOptions{.bias = false}) : nullptr),
      wo(child<Linear>("wo", c.d_ff, c.d_model, LinearOptions{.bias = false})),
      dropout(child<Dropout>("dropout", c.dropout)) {
  init::normal_(wi.weight, 0, c.factor / root(c.d_model));
  if (up) init::normal_(up->weight, 0, c.factor / root(c.d_model));
  init::normal_(wo.weight, 0, c.factor / root(c.d_ff));
}

Tensor T5::FeedForward::operator()(const Tensor& input, Here here) const {
  const Scope scope(*this, "FeedForward", here);
  const Tensor& x = scope.in(input);
  return scope.out(wo(dropout(up ? wi(x) * (*up)(x) : wi(x))));
}

T5::Block::Block(const T5Config& c, bool decoder, bool positions, Here here)
    : Module(here),
      norm(child<RMSNorm>("layer.0.layer_norm", c.d_model, c.eps)),
      attention(child<Attention>("layer.0.SelfAttention", c, positions, !decoder)),
      cross_norm(decoder ? &child<RMSNorm>("layer.1.layer_norm", c.d_model, c.eps) : nullptr),
      cross_attention(decoder ? &child<Attention>("layer.1.EncDecAttention", c, false, false) : nullptr),
      feed_forward_norm(child<RMSNorm>(decoder ? "layer.2.layer_norm" : "layer.1.layer_norm", c.d_model, c.eps)),
      feed_forward(child<FeedForward>(decoder ? "layer.2.DenseReluDense" : "layer.1.DenseReluDense", c)),
      dropout(child<Dropout>("dropout", c.dropout)) {
  for (const RMSNorm* n : {&norm, cross_norm, &feed_forward_norm})
    if (n) init::constant_(n->weight, c.factor);
}

Tensor T5::Block::operator()(const Tensor& x, const AttentionOptions& self, const Tensor& memory,
                             const AttentionOptions& cross, Here here) const {
  const Scope scope(*this, "Block", here);
  return scope.out(through(
      scope.in(x), [&](const Tensor& y) { return attention(y, y, self); },
      [&](const Tensor& y) { return (*cross_attention)(y, memory, cross); }));
}

T5::Stack::Stack(const T5Config& c, bool decodes, Here here)
    : Module(here),
      config(c),
      decoder(decodes),
      block(child<ModuleList<Block>>("block")),
      final_layer_norm(child<RMSNorm>("final_layer_norm", c.d_model, c.eps)),
      dropout(child<Dropout>("dropout", c.dropout)) {
  init::constant_(final_layer_norm.weight, c.factor);
  for (std::int64_t i = 0; i < (decoder ? c.decoder_layers : c.layers); ++i) block.add(c, decoder, i == 0);
}

Tensor T5::Stack::position_bias(std::int64_t queries, std::int64_t keys) const {
  return unsqueeze((*block[0].attention.relative_attention_bias)(queries, keys, keys - queries), 0);
}

Tensor T5::Stack::operator()(const Tensor& input, const Tensor& attention_mask, const Tensor& memory,
                             const Tensor& memory_mask, Here here) const {
  const Scope scope(*this, "Stack", here);
  Tensor x = dropout(scope.in(input));
  const std::int64_t n = x.size(1);
  const AttentionOptions self{.attention_mask = attention_mask, .bias = position_bias(n, n), .causal = decoder};
  const AttentionOptions cross{.attention_mask = memory_mask};
  for (const Block* b : block) x = (*b)(x, self, memory, cross);
  return scope.out(dropout(final_layer_norm(x)));
}

// ---- the model

T5::T5(const T5Config& c, Here here)
    : Module(here),
      config(checked({"T5", *this}, c)),
      shared(child<Embedding>("shared", config.vocabulary, config.d_model)),
      encoder(child<Stack>("encoder", config, false)),
      decoder(child<Stack>("decoder", config, true)) {
  init::normal_(shared.weight, 0, config.factor);
  if (!config.tied)
    lm_head = &child<Linear>("lm_head", config.d_model, config.vocabulary, LinearOptions{.bias = false});
}

Tensor T5::operator()(const Tensor& source, const Tensor& tokens, const T5Call& call, Here here) const {
  const Scope scope(*this, "T5", here);
  const Tensors in = scope.in(Tensors{source, tokens});
  const Tensor source_mask = hidden_keys("T5", in[0], call.key_padding_mask, here);
  const Tensor mask = hidden_keys("T5", in[1], call.decoder_key_padding_mask, here);
  if (in[0].size(0) != in[1].size(0))
    throw ShapeError("T5: source " + in[0].shape().str() + " and decoder tokens " + in[1].shape().str() +
                         " are of different batches",
                     here);
  const Tensor memory = encoder(shared(in[0]), source_mask);
  return scope.out(head(decoder(shared(in[1]), mask, memory, source_mask)));
}

Tensor T5::encode(const Tensor& source, const Tensor& key_padding_mask, Here here) const {
  const Scope scope(*this, "T5", here, Scope::no_call);
  const Tensor mask = hidden_keys("T5", source, key_padding_mask, here);
  return encoder(shared(source), mask);
}

Tensor T5::head(const Tensor& x) const {
  return lm_head ? (*lm_head)(x) : linear(x * (1 / root(config.d_model)), shared.weight);
}

Tensor T5::shift_right(const Tensor& labels, Here here) const {
  const Scope scope(*this, "T5", here, Scope::no_call);
  return shifted_right("T5", labels, config.start_token, config.padding_token, here);
}

Tensor T5::loss(const Tensor& logits, const Tensor& labels, Reduction reduction, Here here) const {
  const Scope scope(*this, "T5", here, Scope::no_call);
  if (logits.rank() != 3 || labels.shape() != Shape{logits.size(0), logits.size(1)})
    throw ShapeError("T5: labels " + labels.shape().str() + " do not fit logits " + logits.shape().str(), here);
  return cross_entropy(logits, labels, {.reduction = reduction}, here);
}

std::int64_t T5::target_count(const Tensor& labels, Here) const { return nn::target_count(labels); }

}  // namespace attune::nn
