#include "nn/layers/character_encoder.h"

#include "autograd/ops/movement.h"
#include "autograd/ops/reduce.h"
#include "autograd/tape/op.h"
#include "nn/internal/check.h"
#include "nn/layers/activation.h"

namespace attune::nn {

CharacterEncoder::CharacterEncoder(std::int64_t characters, const CharacterEncoderOptions& o, Here here)
    : Module(here),
      activation_(o.activation),
      embedding_(
          child<Embedding>("embedding", characters, o.char_dim, EmbeddingOptions{.padding_index = o.padding_index})) {
  const detail::Check check{"CharacterEncoder", *this};
  if (o.filters.empty()) check.fail("needs at least one filter");
  check.at_least(0, o.projection, "projection");
  for (const CharacterFilter& f : o.filters) {
    const std::string name = "conv" + std::to_string(convolutions_.size());
    convolutions_.push_back(&child<Conv1d>(name, o.char_dim, f.count, f.width));
    out_ += f.count;
  }
  if (check.at_least(0, o.highway.layers, "highway.layers") > 0) highway_ = &child<Highway>("highway", out_, o.highway);
  if (o.projection == 0) return;
  projection_ = &child<Linear>("projection", out_, o.projection);
  out_ = o.projection;
}

Tensor CharacterEncoder::operator()(const Tensor& input, Here here) const {
  const Scope scope(*this, "CharacterEncoder", here);
  const Tensor& characters = scope.in(input);
  const Op op{"CharacterEncoder", here};
  op.check_defined(characters);
  if (characters.rank() == 0) op.fail_shape("characters [] must be [..., W]");
  Shape words = characters.shape();
  const std::int64_t width = words.back();
  words.resize(words.rank() - 1);
  const Tensor x = transpose(embedding_(reshape(characters, {numel(words), width})), 1, 2);  // [N, char_dim, W]
  Tensors features;
  for (const Conv1d* conv : convolutions_) features.push_back(activate(amax((*conv)(x), {-1}), activation_));
  Tensor y = cat(features, 1);
  if (highway_) y = (*highway_)(y);
  if (projection_) y = (*projection_)(y);
  words.push_back(out_);
  return scope.out(reshape(y, words));
}

}  // namespace attune::nn
