// Decoding with T5: its state, and its steps.

#include <algorithm>

#include "autograd/ops/elementwise.h"
#include "autograd/ops/gather.h"
#include "autograd/ops/movement.h"
#include "autograd/ops/reduce.h"
#include "autograd/runtime/error.h"
#include "autograd/tape/modes.h"
#include "autograd/tape/op.h"
#include "nn/models/t5.h"

namespace attune::nn {

void T5State::reserve(std::int64_t tokens) {
  for (KeyValueCache& cache : own_) cache.reserve(tokens);
  if (tokens <= room_) return;
  room_ = tokens;
  bias_ = Tensor();  // made for them at the next step
}

void T5State::reorder(const Tensor& rows, Here here) {
  const Op op{"T5State::reorder", here};
  if (rows.rank() != 1) op.fail_shape("rows " + rows.shape().str() + " must be [b']");
  const Tensor at = op.checked_index(rows, Shape{static_cast<std::int64_t>(sources_.size())}, 0);
  std::vector<std::int64_t> sources;
  for (const std::int64_t row : at.to_vector<std::int64_t>())
    sources.push_back(sources_[static_cast<std::size_t>(row)]);
  for (KeyValueCache& cache : own_) cache.reorder(at);
  if (sources == sources_) return;
  for (KeyValueCache& cache : source_) cache.reorder(at);
  if (source_padding_.defined()) source_padding_ = index_select(source_padding_, 0, at);
  sources_ = std::move(sources);
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
  State state;
  for (const Block* b : decoder.block) {
    KeyValueCache& cache = state.source_.emplace_back();
    cache.reserve(memory.size(1));
    cache.append(b->cross_attention->k(memory), b->cross_attention->v(memory));
  }
  state.own_.resize(decoder.block.size());
  if (key_padding_mask.defined() && any(key_padding_mask)) state.source_padding_ = clone(key_padding_mask);
  for (std::int64_t i = 0; i < source.size(0); ++i) state.sources_.push_back(i);
  return state;
}

Tensor T5::step(const Tensor& tokens, State& state, Here here) const {
  const Scope scope(*this, "T5", here, Scope::no_call);
  const NoGrad off;
  if (state.own_.size() != decoder.block.size())
    throw ValueError("T5: the state is not one that start() of this model gave", here);
  const auto rows = static_cast<std::int64_t>(state.sources_.size());
  if (tokens.rank() != 2 || tokens.size(0) != rows || tokens.size(1) == 0)
    throw ShapeError("T5: tokens " + tokens.shape().str() + " must be [" + std::to_string(rows) + ", n >= 1]", here);
  const std::int64_t before = state.length();
  try {
    return squeeze(head(decoder.step(shared(tokens), state)), 1);
  } catch (...) {  // some layers may have taken the tokens
    for (KeyValueCache& cache : state.own_) cache.truncate(std::min(before, cache.length()));
    throw;
  }
}

}  // namespace attune::nn
