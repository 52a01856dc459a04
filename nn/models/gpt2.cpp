#include "nn/models/gpt2.h"

#include <cmath>
#include <string_view>

#include "autograd/ops/create.h"
#include "autograd/ops/elementwise.h"
#include "autograd/ops/matmul.h"
#include "autograd/ops/movement.h"
#include "autograd/ops/reduce.h"
#include "autograd/runtime/error.h"
#include "nn/attention/multihead.h"
#include "nn/init.h"
#include "nn/internal/check.h"
#include "nn/models/internal/config_json.h"
#include "nn/models/internal/positions.h"
#include "nn/models/internal/published.h"

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
  check.at_least(0, c.band, "band");
  check.probability(c.attention_dropout, "attention_dropout");
  if (c.d_ff == 0) c.d_ff = 4 * c.d_model;
  return c;
}

double attention_scale(const Gpt2Config& c, std::int64_t layer) {
  const std::int64_t head_dim = c.d_model / c.heads;
  const double scale = c.scale_by_head_dim ? 1 / std::sqrt(static_cast<double>(head_dim)) : 1;
  return c.scale_by_inverse_layer ? scale / static_cast<double>(layer + 1) : scale;
}

/// A constant [1, 1, n, n] of old files: 1 where a query sees a key.
bool is_causal(const Tensor& mask) {
  if (mask.rank() < 2 || mask.numel() != mask.size(-1) * mask.size(-1)) return false;
  const std::int64_t n = mask.size(-1);
  const Tensor places = arange(n);
  return all(eq(ne(reshape(mask, {n, n}), 0), ge(unsqueeze(places, 1), places)));
}

}  // namespace

double Gpt2Config::output_std() const { return std / std::sqrt(2.0 * static_cast<double>(layers)); }

Gpt2::SelfAttention::SelfAttention(const Gpt2Config& c, std::int64_t layer, Here here)
    : Module(here),
      config(c),
      scale(attention_scale(c, layer)),
      window(layer % 2 == 1 ? c.band : 0),
      c_attn(child<Projection>("c_attn", c.d_model, 3 * c.d_model, c.std)),
      c_proj(child<Projection>("c_proj", c.d_model, c.d_model, c.output_std())) {}

Tensor Gpt2::SelfAttention::operator()(const Tensor& x, const Tensor& attention_mask, Here here) const {
  const Scope scope(*this, "SelfAttention", here);
  const Tensors qkv = chunk(c_attn(scope.in(x)), 3, 2);  // queries, keys, values
  const AttentionOptions o{.attention_mask = attention_mask,
                           .causal = true,
                           .pattern = window > 0 ? AttentionPattern::band(window) : AttentionPattern(),
                           .scale = scale,
                           .dropout = training() ? config.attention_dropout : 0};
  return scope.out(c_proj(multihead_attention(qkv[0], qkv[1], qkv[2], config.heads, o).output));
}

Gpt2::FeedForward::FeedForward(const Gpt2Config& c, Here here)
    : Module(here),
      config(c),
      c_fc(child<Projection>("c_fc", c.d_model, c.d_ff, c.std, c.activation)),
      c_proj(child<Projection>("c_proj", c.d_ff, c.d_model, c.output_std())) {}

Tensor Gpt2::FeedForward::operator()(const Tensor& x, Here here) const {
  const Scope scope(*this, "FeedForward", here);
  return scope.out(c_proj(c_fc(scope.in(x))));
}

Gpt2::Block::Block(const Gpt2Config& c, std::int64_t i, Here here)
    : Module(here),
      config(c),
      layer(i),
      ln_1(child<LayerNorm>("ln_1", c.d_model, LayerNormOptions{.eps = c.eps})),
      attn(child<SelfAttention>("attn", c, i)),
      ln_2(child<LayerNorm>("ln_2", c.d_model, LayerNormOptions{.eps = c.eps})),
      mlp(child<FeedForward>("mlp", c)),
      dropout(child<Dropout>("dropout", c.dropout)) {}

Tensor Gpt2::Block::with(const Tensor& x, const Tensor& attended) const {
  const Tensor h = x + dropout(attended);
  return h + dropout(mlp(ln_2(h)));
}

Tensor Gpt2::Block::operator()(const Tensor& input, const Tensor& attention_mask, Here here) const {
  const Scope scope(*this, "Block", here);
  const Tensor& x = scope.in(input);
  return scope.out(with(x, attn(ln_1(x), attention_mask)));
}

Gpt2::Gpt2(const Gpt2Config& c, Here here)
    : Module(here),
      config(checked({"Gpt2", *this}, c)),
      wte(child<Embedding>("transformer.wte", config.vocabulary, config.d_model)),
      wpe(child<Embedding>("transformer.wpe", config.positions, config.d_model)),
      drop(child<Dropout>("transformer.drop", config.embedding_dropout)),
      blocks(child<ModuleList<Block>>("transformer.h")),
      ln_f(child<LayerNorm>("transformer.ln_f", config.d_model, LayerNormOptions{.eps = config.eps})) {
  init::normal_(wte.weight, 0, config.std);
  init::normal_(wpe.weight, 0, config.std);
  for (std::int64_t i = 0; i < config.layers; ++i) blocks.add(config, i);
  if (config.tied) return;
  lm_head = &child<Linear>("lm_head", config.d_model, config.vocabulary, LinearOptions{.bias = false});
  init::normal_(lm_head->weight, 0, config.std);
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
  const bool padded = mask.defined() && any(mask);
  const Tensor positions = padded ? wpe(detail::counted_positions(key_padding_mask)) : slice(wpe.weight, 0, 0, n);
  Tensor x = drop(wte(tokens) + positions);
  for (const Block* block : blocks) x = (*block)(x, mask);
  return scope.out(linear(ln_f(x), lm_head ? lm_head->weight : wte.weight));
}

Tensor Gpt2::loss(const Tensor& logits, const Tensor& labels, Reduction reduction, Here here) const {
  const Scope scope(*this, "Gpt2", here, Scope::no_call);
  return next_token_loss("Gpt2", logits, labels, reduction, here);
}

std::int64_t Gpt2::target_count(const Tensor& labels, Here here) const {
  return next_token_count("Gpt2", labels, here);
}

void Gpt2::load_published(const std::string& path, Here here) {
  detail::Published file(path, "gpt2", here);
  file.drop(".attn.bias", "a causal mask", is_causal);
  file.drop(".attn.masked_bias", "a score that hides",
            [](const Tensor& x) { return x.numel() == 1 && x.item() <= -1e4; });
  file.rename([](const std::string& name) {
    return name.starts_with("transformer.") || name.starts_with("lm_head.") ? name : "transformer." + name;
  });
  if (config.tied) file.drop_copy("lm_head.weight", "transformer.wte.weight");
  file.load_into(*this, "transformer.wte.weight");
}

void Gpt2::save_published(const std::string& path, Here here) const { detail::save_published(*this, path, here); }

namespace {

std::vector<detail::ConfigEntry> table(Gpt2Config& c) {
  using namespace detail;
  return {{"model_type", Only{"\"gpt2\""}},
          {"vocab_size", Whole{&c.vocabulary}},
          {"n_positions", Whole{&c.positions}},
          {"n_ctx", Same{&c.positions, "n_positions"}},
          {"max_position_embeddings", Same{&c.positions, "n_positions"}},
          {"n_embd", Whole{&c.d_model}},
          {"hidden_size", Same{&c.d_model, "n_embd"}},
          {"n_inner", Whole{&c.d_ff}, Key::optional},
          {"n_head", Whole{&c.heads}},
          {"num_attention_heads", Same{&c.heads, "n_head"}},
          {"n_layer", Whole{&c.layers, 1, most_layers}},
          {"num_hidden_layers", Same{&c.layers, "n_layer"}},
          {"activation_function", &c.activation},
          {"resid_pdrop", Number{&c.dropout}},
          {"embd_pdrop", Number{&c.embedding_dropout}},
          {"attn_pdrop", Number{&c.attention_dropout}},
          {"layer_norm_epsilon", Number{&c.eps}},
          {"initializer_range", Number{&c.std, 0, most_std}},
          {"scale_attn_weights", &c.scale_by_head_dim, Key::optional},
          {"scale_attn_by_inverse_layer_idx", &c.scale_by_inverse_layer, Key::optional},
          {"tie_word_embeddings", &c.tied, Key::optional},
          {"bos_token_id", Token{&c.begin_token}, Key::optional},
          {"eos_token_id", Token{&c.end_token}, Key::optional},
          {"band", Whole{&c.band, 0}, Key::optional},  // no published file has it
          // The causal language model is one with and without; upcasting changes half precision alone; the rest
          // is the classification heads'.
          {"is_decoder", NoEffect{}},
          {"reorder_and_upcast_attn", NoEffect{}},
          {"chunk_size_feed_forward", NoEffect{}},
          {"n_special", NoEffect{}},
          {"predict_special_tokens", NoEffect{}},
          {"summary_activation", NoEffect{}},
          {"summary_first_dropout", NoEffect{}},
          {"summary_proj_to_labels", NoEffect{}},
          {"summary_type", NoEffect{}},
          {"summary_use_proj", NoEffect{}},
          {"architectures", NoEffect{"[\"GPT2LMHeadModel\"]"}}};
}

}  // namespace

Gpt2Config gpt2_config_from_file(const std::string& path, Here here) {
  constexpr std::int64_t end_of_text = 50256;
  Gpt2Config c{.begin_token = end_of_text, .end_token = end_of_text};
  detail::read_config(path, table(c), here);
  return c;
}

void save_config(const std::string& path, const Gpt2Config& config, Here here) {
  Gpt2Config c = config;
  std::vector<detail::ConfigEntry> entries = table(c);
  if (c.band == 0)  // a plain GPT-2's file has no key that is not published
    std::erase_if(entries, [](const detail::ConfigEntry& e) { return std::string_view(e.name) == "band"; });
  detail::write_config(path, entries, here);
}

}  // namespace attune::nn
