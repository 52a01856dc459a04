#include "nn/layers/feed_forward.h"

#include <algorithm>

#include "autograd/ops/elementwise.h"
#include "autograd/ops/movement.h"
#include "nn/internal/check.h"

namespace attune::nn {

Tensor in_chunks(const Tensor& x, std::int64_t chunks, const std::function<Tensor(const Tensor&)>& f, Here here) {
  detail::at_least(1, chunks, "in_chunks", "chunks", here);
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
    : chunks_(detail::at_least(1, o.chunks, "FeedForward", "chunks", here)),
      linear1_(
          child<Linear>({"linear1", here}, d, d_ff, LinearOptions{.bias = o.bias, .activation = o.activation}, here)),
      linear2_(child<Linear>({"linear2", here}, d_ff, d, LinearOptions{.bias = o.bias}, here)),
      dropout_(child<Dropout>({"dropout", here}, o.dropout, o.generator ? *o.generator : default_generator(), here)) {}

Tensor FeedForward::operator()(const Tensor& x, Here here) const {
  const Scope scope(*this, "FeedForward", here);
  return feed_forward(x, linear1_, linear2_, dropout_, chunks_);
}

GatedFeedForward::GatedFeedForward(std::int64_t d, std::int64_t d_ff, const GatedFeedForwardOptions& o, Here here)
    : chunks_(detail::at_least(1, o.chunks, "GatedFeedForward", "chunks", here)),
      gate_(child<Linear>({"gate", here}, d, d_ff, LinearOptions{.bias = o.bias, .activation = o.activation}, here)),
      up_(child<Linear>({"up", here}, d, d_ff, LinearOptions{.bias = o.bias}, here)),
      down_(child<Linear>({"down", here}, d_ff, d, LinearOptions{.bias = o.bias}, here)),
      dropout_(child<Dropout>({"dropout", here}, o.dropout, o.generator ? *o.generator : default_generator(), here)) {}

Tensor GatedFeedForward::operator()(const Tensor& x, Here here) const {
  const Scope scope(*this, "GatedFeedForward", here);
  return in_chunks(x, chunks_, [&](const Tensor& piece) { return down_(dropout_(gate_(piece) * up_(piece))); });
}

}  // namespace attune::nn
