#include "nn/layers/feed_forward.h"

#include <algorithm>

#include "autograd/ops/elementwise.h"
#include "autograd/ops/movement.h"
#include "nn/internal/check.h"

namespace attune::nn {

Tensor in_chunks(const Tensor& x, std::int64_t chunks, const std::function<Tensor(const Tensor&)>& f, Here here) {
  detail::Check("in_chunks", here).at_least(1, chunks, "chunks");
  if (chunks == 1 || x.size(1, here) <= 1) return f(x);
  Tensors pieces;
  for (const Tensor& piece : chunk(x, std::min(chunks, x.size(1)), 1)) pieces.push_back(f(piece));
  return cat(pieces, 1);
}

Tensor feed_forward(const Tensor& x, const Linear& up, const Linear& down, const Dropout& dropout, std::int64_t chunks,
                    Here here) {
  return in_chunks(
      x, chunks, [&](const Tensor& piece) { return dropout(down(dropout(up(piece, here), here), here), here); }, here);
}

FeedForward::FeedForward(std::int64_t d, std::int64_t d_ff, const FeedForwardOptions& o, Here here)
    : Module(here),
      chunks_(detail::Check("FeedForward", *this).at_least(1, o.chunks, "chunks")),
      linear1_(child<Linear>("linear1", d, d_ff, LinearOptions{.bias = o.bias, .activation = o.activation})),
      linear2_(child<Linear>("linear2", d_ff, d, LinearOptions{.bias = o.bias})),
      dropout_(child<Dropout>("dropout", o.dropout, o.generator ? *o.generator : default_generator())) {}

Tensor FeedForward::operator()(const Tensor& x, Here here) const {
  const Scope scope(*this, "FeedForward", here);
  return scope.out(feed_forward(scope.in(x), linear1_, linear2_, dropout_, chunks_));
}

GatedFeedForward::GatedFeedForward(std::int64_t d, std::int64_t d_ff, const GatedFeedForwardOptions& o, Here here)
    : Module(here),
      chunks_(detail::Check("GatedFeedForward", *this).at_least(1, o.chunks, "chunks")),
      gate_(child<Linear>("gate", d, d_ff, LinearOptions{.bias = o.bias, .activation = o.activation})),
      up_(child<Linear>("up", d, d_ff, LinearOptions{.bias = o.bias})),
      down_(child<Linear>("down", d_ff, d, LinearOptions{.bias = o.bias})),
      dropout_(child<Dropout>("dropout", o.dropout, o.generator ? *o.generator : default_generator())) {}

Tensor GatedFeedForward::operator()(const Tensor& x, Here here) const {
  const Scope scope(*this, "GatedFeedForward", here);
  return scope.out(
      in_chunks(scope.in(x), chunks_, [&](const Tensor& piece) { return down_(dropout_(gate_(piece) * up_(piece))); }));
}

}  // namespace attune::nn
