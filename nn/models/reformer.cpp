#include "nn/models/reformer.h"

#include <algorithm>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>
#include <numeric>

#include "autograd/io/safetensors.h"
#include "autograd/ops/create.h"
#include "autograd/ops/elementwise.h"
#include "autograd/ops/loss.h"
#include "autograd/ops/movement.h"
#include "autograd/ops/reduce.h"
#include "autograd/runtime/error.h"
#include "autograd/tape/modes.h"
#include "nn/init.h"
#include "nn/layers/containers.h"
#include "nn/layers/dropout.h"
#include "nn/layers/embedding.h"
#include "nn/layers/feed_forward.h"
#include "nn/layers/linear.h"
#include "nn/layers/norm.h"
#include "nn/layers/reversible.h"
#include "nn/models/internal/published.h"

namespace attune::nn {

namespace {

using detail::Named;

struct AttentionPart : Module {
  AttentionPart(const ReformerConfig& c, ReformerAttention kind)
      : norm(child<LayerNorm>("layer_norm", c.d_model, LayerNormOptions{.eps = c.eps})),
        dropout(child<Dropout>("dropout", c.dropout)) {
    const HeadOptions shape{.head_dim = c.head_dim, .project_output = false};
    const std::int64_t head_dim = c.head_dim == 0 ? c.d_model / c.heads : c.head_dim;
    if (kind == ReformerAttention::lsh)
      lsh = &child<LshSelfAttention>("self_attention", c.d_model, c.heads, c.lsh, shape);
    else
      local = &child<LocalSelfAttention>("self_attention", c.d_model, c.heads, c.local, shape);
    output =
        &child<Named>("output").child<Linear>("dense", c.heads * head_dim, c.d_model, LinearOptions{.bias = false});
  }
  Tensor operator()(const Tensor& x, const LshCall& call) const {
    const Tensor h = norm(x);
    return dropout((*output)(lsh ? (*lsh)(h, call).output : (*local)(h, call.key_padding_mask)));
  }
  LayerNorm& norm;
  Dropout& dropout;
  LshSelfAttention* lsh = nullptr;
  LocalSelfAttention* local = nullptr;
  Linear* output;
};

struct FeedForwardPart : Module {
  explicit FeedForwardPart(const ReformerConfig& c)
      : norm(child<LayerNorm>("layer_norm", c.d_model, LayerNormOptions{.eps = c.eps})),
        up(child<Named>("dense").child<Linear>("dense", c.d_model, c.d_ff, LinearOptions{.activation = c.activation})),
        down(child<Named>("output").child<Linear>("dense", c.d_ff, c.d_model)),
        dropout(child<Dropout>("dropout", c.dropout)),
        chunks(c.ff_chunks) {}
  Tensor operator()(const Tensor& x) const {
    return in_chunks(x, chunks, [&](const Tensor& piece) { return dropout(down(dropout(up(norm(piece))))); });
  }
  LayerNorm& norm;
  Linear &up, &down;
  Dropout& dropout;
  std::int64_t chunks;
};

struct LayerPart : Module {
  LayerPart(const ReformerConfig& c, ReformerAttention kind)
      : attention(child<AttentionPart>("attention", c, kind)),
        feed_forward(child<FeedForwardPart>("feed_forward", c)) {}
  AttentionPart& attention;
  FeedForwardPart& feed_forward;
};

std::int64_t chunk_of(const ReformerConfig& c, ReformerAttention kind) {
  return kind == ReformerAttention::lsh ? c.lsh.chunk : c.local.chunk;
}

bool causal(const ReformerConfig& c, ReformerAttention kind) {
  return kind == ReformerAttention::lsh ? c.lsh.causal : c.local.causal;
}

void check(const ReformerConfig& c, Here here) {
  const auto fail = [&](const std::string& what) { throw ValueError("Reformer: " + what, here); };
  for (const auto& [name, value] : {std::pair{"vocabulary", c.vocabulary},
                                    {"d_model", c.d_model},
                                    {"d_ff", c.d_ff},
                                    {"heads", c.heads},
                                    {"positions", c.positions},
                                    {"axial_rows", c.axial_rows},
                                    {"axial_columns", c.axial_columns},
                                    {"ff_chunks", c.ff_chunks}})
    if (value < 1) fail(std::string(name) + " = " + std::to_string(value) + " must be at least 1");
  if (c.layers.empty()) fail("needs at least one layer");
  for (ReformerAttention kind : c.layers) {
    constexpr std::int64_t most = std::numeric_limits<std::int32_t>::max();  // two chunks' common multiple then fits
    if (chunk_of(c, kind) < 1 || chunk_of(c, kind) > most)
      fail("chunk = " + std::to_string(chunk_of(c, kind)) + " is not in 1.." + std::to_string(most));
    if (causal(c, kind) != causal(c, c.layers[0])) fail("some layers are causal and some are not");
  }
  if (c.head_dim < 0 || (c.head_dim == 0 && c.d_model % c.heads != 0))
    fail("heads = " + std::to_string(c.heads) + " does not divide d_model = " + std::to_string(c.d_model));
  if (c.axial && (c.axial_row_dim < 1 || c.axial_row_dim >= c.d_model))
    fail("axial_row_dim = " + std::to_string(c.axial_row_dim) +
         " must lie between 1 and d_model - 1 = " + std::to_string(c.d_model - 1));
}

/// The length that all layers can cut into whole chunks; a sequence within one chunk is left as it is.
std::int64_t padded_length(const ReformerConfig& c, std::int64_t n) {
  std::int64_t common = 1, least = std::numeric_limits<std::int64_t>::max();
  for (ReformerAttention kind : c.layers) {
    common = std::lcm(common, chunk_of(c, kind));
    least = std::min(least, chunk_of(c, kind));
  }
  return n <= least ? n : (n + common - 1) / common * common;
}

struct Sequence {
  Tensor x;
  ReformerCall call;
};

/// x [b, n, d] and its masks, padded for all layers. A mask that hides nothing is none.
Sequence padded(const ReformerConfig& c, Tensor x, ReformerCall call, Here here) {
  const std::int64_t b = x.size(0), n = x.size(1), more = padded_length(c, n) - n;
  const auto widen = [&](Tensor& mask) {
    if (!mask.defined()) return;
    const std::string what = "Reformer: key_padding_mask " + mask.shape().str();
    if (mask.dtype() != DType::boolean) throw DTypeError(what + " must be of bool, got " + name_of(mask.dtype()), here);
    if (mask.shape() != Shape{b, n}) throw ShapeError(what + " must be " + Shape{b, n}.str(), here);
    if (more > 0) mask = cat({mask, ones({b, more}, DType::boolean)}, 1);
  };
  Tensor& common = call.key_padding_mask;
  if (common.defined() || more == 0)
    widen(common);
  else
    common = cat({zeros({b, n}, DType::boolean), ones({b, more}, DType::boolean)}, 1);
  for (LshCall& each : call.attention) widen(each.key_padding_mask);
  if (common.defined() && !any(common)) common = Tensor();
  if (more == 0) return {x, call};
  return {cat({x, zeros({b, more, x.size(2)}, x.dtype())}, 1), call};
}

/// While it lives, a module and all below are in evaluation mode; then each is in its own again.
class Evaluating {
 public:
  explicit Evaluating(Module& m) {
    for (const auto& [name, module] : m.named_modules()) before_.emplace_back(module, module->training());
    m.eval();
  }
  ~Evaluating() {
    for (const auto& [module, on] : before_) module->train(on);  // a module comes before those below it
  }
  Evaluating(const Evaluating&) = delete;
  Evaluating& operator=(const Evaluating&) = delete;

 private:
  std::vector<std::pair<Module*, bool>> before_;
};

}  // namespace

struct Reformer::Parts {
  Parts(Named& model, Named& head, const ReformerConfig& c) {
    Named& embeddings = model.child<Named>("embeddings");
    words = &embeddings.child<Embedding>("word_embeddings", c.vocabulary, c.d_model);
    init::normal_(words->weight, 0, c.embedding_std);
    Named& places = embeddings.child<Named>("position_embeddings");
    if (c.axial)
      axial = &places.child<AxialPositionEmbedding>("weights", c.axial_rows, c.axial_columns, c.axial_row_dim,
                                                    c.d_model - c.axial_row_dim, c.axial_std);
    else
      learned = &places.child<LearnedPositionEmbedding>("embedding", c.positions, c.d_model, c.embedding_std);
    dropout = &embeddings.child<Dropout>("dropout", c.dropout);
    Named& encoder = model.child<Named>("encoder");
    layers = &encoder.child<ModuleList<LayerPart>>("layers");
    for (ReformerAttention kind : c.layers) layers->add(c, kind);
    norm = &encoder.child<LayerNorm>("layer_norm", 2 * c.d_model, LayerNormOptions{.eps = c.eps});
    decoder = &head.child<Linear>("decoder", 2 * c.d_model, c.vocabulary, LinearOptions{.bias = false});
    bias = &head.parameter("bias", zeros({c.vocabulary}));
  }

  Tensor embed(const Tensor& tokens, Here here) const {
    if (tokens.rank() != 2)
      throw ShapeError("Reformer: tokens must be [batch, length], got " + tokens.shape().str(), here);
    const std::int64_t n = tokens.size(1);
    return (*dropout)((*words)(tokens) + (axial ? (*axial)(n) : (*learned)(n)));
  }

  static LshCall call_of(const ReformerCall& call, std::size_t layer) {
    LshCall own = layer < call.attention.size() ? call.attention[layer] : LshCall{};
    if (!own.key_padding_mask.defined()) own.key_padding_mask = call.key_padding_mask;
    return own;
  }

  std::vector<ReversibleBlock> blocks(const ReformerCall& call, std::size_t count) const {
    std::vector<ReversibleBlock> out;
    for (std::size_t i = 0; i < count; ++i) {
      const LayerPart& layer = (*layers)[i];
      out.push_back({[&layer, own = call_of(call, i)](const Tensor& x) { return layer.attention(x, own); },
                     [&layer](const Tensor& x) { return layer.feed_forward(x); }, layer.attention.parameters(),
                     layer.feed_forward.parameters()});
    }
    return out;
  }

  Embedding* words;
  AxialPositionEmbedding* axial = nullptr;
  LearnedPositionEmbedding* learned = nullptr;
  Dropout* dropout;
  ModuleList<LayerPart>* layers;
  LayerNorm* norm;
  Linear* decoder;
  Tensor* bias;
};

Reformer::Reformer(const ReformerConfig& config, Here here) : config_(config) {
  check(config, here);
  const Frame frame("Reformer", here);
  Named& model = child<Named>("reformer");
  parts_ = std::make_unique<Parts>(model, child<Named>("lm_head"), config);
}

Reformer::~Reformer() = default;

Tensor Reformer::operator()(const Tensor& tokens, const ReformerCall& call, Here here) {
  const Scope scope(*this, "Reformer", here);
  const auto [x, own] = padded(config_, parts_->embed(tokens, here), call, here);
  const TwoStreams y = reversible_blocks(parts_->blocks(own, parts_->layers->size()), {x, x}, config_.reversible);
  Tensor h = (*parts_->dropout)((*parts_->norm)(cat({y.first, y.second}, 2)));
  if (x.size(1) > tokens.size(1)) h = slice(h, 1, 0, tokens.size(1));
  return linear(h, parts_->decoder->weight, *parts_->bias);
}

Tensor Reformer::loss(const Tensor& logits, const Tensor& labels, Here here) const {
  const Scope scope(*this, "Reformer", here);
  if (causal(config_, config_.layers[0])) return detail::next_token_loss("Reformer", logits, labels, here);
  return cross_entropy(logits, labels, {}, here);
}

std::vector<Tensor> Reformer::buckets(const Tensor& tokens, const ReformerCall& call, Here here) {
  const Scope scope(*this, "Reformer", here);
  const NoGrad off;
  const auto [x, padded_call] = padded(config_, parts_->embed(tokens, here), call, here);
  const auto blocks = parts_->blocks(padded_call, parts_->layers->size());
  std::vector<Tensor> out;
  TwoStreams y{x, x};
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    const AttentionPart& part = (*parts_->layers)[i].attention;
    LshCall own = parts_->call_of(padded_call, i);
    out.push_back(part.lsh ? (*part.lsh)(part.norm(y.second), own).buckets : Tensor());
    if (out.back().defined()) own.buckets = out.back();
    y.first = y.first + part(y.second, own);
    y.second = y.second + blocks[i].g(y.first);
  }
  return out;
}

Reformer::Pattern Reformer::attention_pattern(const Tensor& tokens, std::size_t layer, Here here) {
  const Scope scope(*this, "Reformer", here);
  LshSelfAttention& attention = lsh_attention(layer, here);
  const NoGrad off;
  const Evaluating evaluating(*this);
  const auto [x, call] = padded(config_, parts_->embed(tokens, here), {}, here);
  const TwoStreams y = reversible_blocks(parts_->blocks(call, layer), {x, x}, false);
  const Tensor h = (*parts_->layers)[layer].attention.norm(y.second);
  const LshCall own = parts_->call_of(call, layer);
  const Tensor buckets = attention(h, own).buckets;
  const Tensor weights = attention.weights(h, buckets, own.key_padding_mask);
  const std::int64_t n = tokens.size(1);
  return {slice(slice(weights, 2, 0, n), 3, 0, n), buckets.defined() ? slice(buckets, 3, 0, n) : Tensor()};
}

LshSelfAttention& Reformer::lsh_attention(std::size_t layer, Here here) {
  const std::size_t count = parts_->layers->size();
  if (layer >= count)
    throw IndexError("Reformer: there is no layer " + std::to_string(layer) + " of " + std::to_string(count), here);
  LshSelfAttention* found = (*parts_->layers)[layer].attention.lsh;
  if (!found) throw ValueError("Reformer: layer " + std::to_string(layer) + " is no LSH layer", here);
  return *found;
}

void Reformer::load_published(const std::string& path, Here here) {
  StateDict state = load_safetensors(path, here).tensors;
  std::erase_if(state, [](const auto& entry) {
    return entry.first.find("mask_value_float") != std::string::npos || entry.first == "lm_head.decoder.bias";
  });
  load_state_dict(state, {}, here);
}

ReformerConfig reformer_config_from_file(const std::string& path, Here here) {
  std::ifstream file(path);
  if (!file) throw FileError(path + ": cannot be opened", here);
  try {
    const nlohmann::json j = nlohmann::json::parse(file);
    ReformerConfig c;
    c.vocabulary = j.at("vocab_size");
    c.d_model = j.at("hidden_size");
    c.d_ff = j.at("feed_forward_size");
    c.heads = j.at("num_attention_heads");
    c.head_dim = j.at("attention_head_size");
    c.layers.clear();
    for (const auto& kind : j.at("attn_layers"))
      c.layers.push_back(kind == "lsh" ? ReformerAttention::lsh : ReformerAttention::local);
    c.lsh = LshOptions::hugging_face();
    c.lsh.hashes = j.at("num_hashes");
    c.lsh.chunk = j.at("lsh_attn_chunk_length");
    c.lsh.chunks_before = j.at("lsh_num_chunks_before");
    c.lsh.chunks_after = j.at("lsh_num_chunks_after");
    c.lsh.causal = j.at("is_decoder");
    c.lsh.max_length = j.at("max_position_embeddings");
    c.lsh.dropout = j.at("lsh_attention_probs_dropout_prob");
    const auto& buckets = j.at("num_buckets");
    if (buckets.is_array())
      c.lsh.buckets = buckets.get<std::vector<std::int64_t>>();
    else if (buckets.is_number())
      c.lsh.buckets = {buckets.get<std::int64_t>()};
    c.local.chunk = j.at("local_attn_chunk_length");
    c.local.chunks_before = j.at("local_num_chunks_before");
    c.local.chunks_after = j.at("local_num_chunks_after");
    c.local.causal = j.at("is_decoder");
    c.local.ring = true;
    c.local.dropout = j.at("local_attention_probs_dropout_prob");
    c.axial = j.value("axial_pos_embds", true);
    c.positions = j.at("max_position_embeddings");
    if (c.axial) {
      c.axial_rows = j.at("axial_pos_shape").at(0);
      c.axial_columns = j.at("axial_pos_shape").at(1);
      c.axial_row_dim = j.at("axial_pos_embds_dim").at(0);
      c.axial_std = j.at("axial_norm_std");
    }
    c.embedding_std = j.at("initializer_range");
    c.activation = detail::activation_named(j.at("hidden_act"), "hidden_act", path, here);
    c.dropout = j.at("hidden_dropout_prob");
    c.eps = j.at("layer_norm_eps");
    return c;
  } catch (const nlohmann::json::exception& e) {
    throw FileError(path + ": no Reformer configuration: " + e.what(), here);
  }
}

}  // namespace attune::nn
