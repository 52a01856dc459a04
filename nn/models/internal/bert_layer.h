// The definitions of BertLayer, for the sources that instantiate it. Internal to nn/models.
#pragma once

#include "nn/models/bert_parts.h"
#include "nn/models/blocks.h"

namespace attune::nn {

template <class Attention>
BertLayer<Attention>::BertLayer(const Config& c, std::int64_t layer, Here here)
    : Module(here),
      config(c),
      attention(child<Attention>("attention.self", c, layer)),
      attention_output(child<Linear>("attention.output.dense", c.d_model, c.d_model)),
      attention_norm(child<LayerNorm>("attention.output.LayerNorm", c.d_model, LayerNormOptions{.eps = c.eps})),
      up(child<Linear>("intermediate.dense", c.d_model, c.d_ff, LinearOptions{.activation = c.activation})),
      down(child<Linear>("output.dense", c.d_ff, c.d_model)),
      norm(child<LayerNorm>("output.LayerNorm", c.d_model, LayerNormOptions{.eps = c.eps})),
      dropout(child<Dropout>("dropout", c.dropout)) {}

template <class Attention>
Tensor BertLayer<Attention>::operator()(const Tensor& input, const Beside& beside, Here here) const {
  const Scope scope(*this, "Layer", here);
  const Tensor h = residual(scope.in(input), attention_norm, false,
                            [&](const Tensor& x) { return dropout(attention_output(attention(x, beside))); });
  return scope.out(residual(h, norm, false, [&](const Tensor& x) { return dropout(down(up(x))); }));
}

}  // namespace attune::nn
