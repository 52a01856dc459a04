// Decoding with GPT-2: its state, and its steps.

#include <algorithm>

#include "autograd/ops/create.h"
#include "autograd/ops/elementwise.h"
#include "autograd/ops/gather.h"
#include "autograd/ops/inplace.h"
#include "autograd/ops/matmul.h"
#include "autograd/ops/movement.h"
#include "autograd/ops/reduce.h"
#include "autograd/ops/scan.h"
#include "autograd/tape/op.h"
#include "nn/models/gpt2.h"
#include "nn/models/internal/positions.h"

namespace attune::nn {

Tensor detail::counted_positions(const Tensor& hidden) {
  const Tensor counted = cumsum(to(logical_not(hidden), DType::int64), 1) - 1;
  return where(hidden, arange(hidden.size(1)), counted);
}

std::int64_t Gpt2State::length() const { return layers_.empty() ? 0 : layers_.back().length(); }

void Gpt2State::reserve(std::int64_t tokens) {
  reserved_ = std::max(reserved_, tokens);
  for (KeyValueCache& layer : layers_) layer.reserve(tokens);
}

void Gpt2State::reorder(const Tensor& rows, Here here) {
  for (KeyValueCache& layer : layers_) layer.reorder(rows, here);
  if (!padded()) return;
  hidden_ = index_select(hidden_, 0, rows, here);
  prompt_positions_ = index_select(prompt_positions_, 0, rows, here);
  hidden_counts_ = index_select(hidden_counts_, 0, rows, here);
}

Tensor Gpt2State::positions(std::int64_t n) const {
  const std::int64_t from = length(), prompt = prompt_positions_.size(1), in_prompt = std::min(prompt - from, n);
  Tensors parts;
  if (in_prompt > 0) parts.push_back(slice(prompt_positions_, 1, from, from + in_prompt));
  const std::int64_t first = std::max(from, prompt);
  if (in_prompt < n) parts.push_back(arange(from + n - first) + first - hidden_counts_);
  return parts.size() == 1 ? parts[0] : cat(parts, 1);
}

Tensor Gpt2State::hidden_with(std::int64_t n) {
  const std::int64_t needed = length() + n;
  if (needed > hidden_.size(1)) {
    Tensor grown = zeros({hidden_.size(0), std::max({needed, reserved_, 2 * hidden_.size(1)})}, DType::boolean);
    Tensor head = slice(grown, 1, 0, hidden_.size(1));
    copy_(head, hidden_);
    hidden_ = grown;
  }
  return slice(hidden_, 1, 0, needed);
}

Tensor Gpt2::Block::step(const Tensor& x, KeyValueCache& cache, const Tensor& key_padding_mask, Here here) const {
  const Scope scope(*this, "Block", here, Scope::no_call);
  return with(x, attn.step(ln_1(x), cache, key_padding_mask));
}

Tensor Gpt2::SelfAttention::step(const Tensor& x, KeyValueCache& cache, const Tensor& key_padding_mask,
                                 Here here) const {
  const Scope scope(*this, "SelfAttention", here, Scope::no_call);
  const Tensors qkv = chunk(c_attn(x), 3, 2);
  cache.append(qkv[1], qkv[2]);
  return c_proj(
      cached_attention(qkv[0], cache, config.heads,
                       {.scale = scale, .causal = true, .window = window, .key_padding_mask = key_padding_mask}));
}

Gpt2State Gpt2::start(const Tensor& key_padding_mask, Here here) const {
  const Scope scope(*this, "Gpt2", here, Scope::no_call);
  Gpt2State state;
  state.layers_.resize(static_cast<std::size_t>(config.layers));
  if (!key_padding_mask.defined()) return state;
  const Op op{"Gpt2", here};
  op.check_dtype(key_padding_mask, DType::boolean);
  if (key_padding_mask.rank() != 2)
    op.fail_shape("key_padding_mask " + key_padding_mask.shape().str() + " must be [b, n]");
  if (key_padding_mask.numel() == 0 || !any(key_padding_mask)) return state;
  state.hidden_ = clone(key_padding_mask);
  state.prompt_positions_ = detail::counted_positions(key_padding_mask);
  state.hidden_counts_ = sum(attune::to(key_padding_mask, DType::int64), {1}, true);
  return state;
}

Tensor Gpt2::step(const Tensor& tokens, State& state, Here here) const {
  const NoGrad off;
  const Scope scope(*this, "Gpt2", here, Scope::no_call);
  const Op op{"Gpt2", here};
  if (tokens.rank() != 2 || tokens.size(1) < 1)
    op.fail_shape("tokens must be [batch, at least one], got " + tokens.shape().str());
  if (state.layers_.size() != static_cast<std::size_t>(config.layers))
    op.fail_value("the state is none of this model's: start() makes them");
  const std::int64_t n = tokens.size(1), from = state.length(), to = from + n;
  if (to > config.positions)
    op.fail_shape("a sequence of " + std::to_string(to) + " is longer than the " + std::to_string(config.positions) +
                  " positions");
  if (state.padded() && tokens.size(0) != state.hidden_.size(0))
    op.fail_shape("tokens " + tokens.shape().str() + " do not fit a state of " + std::to_string(state.hidden_.size(0)) +
                  " rows");
  const Tensor places = state.padded() ? wpe(state.positions(n)) : slice(wpe.weight, 0, from, to);
  Tensor x = drop(wte(tokens) + places);
  const Tensor hidden = state.padded() ? state.hidden_with(n) : Tensor();
  for (std::size_t i = 0; i < state.layers_.size(); ++i) x = blocks[i].step(x, state.layers_[i], hidden);
  if (n > 1) x = slice(x, 1, n - 1, n);
  return reshape(linear(ln_f(x), lm_head ? lm_head->weight : wte.weight), {tokens.size(0), config.vocabulary});
}

}  // namespace attune::nn
