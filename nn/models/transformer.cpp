#include "nn/models/transformer.h"

#include "autograd/runtime/error.h"
#include "autograd/tape/modes.h"
#include "nn/internal/check.h"
#include "nn/layers/containers.h"
#include "nn/layers/dropout.h"
#include "nn/layers/feed_forward.h"
#include "nn/layers/norm.h"
#include "nn/models/blocks.h"

namespace attune::nn {

namespace {

Generator& generator(const TransformerOptions& o) { return o.generator ? *o.generator : default_generator(); }

MultiheadOptions attention_options(const TransformerOptions& o) {
  return {.dropout = o.dropout, .generator = o.generator};
}

MultiheadOptions self_attention_options(const TransformerOptions& o) {
  MultiheadOptions m = attention_options(o);
  m.mechanism = o.mechanism;
  return m;
}

LayerNormOptions norm_options(const TransformerOptions& o) { return {.eps = o.eps}; }

TransformerOptions checked(const detail::Check& check, const TransformerOptions& o) {
  check.at_least(1, o.ff_chunks, "ff_chunks");
  return o;
}

/// A decoder's self-attention is causal, in a step always.
const TransformerOptions& checked_causal(const detail::Check& check, const TransformerOptions& o) {
  const std::string why = o.mechanism.why_not_causal();
  if (!why.empty()) check.fail(why);
  return o;
}

}  // namespace

TransformerEncoderLayer::TransformerEncoderLayer(std::int64_t d, std::int64_t heads, const TransformerOptions& o,
                                                 Here here)
    : Module(here),
      options_(checked({"TransformerEncoderLayer", *this}, o)),
      self_attn_(child<MultiheadAttention>("self_attn", d, heads, self_attention_options(o))),
      linear1_(child<Linear>("linear1", d, o.d_ff, LinearOptions{.activation = o.activation})),
      linear2_(child<Linear>("linear2", o.d_ff, d)),
      norm1_(child<LayerNorm>("norm1", d, norm_options(o))),
      norm2_(child<LayerNorm>("norm2", d, norm_options(o))),
      dropout_(child<Dropout>("dropout", o.dropout, generator(o))) {}

Tensor TransformerEncoderLayer::operator()(const Tensor& x, const MultiheadCall& call, Here here) const {
  const Scope scope(*this, "TransformerEncoderLayer", here);
  const bool pre = options_.pre_norm;
  const Tensor h =
      residual(scope.in(x), norm1_, pre, [&](const Tensor& t) { return dropout_(self_attn_(t, call).output); });
  return scope.out(residual(h, norm2_, pre, [&](const Tensor& t) {
    return feed_forward(t, linear1_, linear2_, dropout_, options_.ff_chunks);
  }));
}

TransformerDecoderLayer::TransformerDecoderLayer(std::int64_t d, std::int64_t heads, const TransformerOptions& o,
                                                 Here here)
    : Module(here),
      options_(checked({"TransformerDecoderLayer", *this}, checked_causal({"TransformerDecoderLayer", *this}, o))),
      self_attn_(child<MultiheadAttention>("self_attn", d, heads, self_attention_options(o))),
      multihead_attn_(child<MultiheadAttention>("multihead_attn", d, heads, attention_options(o))),
      linear1_(child<Linear>("linear1", d, o.d_ff, LinearOptions{.activation = o.activation})),
      linear2_(child<Linear>("linear2", o.d_ff, d)),
      norm1_(child<LayerNorm>("norm1", d, norm_options(o))),
      norm2_(child<LayerNorm>("norm2", d, norm_options(o))),
      norm3_(child<LayerNorm>("norm3", d, norm_options(o))),
      dropout_(child<Dropout>("dropout", o.dropout, generator(o))) {}

template <class Self, class Cross>
Tensor TransformerDecoderLayer::through(const Tensor& x, const Self& self, const Cross& cross) const {
  const bool pre = options_.pre_norm;
  Tensor h = residual(x, norm1_, pre, [&](const Tensor& t) { return dropout_(self(t)); });
  h = residual(h, norm2_, pre, [&](const Tensor& t) { return dropout_(cross(t)); });
  return residual(h, norm3_, pre,
                  [&](const Tensor& t) { return feed_forward(t, linear1_, linear2_, dropout_, options_.ff_chunks); });
}

Tensor TransformerDecoderLayer::operator()(const Tensor& input, const Tensor& encoded, const MultiheadCall& self,
                                           const MultiheadCall& cross, Here here) const {
  const Scope scope(*this, "TransformerDecoderLayer", here);
  const Tensors in = scope.in(Tensors{input, encoded});
  const Tensor& memory = in[1];
  return scope.out(through(
      in[0], [&](const Tensor& t) { return self_attn_(t, self).output; },
      [&](const Tensor& t) { return multihead_attn_(t, memory, memory, cross).output; }));
}

AttentionResult TransformerDecoderLayer::with_weights(const Tensor& x, const Tensor& memory, const MultiheadCall& self,
                                                      const MultiheadCall& cross, Here here) const {
  const Scope scope(*this, "TransformerDecoderLayer", here, Scope::no_call);
  MultiheadCall call = cross;
  call.need_weights = true;
  call.average_weights = false;
  Tensor weights;
  Tensor y = through(
      x, [&](const Tensor& t) { return self_attn_(t, self).output; },
      [&](const Tensor& t) {
        AttentionResult r = multihead_attn_(t, memory, memory, call);
        weights = r.weights;
        return r.output;
      });
  return {y, weights};
}

void TransformerDecoderLayer::read(const Tensor& memory, KeyValueCache& source, Here here) const {
  const Scope scope(*this, "TransformerDecoderLayer", here, Scope::no_call);
  multihead_attn_.append(memory, memory, source);
}

Tensor TransformerDecoderLayer::step(const Tensor& x, KeyValueCache& own, const KeyValueCache& source,
                                     const Tensor& source_padding, Here here) const {
  const Scope scope(*this, "TransformerDecoderLayer", here, Scope::no_call);
  const NoGrad off;
  return detail::or_back_to_before({&own, 1}, [&] {
    return through(
        x, [&](const Tensor& t) { return self_attn_.extend(t, own); },
        [&](const Tensor& t) { return multihead_attn_.step(t, source, {.key_padding_mask = source_padding}); });
  });
}

TransformerEncoder::TransformerEncoder(std::int64_t layers, std::int64_t d, std::int64_t heads,
                                       const TransformerOptions& o, Here here)
    : Module(here), layers_(child<ModuleList<TransformerEncoderLayer>>("layers")) {
  detail::Check("TransformerEncoder", *this).at_least(0, layers, "layers");
  for (std::int64_t i = 0; i < layers; ++i) layers_.add(d, heads, o);
  if (o.final_norm.value_or(o.pre_norm)) norm_ = &child<LayerNorm>("norm", d, norm_options(o));
}

Tensor TransformerEncoder::operator()(const Tensor& x, const MultiheadCall& call, Here here) const {
  const Scope scope(*this, "TransformerEncoder", here);
  Tensor h = scope.in(x);
  for (const auto* layer : layers_) h = (*layer)(h, call);
  return scope.out(norm_ ? (*norm_)(h) : h);
}

TransformerDecoder::TransformerDecoder(std::int64_t layers, std::int64_t d, std::int64_t heads,
                                       const TransformerOptions& o, Here here)
    : Module(here), layers_(child<ModuleList<TransformerDecoderLayer>>("layers")) {
  const detail::Check check("TransformerDecoder", *this);
  check.at_least(0, layers, "layers");
  checked_causal(check, o);
  for (std::int64_t i = 0; i < layers; ++i) layers_.add(d, heads, o);
  if (o.final_norm.value_or(o.pre_norm)) norm_ = &child<LayerNorm>("norm", d, norm_options(o));
}

Tensor TransformerDecoder::operator()(const Tensor& input, const Tensor& encoded, const MultiheadCall& self,
                                      const MultiheadCall& cross, Here here) const {
  const Scope scope(*this, "TransformerDecoder", here);
  const Tensors in = scope.in(Tensors{input, encoded});
  const Tensor& memory = in[1];
  Tensor h = in[0];
  for (const auto* layer : layers_) h = (*layer)(h, memory, self, cross);
  return scope.out(norm_ ? (*norm_)(h) : h);
}

Tensors TransformerDecoder::cross_weights(const Tensor& x, const Tensor& memory, const MultiheadCall& self,
                                          const MultiheadCall& cross, Here here) const {
  const Scope scope(*this, "TransformerDecoder", here, Scope::no_call);
  Tensors weights;
  Tensor h = x;
  for (const auto* layer : layers_) {
    AttentionResult r = layer->with_weights(h, memory, self, cross);
    weights.push_back(r.weights);
    h = r.output;
  }
  return weights;
}

std::vector<KeyValueCache> TransformerDecoder::read(const Tensor& memory, Here here) const {
  const Scope scope(*this, "TransformerDecoder", here, Scope::no_call);
  std::vector<KeyValueCache> source(layers_.size());
  for (std::size_t i = 0; i < source.size(); ++i) {
    source[i].reserve(memory.size(1));
    layers_[i].read(memory, source[i]);
  }
  return source;
}

Tensor TransformerDecoder::step(const Tensor& x, std::vector<KeyValueCache>& own,
                                const std::vector<KeyValueCache>& source, const Tensor& source_padding,
                                Here here) const {
  const Scope scope(*this, "TransformerDecoder", here, Scope::no_call);
  const NoGrad off;
  if (own.size() != layers_.size() || source.size() != layers_.size())
    throw ValueError("TransformerDecoder: " + std::to_string(own.size()) + " and " + std::to_string(source.size()) +
                         " caches for " + std::to_string(layers_.size()) + " layers",
                     here);
  return detail::or_back_to_before(own, [&] {
    Tensor h = x;
    for (std::size_t i = 0; i < own.size(); ++i) h = layers_[i].step(h, own[i], source[i], source_padding);
    return norm_ ? (*norm_)(h) : h;
  });
}

}  // namespace attune::nn
