// Decoding with T5: its state, and its steps.

#include <algorithm>

#include "autograd/ops/elementwise.h"
#include "autograd/ops/movement.h"
#include "autograd/runtime/error.h"
#include "autograd/tape/modes.h"
#include "nn/models/t5.h"

namespace attune::nn {

void T5State::reserve(std::int64_t tokens) {
  EncoderDecoderState::reserve(tokens);
  if (tokens <= room_) return;
  room_ = tokens;
  bias_ = Tensor();  // made for them at the next step
}

Tensor T5::Attention::step(const Tensor& x, const KeyValueCache& cache, CachedAttentionOptions options,
                           Here here) const {
  const Scope scope(*this, "Attention", here, Scope::no_call);
  options.scale = 1;
  return o(cached_attention(q(x), cache, config.heads, options));
}

Tensor T5::Block::step(const Tensor& x, KeyValueCache& own, const Tensor& bias, const KeyValueCache& source,
                       const Tensor& source_padding, Here here) const {
  const Scope scope(*this, "Block", here, Scope::no_call);
  return through(
      x,
      [&](const Tensor& y) {
        own.append(attention.k(y), attention.v(y));
        return attention.step(y, own, {.causal = true, .bias = bias});
      },
      [&](const Tensor& y) { return cross_attention->step(y, source, {.key_padding_mask = source_padding}); });
}

Tensor T5::Stack::step(const Tensor& input, T5State& state, Here here) const {
  const Scope scope(*this, "Stack", here, Scope::no_call);
  Tensor x = dropout(input);
  const std::int64_t n = x.size(1), keys = state.length() + n;
  if (state.room_ < keys || !state.bias_.defined()) {
    state.room_ = std::max(keys, state.bias_.defined() ? 2 * state.room_ : state.room_);
    state.bias_ = position_bias(1, state.room_);
  }
  // A lone token's bias is there already, and a step takes no memory for it.
  const Tensor bias = n == 1 ? slice(state.bias_, 3, state.room_ - keys) : position_bias(n, keys);
  for (std::size_t i = 0; i < block.size(); ++i)
    x = block[i].step(x, state.own_[i], bias, state.source_[i], state.source_padding_);
  return dropout(final_layer_norm(slice(x, 1, n - 1)));
}

T5::State T5::start(const Tensor& source, const Tensor& key_padding_mask, Here here) const {
  const Scope scope(*this, "T5", here, Scope::no_call);
  const NoGrad off;
  if (source.rank() == 2 && source.size(1) == 0) throw ShapeError("T5: the source has no tokens", here);
  const Tensor memory = encode(source, key_padding_mask);
  std::vector<KeyValueCache> caches;
  for (const Block* b : decoder.block) {
    KeyValueCache& cache = caches.emplace_back();
    cache.reserve(memory.size(1));
    cache.append(b->cross_attention->k(memory), b->cross_attention->v(memory));
  }
  State state;
  state.begin(std::move(caches), source.size(0), key_padding_mask);
  return state;
}

Tensor T5::step(const Tensor& tokens, State& state, Here here) const {
  const Scope scope(*this, "T5", here, Scope::no_call);
  const NoGrad off;
  state.check_step("T5", decoder.block.size(), tokens, here);
  const std::int64_t before = state.length();
  try {
    return squeeze(head(decoder.step(shared(tokens), state)), 1);
  } catch (...) {  // some layers may have taken the tokens
    state.rewind(before);
    throw;
  }
}

}  // namespace attune::nn
