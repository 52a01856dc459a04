#include "nn/models/reformer.h"

#include <algorithm>
#include <limits>
#include <numeric>

#include "autograd/ops/elementwise.h"
#include "autograd/ops/matmul.h"
#include "autograd/ops/movement.h"
#include "autograd/ops/reduce.h"
#include "autograd/runtime/error.h"
#include "autograd/tape/modes.h"
#include "nn/init.h"
#include "nn/internal/check.h"
#include "nn/internal/evaluating.h"
#include "nn/layers/feed_forward.h"
#include "nn/models/blocks.h"
#include "nn/models/internal/config_json.h"
#include "nn/models/internal/published.h"
#include "nn/models/internal/reformer_length.h"

namespace attune::nn {

namespace {

std::int64_t chunk_of(const ReformerConfig& c, ReformerAttention kind) {
  return kind == ReformerAttention::lsh ? c.lsh.chunk : c.local.chunk;
}

bool causal(const ReformerConfig& c, ReformerAttention kind) {
  return kind == ReformerAttention::lsh ? c.lsh.causal : c.local.causal;
}

ReformerConfig checked(const detail::Check& check, ReformerConfig c) {
  for (const auto& [name, value] : {std::pair{"vocabulary", c.vocabulary},
                                    {"d_model", c.d_model},
                                    {"d_ff", c.d_ff},
                                    {"heads", c.heads},
                                    {"positions", c.positions},
                                    {"axial_rows", c.axial_rows},
                                    {"axial_columns", c.axial_columns},
                                    {"ff_chunks", c.ff_chunks}})
    check.at_least(1, value, name);
  if (c.layers.empty()) check.fail("needs at least one layer");
  for (ReformerAttention kind : c.layers) {
    constexpr std::int64_t most = std::numeric_limits<std::int32_t>::max();  // two chunks' common multiple then fits
    if (chunk_of(c, kind) < 1 || chunk_of(c, kind) > most)
      check.fail("chunk = " + std::to_string(chunk_of(c, kind)) + " is not in 1.." + std::to_string(most));
    if (causal(c, kind) != causal(c, c.layers[0])) check.fail("some layers are causal and some are not");
  }
  if (check.at_least(0, c.head_dim, "head_dim") == 0) c.head_dim = check.head_dim(c.d_model, c.heads);
  if (c.axial && (c.axial_row_dim < 1 || c.axial_row_dim >= c.d_model))
    check.fail("axial_row_dim = " + std::to_string(c.axial_row_dim) +
               " must lie between 1 and d_model - 1 = " + std::to_string(c.d_model - 1));
  return c;
}

struct Sequence {
  Tensor x;
  ReformerCall call;
};

/// x [b, n, d] and its masks, padded for all layers. A mask that hides nothing is none.
Sequence padded(const ReformerConfig& c, const Tensor& x, ReformerCall call, Here here) {
  const std::int64_t b = x.size(0), n = x.size(1), more = detail::padded_length(c, n) - n;
  const auto widen = [&](Tensor& mask) {
    if (!mask.defined()) return;
    const std::string what = "Reformer: key_padding_mask " + mask.shape().str();
    if (mask.dtype() != DType::boolean) throw DTypeError(what + " must be of bool, got " + name_of(mask.dtype()), here);
    if (mask.shape() != Shape{b, n}) throw ShapeError(what + " must be " + Shape{b, n}.str(), here);
    if (more > 0) mask = cat({mask, ones({b, more}, DType::boolean)}, 1);
  };
  Tensor& common = call.key_padding_mask;
  if (!common.defined() && more > 0) common = zeros({b, n}, DType::boolean);
  widen(common);
  for (LshCall& each : call.attention) widen(each.key_padding_mask);
  if (common.defined() && !any(common)) common = Tensor();
  if (more == 0) return {x, call};
  return {cat({x, zeros({b, more, x.size(2)}, x.dtype())}, 1), call};
}

/// The call of one layer, which has the common mask unless it has its own.
LshCall call_of(const ReformerCall& call, std::size_t layer) {
  LshCall own = layer < call.attention.size() ? call.attention[layer] : LshCall{};
  if (!own.key_padding_mask.defined()) own.key_padding_mask = call.key_padding_mask;
  return own;
}

}  // namespace

std::int64_t detail::padded_length(const ReformerConfig& c, std::int64_t n) {
  std::int64_t common = 1, least = std::numeric_limits<std::int64_t>::max();
  for (ReformerAttention kind : c.layers) {
    common = std::lcm(common, chunk_of(c, kind));
    least = std::min(least, chunk_of(c, kind));
  }
  return n <= least ? n : (n + common - 1) / common * common;
}

Reformer::Embeddings::Embeddings(const ReformerConfig& c, Here here)
    : Module(here),
      config(c),
      words(child<Embedding>("word_embeddings", c.vocabulary, c.d_model)),
      dropout(child<Dropout>("dropout", c.dropout)) {
  init::normal_(words.weight, 0, c.embedding_std);
  if (c.axial)
    axial = &child<AxialPositionEmbedding>("position_embeddings.weights", c.axial_rows, c.axial_columns,
                                           c.axial_row_dim, c.d_model - c.axial_row_dim, c.axial_std);
  else
    learned =
        &child<LearnedPositionEmbedding>("position_embeddings.embedding", c.positions, c.d_model, c.embedding_std);
}

Tensor Reformer::Embeddings::operator()(const Tensor& input, std::int64_t first, Here here) const {
  if (input.rank() != 2) throw ShapeError("Reformer: tokens must be [batch, length], got " + input.shape().str());
  const Scope scope(*this, "Embeddings", here);
  const Tensor& tokens = scope.in(input);
  const std::int64_t n = tokens.size(1);
  return scope.out(dropout(words(tokens) + (axial ? (*axial)(n, first) : (*learned)(n, first))));
}

Reformer::Attention::Attention(const ReformerConfig& c, ReformerAttention kind, Here here)
    : Module(here),
      config(c),
      norm(child<LayerNorm>("layer_norm", c.d_model, LayerNormOptions{.eps = c.eps})),
      dropout(child<Dropout>("dropout", c.dropout)) {
  const HeadOptions shape{.head_dim = c.head_dim, .project_output = false};
  if (kind == ReformerAttention::lsh)
    lsh = &child<LshSelfAttention>("self_attention", c.d_model, c.heads, c.lsh, shape);
  else
    local = &child<LocalSelfAttention>("self_attention", c.d_model, c.heads, c.local, shape);
  output = &child<Linear>("output.dense", c.heads * c.head_dim, c.d_model, LinearOptions{.bias = false});
}

LshResult Reformer::Attention::operator()(const Tensor& x, const LshCall& call, Here here) const {
  const Scope scope(*this, "Attention", here);
  const Tensor h = norm(scope.in(x));
  const LshResult heads = lsh ? (*lsh)(h, call) : LshResult{(*local)(h, call.key_padding_mask), {}};
  return {scope.out(dropout((*output)(heads.output))), heads.buckets};
}

Tensor Reformer::FeedForward::operator()(const Tensor& x, Here here) const {
  const Scope scope(*this, "FeedForward", here);
  return scope.out(
      in_chunks(scope.in(x), config.ff_chunks, [&](const Tensor& t) { return dropout(down(dropout(up(norm(t))))); }));
}

Reformer::FeedForward::FeedForward(const ReformerConfig& c, Here here)
    : Module(here),
      config(c),
      norm(child<LayerNorm>("layer_norm", c.d_model, LayerNormOptions{.eps = c.eps})),
      up(child<Linear>("dense.dense", c.d_model, c.d_ff, LinearOptions{.activation = c.activation})),
      down(child<Linear>("output.dense", c.d_ff, c.d_model)),
      dropout(child<Dropout>("dropout", c.dropout)) {}

Reformer::Layer::Layer(const ReformerConfig& c, ReformerAttention kind, Here here)
    : Module(here),
      attention(child<Attention>("attention", c, kind)),
      feed_forward(child<FeedForward>("feed_forward", c)) {}

Reformer::Head::Head(const ReformerConfig& c, Here here)
    : Module(here),
      config(c),
      bias(parameter("bias", zeros({c.vocabulary}))),
      decoder(child<Linear>("decoder", 2 * c.d_model, c.vocabulary, LinearOptions{.bias = false})) {}

Reformer::Encoder::Encoder(const ReformerConfig& c, Here here)
    : Module(here),
      config(c),
      layers(child<ModuleList<Layer>>("layers")),
      norm(child<LayerNorm>("layer_norm", 2 * c.d_model, LayerNormOptions{.eps = c.eps})) {
  for (ReformerAttention kind : c.layers) layers.add(c, kind);
}

std::vector<ReversibleBlock> Reformer::Encoder::blocks(const ReformerCall& call, std::size_t count) const {
  std::vector<ReversibleBlock> out;
  for (std::size_t i = 0; i < count; ++i) {
    const Layer& layer = layers[i];
    out.push_back({[&layer, own = call_of(call, i)](const Tensor& x) { return layer.attention(x, own).output; },
                   [&layer](const Tensor& x) { return layer.feed_forward(x); }, layer.attention.parameters(),
                   layer.feed_forward.parameters()});
  }
  return out;
}

Tensor Reformer::Head::operator()(const Tensor& x, Here here) const {
  const Scope scope(*this, "Head", here);
  return scope.out(linear(scope.in(x), decoder.weight, bias));
}

Reformer::Reformer(const ReformerConfig& c, Here here)
    : Module(here),
      config(checked({"Reformer", *this}, c)),
      embeddings(child<Embeddings>("reformer.embeddings", config)),
      encoder(child<Encoder>("reformer.encoder", config)),
      head(child<Head>("lm_head", config)) {
  if (config.std == 0) return;
  normal_weights_(encoder, config.std);
  normal_weights_(head, config.std);
}

Tensor Reformer::operator()(const Tensor& input, const ReformerCall& call, Here here) {
  const Scope scope(*this, "Reformer", here);
  const Tensor& tokens = scope.in(input);
  const auto [x, own] = padded(config, embeddings(tokens), call, here);
  const TwoStreams y = reversible_blocks(encoder.blocks(own, encoder.layers.size()), {x, x}, config.reversible);
  Tensor h = embeddings.dropout(encoder.norm(cat({y.first, y.second}, 2)));
  if (x.size(1) > tokens.size(1)) h = slice(h, 1, 0, tokens.size(1));
  return scope.out(head(h));
}

Tensor Reformer::loss(const Tensor& logits, const Tensor& labels, Reduction reduction, Here here) const {
  const Scope scope(*this, "Reformer", here, Scope::no_call);
  if (causal(config, config.layers[0])) return next_token_loss("Reformer", logits, labels, reduction, here);
  return cross_entropy(logits, labels, {.reduction = reduction});
}

std::int64_t Reformer::target_count(const Tensor& labels, Here here) const {
  return causal(config, config.layers[0]) ? next_token_count("Reformer", labels, here) : nn::target_count(labels);
}

std::vector<Tensor> Reformer::buckets(const Tensor& tokens, const ReformerCall& call, Here here) {
  const Scope scope(*this, "Reformer", here, Scope::no_call);
  const NoGrad off;
  const auto [x, own] = padded(config, embeddings(tokens), call, here);
  std::vector<Tensor> out;
  TwoStreams y{x, x};
  for (std::size_t i = 0; i < encoder.layers.size(); ++i) {
    const LshResult attended = encoder.layers[i].attention(y.second, call_of(own, i));
    out.push_back(attended.buckets);
    y.first = y.first + attended.output;
    y.second = y.second + encoder.layers[i].feed_forward(y.first);
  }
  return out;
}

AttentionPatternResult Reformer::attention_pattern(const Tensor& tokens, std::size_t layer, Here here) {
  const Scope scope(*this, "Reformer", here, Scope::no_call);
  const LshSelfAttention& attention = lsh_attention(layer, here);
  const NoGrad off;
  const detail::Evaluating evaluating(*this);
  const auto [x, call] = padded(config, embeddings(tokens), {}, here);
  const TwoStreams y = reversible_blocks(encoder.blocks(call, layer), {x, x}, false);
  const Tensor h = encoder.layers[layer].attention.norm(y.second);
  const LshCall own = call_of(call, layer);
  const Tensor buckets = attention.buckets(h, own);
  const Tensor weights = attention.weights(h, buckets, own.key_padding_mask);
  const std::int64_t n = tokens.size(1);
  return {slice(slice(weights, 2, 0, n), 3, 0, n), buckets.defined() ? slice(buckets, 3, 0, n) : Tensor()};
}

LshSelfAttention& Reformer::lsh_attention(std::size_t layer, Here here) {
  const std::size_t count = encoder.layers.size();
  if (layer >= count)
    throw IndexError("Reformer: there is no layer " + std::to_string(layer) + " of " + std::to_string(count), here);
  LshSelfAttention* found = encoder.layers[layer].attention.lsh;
  if (!found) throw ValueError("Reformer: layer " + std::to_string(layer) + " is no LSH layer", here);
  return *found;
}

void Reformer::load_published(const std::string& path, Here here) {
  detail::Published file(path, "reformer", here);
  const auto drop = [&](const char* name, double value) {
    file.drop(name, "the mask's constant", [&](const Tensor& x) { return detail::is_filled_with(x, value); });
  };
  drop(".self_mask_value_float16", -1e3);
  drop(".self_mask_value_float32", -1e5);
  drop(".mask_value_float16", -1e4);
  drop(".mask_value_float32", -1e9);
  file.drop_copy("lm_head.decoder.bias", "lm_head.bias");
  file.load_into(*this, "reformer.embeddings.word_embeddings.weight");
}

void Reformer::save_published(const std::string& path, Here here) const { detail::save_published(*this, path, here); }

}  // namespace attune::nn
