#include "nn/models/gpt2.h"

#include <cmath>

#include "autograd/io/safetensors.h"
#include "autograd/ops/matmul.h"
#include "autograd/ops/movement.h"
#include "nn/attention/multihead.h"
#include "nn/init.h"
#include "nn/internal/check.h"
#include "nn/models/internal/config_json.h"

namespace attune::nn {

namespace {

Gpt2Config checked(const detail::Check& check, Gpt2Config c) {
  check.at_least(1, c.vocabulary, "vocabulary");
  check.at_least(1, c.positions, "positions");
  check.at_least(1, c.d_model, "d_model");
  check.at_least(1, c.heads, "heads");
  check.at_least(1, c.layers, "layers");
  check.at_least(0, c.d_ff, "d_ff");
  check.head_dim(c.d_model, c.heads);
  check.probability(c.attention_dropout, "attention_dropout");
  if (c.d_ff == 0) c.d_ff = 4 * c.d_model;
  return c;
}

double attention_scale(const Gpt2Config& c, std::int64_t layer) {
  const double scale = c.scale_by_head_dim ? 1 / std::sqrt(static_cast<double>(c.d_model / c.heads)) : 1;
  return c.scale_by_inverse_layer ? scale / static_cast<double>(layer + 1) : scale;
}

}  // namespace

double Gpt2Config::output_std() const { return std / std::sqrt(2.0 * static_cast<double>(layers)); }

Gpt2::SelfAttention::SelfAttention(const Gpt2Config& c, std::int64_t layer, Here here)
    : Module(here), config(c), scale(attention_scale(c, layer)) {}

Tensor Gpt2::SelfAttention::operator()(const Tensor& x, const Tensor& attention_mask) const {
  const Tensors qkv = chunk(c_attn(x), 3, 2);  // queries, keys, values
  const AttentionOptions o{.attention_mask = attention_mask,
                           .causal = true,
                           .scale = scale,
                           .dropout = training() ? config.attention_dropout : 0};
  return c_proj(multihead_attention(qkv[0], qkv[1], qkv[2], config.heads, o).output);
}

Gpt2::Gpt2(const Gpt2Config& c, Here here) : Module(here), config(checked({"Gpt2", *this}, c)) {
  init::normal_(wte.weight, 0, config.std);
  init::normal_(wpe.weight, 0, config.std);
  for (std::int64_t i = 0; i < config.layers; ++i) blocks.add(config, i);
}

Tensor Gpt2::operator()(const Tensor& input, const Tensor& key_padding_mask, Here here) const {
  const Scope scope(*this, "Gpt2", here);
  const Tensor& tokens = scope.in(input);
  const Tensor mask = hidden_keys("Gpt2", tokens, key_padding_mask, here);
  const std::int64_t n = tokens.size(1);
  if (n > config.positions)
    throw ShapeError("Gpt2: a sequence of " + std::to_string(n) + " is longer than the " +
                         std::to_string(config.positions) + " positions",
                     here);
  Tensor x = drop(wte(tokens) + slice(wpe.weight, 0, 0, n));
  for (const Block* block : blocks) x = (*block)(x, mask);
  return scope.out(linear(ln_f(x), wte.weight));
}

Tensor Gpt2::loss(const Tensor& logits, const Tensor& labels, Here here) const {
  const Scope scope(*this, "Gpt2", here, Scope::no_call);
  return next_token_loss("Gpt2", logits, labels, here);
}

void Gpt2::load_published(const std::string& path, Here here) {
  StateDict state;
  for (const auto& [name, value] : load_safetensors(path, here).tensors) {
    if (name.ends_with(".attn.bias") || name.ends_with(".attn.masked_bias") || name == "lm_head.weight") continue;
    state[name.starts_with("transformer.") ? name : "transformer." + name] = value;
  }
  load_state_dict(state, {}, here);
}

Gpt2Config gpt2_config_from_file(const std::string& path, Here here) {
  using detail::Key;
  Gpt2Config c;
  detail::read_config(path,
                      {{"vocab_size", &c.vocabulary},
                       {"n_positions", &c.positions},
                       {"n_embd", &c.d_model},
                       {"n_inner", &c.d_ff, Key::optional},
                       {"n_head", &c.heads},
                       {"n_layer", &c.layers},
                       {"activation_function", &c.activation},
                       {"resid_pdrop", &c.dropout},
                       {"embd_pdrop", &c.embedding_dropout},
                       {"attn_pdrop", &c.attention_dropout},
                       {"layer_norm_epsilon", &c.eps},
                       {"initializer_range", &c.std},
                       {"scale_attn_weights", &c.scale_by_head_dim, Key::optional},
                       {"scale_attn_by_inverse_layer_idx", &c.scale_by_inverse_layer, Key::optional}},
                      here);
  return c;
}

}  // namespace attune::nn
