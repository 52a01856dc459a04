// Decoding with the Reformer: its state, and its steps.

#include "autograd/ops/elementwise.h"
#include "autograd/ops/movement.h"
#include "autograd/tape/op.h"
#include "nn/models/internal/reformer_length.h"
#include "nn/models/reformer.h"

namespace attune::nn {

void ReformerState::reorder(const Tensor& rows, Here here) {
  for (Layer& layer : layers_) layer.lsh ? layer.lsh->reorder(rows, here) : layer.local.reorder(rows, here);
}

void ReformerState::reserve(std::int64_t tokens) {
  for (Layer& layer : layers_) layer.lsh ? layer.lsh->reserve(tokens) : layer.local.reserve(tokens);
}

ReformerState Reformer::start(const ReformerCall& call, std::int64_t length, Here here) const {
  const Op op{"Reformer", here};
  if (call.key_padding_mask.defined()) op.fail_value("decoding takes no padding");
  if (call.attention.size() > config.layers.size())
    op.fail_value("the call is of " + std::to_string(call.attention.size()) + " layers, and there are " +
                  std::to_string(config.layers.size()));
  if (length < 0 || length > most_tokens())
    op.fail_value("length = " + std::to_string(length) + " is not in [0, " + std::to_string(most_tokens()) + "]");
  ReformerState state;
  for (std::size_t i = 0; i < config.layers.size(); ++i) {
    const LshCall own = i < call.attention.size() ? call.attention[i] : LshCall{};
    if (own.key_padding_mask.defined() || own.buckets.defined() || own.full)
      op.fail_value("decoding takes rotations alone, no padding, buckets or full attention");
    const Attention& attention = encoder.layers[i].attention;
    if (!(attention.lsh ? attention.lsh->options.causal : attention.local->options.causal))
      op.fail_value("decoding needs causal attention");
    if (attention.lsh)
      state.layers_.push_back({LshCache(length == 0 ? most_tokens() : length, own.rotations), {}});
    else
      state.layers_.push_back({});
  }
  return state;
}

Tensor Reformer::step(const Tensor& tokens, State& state, Here here) const {
  const NoGrad off;
  const Scope scope(*this, "Reformer", here, Scope::no_call);
  const Op op{"Reformer", here};
  if (tokens.rank() != 2 || tokens.size(1) < 1)
    op.fail_shape("tokens must be [batch, at least one], got " + tokens.shape().str());
  if (state.layers_.size() != config.layers.size())
    op.fail_value("the state is none of this model's: start() makes them");
  const std::int64_t n = tokens.size(1), to = state.length_ + n;
  if (to > most_tokens())
    op.fail_shape("a sequence of " + std::to_string(to) + " is longer than the " + std::to_string(most_tokens()) +
                  " positions");
  const Tensor all = embeddings(tokens, state.length_);
  Tensor h;
  // The prompt at once, later tokens one after another: each finds its own place among the others.
  const std::int64_t at_once = state.length_ == 0 ? n : 1;
  for (std::int64_t from = 0; from < n; from += at_once) {
    const Tensor x = slice(all, 1, from, from + at_once);
    state.length_ += at_once;
    const std::int64_t padded = detail::padded_length(config, state.length_);
    Tensor first = x, second = x;
    for (std::size_t i = 0; i < state.layers_.size(); ++i) {
      const Layer& layer = encoder.layers[i];
      const Tensor in = layer.attention.norm(second);
      const Tensor heads = layer.attention.lsh ? layer.attention.lsh->step(in, *state.layers_[i].lsh, padded)
                                               : layer.attention.local->step(in, state.layers_[i].local);
      first = first + (*layer.attention.output)(heads);
      second = second + layer.feed_forward(first);
    }
    h = cat({slice(first, 1, at_once - 1, at_once), slice(second, 1, at_once - 1, at_once)}, 2);
  }
  return reshape(head(encoder.norm(h)), {tokens.size(0), config.vocabulary});
}

}  // namespace attune::nn
