#include "nn/models/transformer.h"

#include "autograd/ops/elementwise.h"
#include "nn/internal/check.h"
#include "nn/layers/feed_forward.h"

namespace attune::nn {

namespace {

Generator& generator(const TransformerOptions& o) { return o.generator ? *o.generator : default_generator(); }

MultiheadOptions attention_options(const TransformerOptions& o) {
  return {.dropout = o.dropout, .generator = o.generator};
}

LayerNormOptions norm_options(const TransformerOptions& o) { return {.eps = o.eps}; }

TransformerOptions checked(const TransformerOptions& o, const char* type, Here here) {
  detail::at_least(1, o.ff_chunks, type, "ff_chunks", here);
  return o;
}

}  // namespace

TransformerEncoderLayer::TransformerEncoderLayer(std::int64_t d, std::int64_t heads, const TransformerOptions& o,
                                                 Here here)
    : options_(checked(o, "TransformerEncoderLayer", here)),
      self_attn_(child<MultiheadAttention>({"self_attn", here}, d, heads, attention_options(o), here)),
      linear1_(child<Linear>({"linear1", here}, d, o.d_ff, LinearOptions{.activation = o.activation}, here)),
      linear2_(child<Linear>({"linear2", here}, o.d_ff, d, LinearOptions{}, here)),
      norm1_(child<LayerNorm>({"norm1", here}, d, norm_options(o), here)),
      norm2_(child<LayerNorm>({"norm2", here}, d, norm_options(o), here)),
      dropout_(child<Dropout>({"dropout", here}, o.dropout, generator(o), here)) {}

Tensor TransformerEncoderLayer::operator()(const Tensor& x, const MultiheadCall& call, Here here) const {
  const Scope scope(*this, "TransformerEncoderLayer", here);
  const auto attend = [&](const Tensor& h) { return dropout_(self_attn_(h, call).output); };
  const auto feed = [&](const Tensor& h) { return feed_forward(h, linear1_, linear2_, dropout_, options_.ff_chunks); };
  if (options_.pre_norm) {
    const Tensor h = x + attend(norm1_(x));
    return h + feed(norm2_(h));
  }
  const Tensor h = norm1_(x + attend(x));
  return norm2_(h + feed(h));
}

TransformerDecoderLayer::TransformerDecoderLayer(std::int64_t d, std::int64_t heads, const TransformerOptions& o,
                                                 Here here)
    : options_(checked(o, "TransformerDecoderLayer", here)),
      self_attn_(child<MultiheadAttention>({"self_attn", here}, d, heads, attention_options(o), here)),
      multihead_attn_(child<MultiheadAttention>({"multihead_attn", here}, d, heads, attention_options(o), here)),
      linear1_(child<Linear>({"linear1", here}, d, o.d_ff, LinearOptions{.activation = o.activation}, here)),
      linear2_(child<Linear>({"linear2", here}, o.d_ff, d, LinearOptions{}, here)),
      norm1_(child<LayerNorm>({"norm1", here}, d, norm_options(o), here)),
      norm2_(child<LayerNorm>({"norm2", here}, d, norm_options(o), here)),
      norm3_(child<LayerNorm>({"norm3", here}, d, norm_options(o), here)),
      dropout_(child<Dropout>({"dropout", here}, o.dropout, generator(o), here)) {}

Tensor TransformerDecoderLayer::operator()(const Tensor& x, const Tensor& memory, const MultiheadCall& self,
                                           const MultiheadCall& cross, Here here) const {
  const Scope scope(*this, "TransformerDecoderLayer", here);
  const auto attend = [&](const Tensor& h) { return dropout_(self_attn_(h, self).output); };
  const auto look = [&](const Tensor& h) { return dropout_(multihead_attn_(h, memory, memory, cross).output); };
  const auto feed = [&](const Tensor& h) { return feed_forward(h, linear1_, linear2_, dropout_, options_.ff_chunks); };
  if (options_.pre_norm) {
    Tensor h = x + attend(norm1_(x));
    h = h + look(norm2_(h));
    return h + feed(norm3_(h));
  }
  Tensor h = norm1_(x + attend(x));
  h = norm2_(h + look(h));
  return norm3_(h + feed(h));
}

TransformerEncoder::TransformerEncoder(std::int64_t layers, std::int64_t d, std::int64_t heads,
                                       const TransformerOptions& o, Here here)
    : layers_(child<ModuleList<TransformerEncoderLayer>>({"layers", here})) {
  detail::at_least(0, layers, "TransformerEncoder", "layers", here);
  for (std::int64_t i = 0; i < layers; ++i) layers_.add(d, heads, o);
  if (o.final_norm.value_or(o.pre_norm)) norm_ = &child<LayerNorm>({"norm", here}, d, norm_options(o), here);
}

Tensor TransformerEncoder::operator()(const Tensor& x, const MultiheadCall& call, Here here) const {
  const Scope scope(*this, "TransformerEncoder", here);
  Tensor h = x;
  for (const auto* layer : layers_) h = (*layer)(h, call);
  return norm_ ? (*norm_)(h) : h;
}

TransformerDecoder::TransformerDecoder(std::int64_t layers, std::int64_t d, std::int64_t heads,
                                       const TransformerOptions& o, Here here)
    : layers_(child<ModuleList<TransformerDecoderLayer>>({"layers", here})) {
  detail::at_least(0, layers, "TransformerDecoder", "layers", here);
  for (std::int64_t i = 0; i < layers; ++i) layers_.add(d, heads, o);
  if (o.final_norm.value_or(o.pre_norm)) norm_ = &child<LayerNorm>({"norm", here}, d, norm_options(o), here);
}

Tensor TransformerDecoder::operator()(const Tensor& x, const Tensor& memory, const MultiheadCall& self,
                                      const MultiheadCall& cross, Here here) const {
  const Scope scope(*this, "TransformerDecoder", here);
  Tensor h = x;
  for (const auto* layer : layers_) h = (*layer)(h, memory, self, cross);
  return norm_ ? (*norm_)(h) : h;
}

}  // namespace attune::nn
