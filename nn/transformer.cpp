#include "nn/transformer.h"

#include <cmath>

#include "autograd/ops/create.h"
#include "autograd/ops/elementwise.h"
#include "autograd/ops/movement.h"
#include "autograd/runtime/error.h"

namespace attune::nn {

Tensor in_chunks(const Tensor& x, std::int64_t chunks, const std::function<Tensor(const Tensor&)>& f) {
  if (chunks < 1) throw ValueError("in_chunks: chunks = " + std::to_string(chunks) + " must be at least 1");
  if (chunks == 1 || x.size(1) <= 1) return f(x);
  std::vector<Tensor> pieces;
  for (const Tensor& piece : chunk(x, std::min(chunks, x.size(1)), 1)) pieces.push_back(f(piece));
  return cat(pieces, 1);
}

Tensor sinusoidal_positions(std::int64_t n, std::int64_t d, DType dtype, Here here) {
  if (n < 0 || d < 2 || d % 2 != 0)
    throw ValueError("sinusoidal_positions: n = " + std::to_string(n) +
                         " must not be negative and d = " + std::to_string(d) + " must be even",
                     here);
  std::vector<double> values;
  for (std::int64_t p = 0; p < n; ++p)
    for (std::int64_t i = 0; i < d; i += 2) {
      const double angle = static_cast<double>(p) * std::pow(10000.0, -static_cast<double>(i) / static_cast<double>(d));
      values.push_back(std::sin(angle));
      values.push_back(std::cos(angle));
    }
  return tensor(values, {n, d}, dtype, here);
}

TransformerEncoderLayer::TransformerEncoderLayer(std::int64_t d, std::int64_t heads, const TransformerOptions& o,
                                                 Here here)
    : options_(o),
      self_attn_(child<MultiheadAttention>("self_attn", d, heads, MultiheadOptions{.dropout = o.dropout}, here)),
      linear1_(child<Linear>("linear1", d, o.d_ff, LinearOptions{.activation = o.activation}, here)),
      linear2_(child<Linear>("linear2", o.d_ff, d, LinearOptions{}, here)),
      norm1_(child<LayerNorm>("norm1", d, LayerNormOptions{.eps = o.eps})),
      norm2_(child<LayerNorm>("norm2", d, LayerNormOptions{.eps = o.eps})),
      dropout_(child<Dropout>("dropout", o.dropout)) {}

Tensor TransformerEncoderLayer::feed_forward(const Tensor& x) const {
  return in_chunks(x, options_.ff_chunks,
                   [&](const Tensor& piece) { return dropout_(linear2_(dropout_(linear1_(piece)))); });
}

Tensor TransformerEncoderLayer::operator()(const Tensor& x, const MultiheadCall& call, Here here) const {
  const Scope scope(*this, "TransformerEncoderLayer", here);
  const auto attend = [&](const Tensor& h) { return dropout_(self_attn_(h, call).output); };
  if (options_.pre_norm) {
    const Tensor h = x + attend(norm1_(x));
    return h + feed_forward(norm2_(h));
  }
  const Tensor h = norm1_(x + attend(x));
  return norm2_(h + feed_forward(h));
}

TransformerDecoderLayer::TransformerDecoderLayer(std::int64_t d, std::int64_t heads, const TransformerOptions& o,
                                                 Here here)
    : options_(o),
      self_attn_(child<MultiheadAttention>("self_attn", d, heads, MultiheadOptions{.dropout = o.dropout}, here)),
      multihead_attn_(
          child<MultiheadAttention>("multihead_attn", d, heads, MultiheadOptions{.dropout = o.dropout}, here)),
      linear1_(child<Linear>("linear1", d, o.d_ff, LinearOptions{.activation = o.activation}, here)),
      linear2_(child<Linear>("linear2", o.d_ff, d, LinearOptions{}, here)),
      norm1_(child<LayerNorm>("norm1", d, LayerNormOptions{.eps = o.eps})),
      norm2_(child<LayerNorm>("norm2", d, LayerNormOptions{.eps = o.eps})),
      norm3_(child<LayerNorm>("norm3", d, LayerNormOptions{.eps = o.eps})),
      dropout_(child<Dropout>("dropout", o.dropout)) {}

Tensor TransformerDecoderLayer::feed_forward(const Tensor& x) const {
  return in_chunks(x, options_.ff_chunks,
                   [&](const Tensor& piece) { return dropout_(linear2_(dropout_(linear1_(piece)))); });
}

Tensor TransformerDecoderLayer::operator()(const Tensor& x, const Tensor& memory, const MultiheadCall& self,
                                           const MultiheadCall& cross, Here here) const {
  const Scope scope(*this, "TransformerDecoderLayer", here);
  const auto attend = [&](const Tensor& h) { return dropout_(self_attn_(h, self).output); };
  const auto look = [&](const Tensor& h) { return dropout_(multihead_attn_(h, memory, memory, cross).output); };
  if (options_.pre_norm) {
    Tensor h = x + attend(norm1_(x));
    h = h + look(norm2_(h));
    return h + feed_forward(norm3_(h));
  }
  Tensor h = norm1_(x + attend(x));
  h = norm2_(h + look(h));
  return norm3_(h + feed_forward(h));
}

TransformerEncoder::TransformerEncoder(std::int64_t layers, std::int64_t d, std::int64_t heads,
                                       const TransformerOptions& o, Here here)
    : layers_(child<ModuleList<TransformerEncoderLayer>>("layers")) {
  for (std::int64_t i = 0; i < layers; ++i) layers_.add(d, heads, o, here);
  if (o.pre_norm) norm_ = &child<LayerNorm>("norm", d, LayerNormOptions{.eps = o.eps});
}

Tensor TransformerEncoder::operator()(const Tensor& x, const MultiheadCall& call, Here here) const {
  const Scope scope(*this, "TransformerEncoder", here);
  Tensor h = x;
  for (const auto* layer : layers_) h = (*layer)(h, call);
  return norm_ ? (*norm_)(h) : h;
}

TransformerDecoder::TransformerDecoder(std::int64_t layers, std::int64_t d, std::int64_t heads,
                                       const TransformerOptions& o, Here here)
    : layers_(child<ModuleList<TransformerDecoderLayer>>("layers")) {
  for (std::int64_t i = 0; i < layers; ++i) layers_.add(d, heads, o, here);
  if (o.pre_norm) norm_ = &child<LayerNorm>("norm", d, LayerNormOptions{.eps = o.eps});
}

Tensor TransformerDecoder::operator()(const Tensor& x, const Tensor& memory, const MultiheadCall& self,
                                      const MultiheadCall& cross, Here here) const {
  const Scope scope(*this, "TransformerDecoder", here);
  Tensor h = x;
  for (const auto* layer : layers_) h = (*layer)(h, memory, self, cross);
  return norm_ ? (*norm_)(h) : h;
}

}  // namespace attune::nn
