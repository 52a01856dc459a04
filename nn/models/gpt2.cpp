#include "nn/models/gpt2.h"

#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>

#include "autograd/io/safetensors.h"
#include "autograd/ops/attention/attention.h"
#include "autograd/ops/create.h"
#include "autograd/ops/elementwise.h"
#include "autograd/ops/movement.h"
#include "autograd/runtime/error.h"
#include "nn/init.h"
#include "nn/internal/check.h"
#include "nn/layers/containers.h"
#include "nn/layers/dropout.h"
#include "nn/layers/embedding.h"
#include "nn/layers/linear.h"
#include "nn/layers/norm.h"
#include "nn/models/internal/published.h"

namespace attune::nn {

namespace {

using detail::Named;

/// y = activation(x W + b), W [in, out].
struct Projection : Module {
  Projection(std::int64_t in, std::int64_t out, double std, Activation f = Activation::none)
      : weight(parameter("weight", zeros({in, out}))), bias(parameter("bias", zeros({out}))), activation(f) {
    init::normal_(weight, 0, std);
  }
  Tensor operator()(const Tensor& x) const { return linear(x, transpose(weight, 0, 1), bias, activation); }
  Tensor &weight, &bias;
  Activation activation;
};

double output_std(const Gpt2Config& c) { return c.std / std::sqrt(2.0 * static_cast<double>(c.layers)); }

struct AttentionPart : Module {
  AttentionPart(const Gpt2Config& c, std::int64_t layer)
      : inputs(child<Projection>("c_attn", c.d_model, 3 * c.d_model, c.std)),
        output(child<Projection>("c_proj", c.d_model, c.d_model, output_std(c))),
        heads(c.heads),
        dropout(c.attention_dropout) {
    const std::int64_t d = c.d_model / c.heads;
    scale = c.scale_by_head_dim ? 1 / std::sqrt(static_cast<double>(d)) : 1;
    if (c.scale_by_inverse_layer) scale /= static_cast<double>(layer + 1);
  }
  Tensor operator()(const Tensor& x, const Tensor& mask) const {
    const std::int64_t b = x.size(0), n = x.size(1), d = x.size(2);
    const Tensor all = permute(reshape(inputs(x), {b, n, 3, heads, d / heads}), {2, 0, 3, 1, 4});
    const AttentionOptions o{
        .attention_mask = mask, .causal = true, .scale = scale, .dropout = training() ? dropout : 0};
    const Tensor y = scaled_dot_product_attention(select(all, 0, 0), select(all, 0, 1), select(all, 0, 2), o).output;
    return output(reshape(permute(y, {0, 2, 1, 3}), {b, n, d}));
  }
  Projection &inputs, &output;
  std::int64_t heads;
  double dropout, scale;
};

struct FeedForwardPart : Module {
  explicit FeedForwardPart(const Gpt2Config& c)
      : up(child<Projection>("c_fc", c.d_model, c.d_ff, c.std, c.activation)),
        down(child<Projection>("c_proj", c.d_ff, c.d_model, output_std(c))) {}
  Tensor operator()(const Tensor& x) const { return down(up(x)); }
  Projection &up, &down;
};

struct Block : Module {
  Block(const Gpt2Config& c, std::int64_t layer)
      : first_norm(child<LayerNorm>("ln_1", c.d_model, LayerNormOptions{.eps = c.eps})),
        attention(child<AttentionPart>("attn", c, layer)),
        second_norm(child<LayerNorm>("ln_2", c.d_model, LayerNormOptions{.eps = c.eps})),
        feed_forward(child<FeedForwardPart>("mlp", c)),
        dropout(child<Dropout>("dropout", c.dropout)) {}
  Tensor operator()(const Tensor& x, const Tensor& mask) const {
    const Tensor h = x + dropout(attention(first_norm(x), mask));
    return h + dropout(feed_forward(second_norm(h)));
  }
  LayerNorm& first_norm;
  AttentionPart& attention;
  LayerNorm& second_norm;
  FeedForwardPart& feed_forward;
  Dropout& dropout;
};

Gpt2Config checked(Gpt2Config c, Here here) {
  for (const auto& [name, value] : {std::pair{"vocabulary", c.vocabulary},
                                    {"positions", c.positions},
                                    {"d_model", c.d_model},
                                    {"heads", c.heads},
                                    {"layers", c.layers}})
    detail::at_least(1, value, "Gpt2", name, here);
  detail::at_least(0, c.d_ff, "Gpt2", "d_ff", here);
  if (c.d_model % c.heads != 0)
    throw ValueError(
        "Gpt2: heads = " + std::to_string(c.heads) + " does not divide d_model = " + std::to_string(c.d_model), here);
  detail::probability(c.attention_dropout, "Gpt2", "attention_dropout", here);
  if (c.d_ff == 0) c.d_ff = 4 * c.d_model;
  return c;
}

}  // namespace

struct Gpt2::Parts {
  Parts(Named& root, const Gpt2Config& c, Here here)
      : words(root.child<Embedding>({"wte", here}, c.vocabulary, c.d_model)),
        positions(root.child<Embedding>({"wpe", here}, c.positions, c.d_model)),
        dropout(root.child<Dropout>({"drop", here}, c.embedding_dropout)),
        blocks(root.child<ModuleList<Block>>({"h", here})),
        norm(root.child<LayerNorm>({"ln_f", here}, c.d_model, LayerNormOptions{.eps = c.eps})) {
    init::normal_(words.weight, 0, c.std);
    init::normal_(positions.weight, 0, c.std);
    for (std::int64_t i = 0; i < c.layers; ++i) blocks.add(c, i, here);
  }
  Embedding &words, &positions;
  Dropout& dropout;
  ModuleList<Block>& blocks;
  LayerNorm& norm;
};

Gpt2::Gpt2(const Gpt2Config& config, Here here)
    : config_(checked(config, here)),
      parts_(std::make_unique<Parts>(child<Named>({"transformer", here}), config_, here)) {}

Gpt2::~Gpt2() = default;

Tensor Gpt2::operator()(const Tensor& tokens, const Tensor& key_padding_mask, Here here) const {
  const Scope scope(*this, "Gpt2", here);
  if (tokens.rank() != 2) throw ShapeError("Gpt2: tokens must be [batch, length], got " + tokens.shape().str(), here);
  const std::int64_t b = tokens.size(0), n = tokens.size(1);
  if (n > config_.positions)
    throw ShapeError("Gpt2: a sequence of " + std::to_string(n) + " is longer than the " +
                         std::to_string(config_.positions) + " positions",
                     here);
  Tensor mask;
  if (key_padding_mask.defined()) {
    if (key_padding_mask.shape() != tokens.shape())
      throw ShapeError("Gpt2: key_padding_mask " + key_padding_mask.shape().str() + " must be " + tokens.shape().str(),
                       here);
    mask = reshape(key_padding_mask, {b, 1, 1, n});
  }
  const Parts& p = *parts_;
  Tensor x = p.dropout(p.words(tokens) + slice(p.positions.weight, 0, 0, n));
  for (std::size_t i = 0; i < p.blocks.size(); ++i) x = p.blocks[i](x, mask);
  return linear(p.norm(x), p.words.weight);
}

Tensor Gpt2::loss(const Tensor& logits, const Tensor& labels, Here here) const {
  const Scope scope(*this, "Gpt2", here);
  return detail::next_token_loss("Gpt2", logits, labels, here);
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
  std::ifstream file(path);
  if (!file) throw FileError(path + ": cannot be opened", here);
  try {
    const nlohmann::json j = nlohmann::json::parse(file);
    Gpt2Config c;
    c.vocabulary = j.at("vocab_size");
    c.positions = j.at("n_positions");
    c.d_model = j.at("n_embd");
    if (const auto inner = j.find("n_inner"); inner != j.end() && !inner->is_null()) c.d_ff = *inner;
    c.heads = j.at("n_head");
    c.layers = j.at("n_layer");
    c.activation = detail::activation_named(j.at("activation_function"), "activation_function", path, here);
    c.dropout = j.at("resid_pdrop");
    c.embedding_dropout = j.at("embd_pdrop");
    c.attention_dropout = j.at("attn_pdrop");
    c.eps = j.at("layer_norm_epsilon");
    c.std = j.at("initializer_range");
    c.scale_by_head_dim = j.value("scale_attn_weights", true);
    c.scale_by_inverse_layer = j.value("scale_attn_by_inverse_layer_idx", false);
    return c;
  } catch (const nlohmann::json::exception& e) {
    throw FileError(path + ": no GPT-2 configuration: " + e.what(), here);
  }
}

}  // namespace attune::nn
