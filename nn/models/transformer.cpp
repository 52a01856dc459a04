#include "nn/models/transformer.h"

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
      options_(checked({"TransformerDecoderLayer", *this}, o)),
      self_attn_(child<MultiheadAttention>("self_attn", d, heads, self_attention_options(o))),
      multihead_attn_(child<MultiheadAttention>("multihead_attn", d, heads, attention_options(o))),
      linear1_(child<Linear>("linear1", d, o.d_ff, LinearOptions{.activation = o.activation})),
      linear2_(child<Linear>("linear2", o.d_ff, d)),
      norm1_(child<LayerNorm>("norm1", d, norm_options(o))),
      norm2_(child<LayerNorm>("norm2", d, norm_options(o))),
      norm3_(child<LayerNorm>("norm3", d, norm_options(o))),
      dropout_(child<Dropout>("dropout", o.dropout, generator(o))) {}

Tensor TransformerDecoderLayer::operator()(const Tensor& input, const Tensor& encoded, const MultiheadCall& self,
                                           const MultiheadCall& cross, Here here) const {
  const Scope scope(*this, "TransformerDecoderLayer", here);
  const Tensors in = scope.in(Tensors{input, encoded});
  const Tensor &x = in[0], &memory = in[1];
  const bool pre = options_.pre_norm;
  Tensor h = residual(x, norm1_, pre, [&](const Tensor& t) { return dropout_(self_attn_(t, self).output); });
  h = residual(h, norm2_, pre,
               [&](const Tensor& t) { return dropout_(multihead_attn_(t, memory, memory, cross).output); });
  return scope.out(residual(h, norm3_, pre, [&](const Tensor& t) {
    return feed_forward(t, linear1_, linear2_, dropout_, options_.ff_chunks);
  }));
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
  detail::Check("TransformerDecoder", *this).at_least(0, layers, "layers");
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

}  // namespace attune::nn
