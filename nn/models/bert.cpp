#include "nn/models/bert.h"

#include <cmath>

#include "autograd/ops/create.h"
#include "autograd/ops/embedding.h"
#include "autograd/ops/matmul.h"
#include "autograd/ops/movement.h"
#include "autograd/ops/products.h"
#include "autograd/ops/reduce.h"
#include "autograd/runtime/error.h"
#include "nn/attention/multihead.h"
#include "nn/init.h"
#include "nn/models/internal/bert_layer.h"
#include "nn/models/internal/bert_like.h"

namespace attune::nn {

namespace {

bool has_pooler(BertHeads heads) {
  return heads == BertHeads::none || heads == BertHeads::pretraining || heads == BertHeads::next_sentence ||
         heads == BertHeads::sequence_labels || heads == BertHeads::choices;
}

/// Names of old files, and files of the encoder alone.
std::string published_name(std::string name) {
  for (const auto& [old, now] : {std::pair{".gamma", ".weight"}, {".beta", ".bias"}})
    if (name.ends_with(std::string("LayerNorm") + old)) name.replace(name.rfind('.'), std::string::npos, now);
  for (const char* top : {"bert.", "cls.", "classifier.", "qa_outputs."})
    if (name.starts_with(top)) return name;
  return "bert." + name;
}

}  // namespace

Bert::Embeddings::Embeddings(const BertConfig& c, Here here)
    : Module(here),
      config(c),
      words(child<Embedding>("word_embeddings", c.vocabulary, c.d_model, {c.padding_token})),
      positions(child<Embedding>("position_embeddings", c.positions, c.d_model)),
      token_types(child<Embedding>("token_type_embeddings", c.token_types, c.d_model)),
      norm(child<LayerNorm>("LayerNorm", c.d_model, LayerNormOptions{.eps = c.eps})),
      dropout(child<Dropout>("dropout", c.dropout)) {}

Tensor Bert::Embeddings::operator()(const Tensor& input, const BertCall& call, Here here) const {
  const Scope scope(*this, "Embeddings", here);
  const Tensor& tokens = scope.in(input);
  const std::int64_t n = tokens.size(1);
  Tensor x = words(tokens);
  x = x + (call.token_types.defined() ? token_types(call.token_types) : select(token_types.weight, 0, 0));
  if (config.position_kind == BertPositions::absolute)
    x = x + (call.positions.defined() ? positions(call.positions) : slice(positions.weight, 0, 0, n));
  return scope.out(dropout(norm(x)));
}

Bert::SelfAttention::SelfAttention(const BertConfig& c, std::int64_t, Here here)
    : Module(here),
      config(c),
      query(child<Linear>("query", c.d_model, c.d_model)),
      key(child<Linear>("key", c.d_model, c.d_model)),
      value(child<Linear>("value", c.d_model, c.d_model)) {
  if (c.position_kind != BertPositions::absolute)
    distances = &child<Embedding>("distance_embedding", 2 * c.positions - 1, c.d_model / c.heads);
}

Tensor Bert::SelfAttention::operator()(const Tensor& input, const Tensor& attention_mask, Here here) const {
  const Scope scope(*this, "SelfAttention", here);
  const Tensor& x = scope.in(input);
  const Tensor q = query(x), k = key(x), v = value(x);
  AttentionOptions o{
      .attention_mask = attention_mask, .causal = config.causal, .dropout = training() ? config.attention_dropout : 0};
  if (distances) {  // what a query, and a key, says to each distance, as a part of the scores
    const std::int64_t n = x.size(1), d = config.d_model / config.heads;
    const Tensor places = arange(n), far = unsqueeze(places, 1) - places + (config.positions - 1);
    const Tensor rows = (*distances)(far);  // [query, key, d]
    const auto in_heads = [&](const Tensor& y) { return reshape(y, {y.size(0), n, config.heads, d}); };
    o.bias = einsum("bihd,ijd->bhij", {in_heads(q), rows});
    if (config.position_kind == BertPositions::relative_key_query)
      o.bias = o.bias + einsum("bjhd,ijd->bhij", {in_heads(k), rows});
    o.bias = o.bias / std::sqrt(static_cast<double>(d));
  }
  return scope.out(multihead_attention(q, k, v, config.heads, o).output);
}

template struct BertLayer<Bert::SelfAttention>;

Bert::Encoder::Encoder(const BertConfig& c, Here here)
    : Module(here),
      config(c),
      embeddings(child<Embeddings>("embeddings", c)),
      layers(child<ModuleList<Layer>>("encoder.layer")) {
  for (std::int64_t i = 0; i < c.layers; ++i) layers.add(c, i);
  if (has_pooler(c.heads_on_top))
    pooler = &child<Linear>("pooler.dense", c.d_model, c.d_model, LinearOptions{.activation = Activation::tanh});
}

Tensor Bert::Encoder::operator()(const Tensor& tokens, const BertCall& call, const Tensor& attention_mask,
                                 Here here) const {
  const Scope scope(*this, "Encoder", here);
  Tensor x = embeddings(scope.in(tokens), call);
  for (const Layer* layer : layers) x = (*layer)(x, attention_mask);
  return scope.out(x);
}

Bert::WordHead::WordHead(const BertConfig& c, Here here)
    : Module(here),
      config(c),
      bias(parameter("bias", zeros({c.vocabulary}))),
      dense(child<Linear>("transform.dense", c.d_model, c.d_model, LinearOptions{.activation = c.activation})),
      norm(child<LayerNorm>("transform.LayerNorm", c.d_model, LayerNormOptions{.eps = c.eps})) {
  if (!c.tied) decoder = &child<Linear>("decoder", c.d_model, c.vocabulary, LinearOptions{.bias = false});
}

Tensor Bert::WordHead::operator()(const Tensor& hidden, const Tensor& embedding, Here here) const {
  const Scope scope(*this, "WordHead", here);
  return scope.out(linear(norm(dense(scope.in(hidden))), decoder ? decoder->weight : embedding, bias));
}

Bert::Bert(const BertConfig& c, Here here)
    : Module(here), config(detail::checked_sizes({"Bert", *this}, c)), bert(child<Encoder>("bert", config)) {
  const BertHeads heads = config.heads_on_top;
  if (detail::has_words(heads)) words = &child<WordHead>("cls.predictions", config);
  if (heads == BertHeads::pretraining || heads == BertHeads::next_sentence)
    next_sentence = &child<Linear>("cls.seq_relationship", config.d_model, 2);
  if (heads == BertHeads::sequence_labels || heads == BertHeads::token_labels) {
    dropout = &child<Dropout>("dropout", config.classifier_dropout);
    classifier = &child<Linear>("classifier", config.d_model, static_cast<std::int64_t>(config.labels.size()));
  }
  if (heads == BertHeads::choices) {
    dropout = &child<Dropout>("dropout", config.classifier_dropout);
    classifier = &child<Linear>("classifier", config.d_model, 1);
  }
  if (heads == BertHeads::spans) spans = &child<Linear>("qa_outputs", config.d_model, 2);
  normal_weights_(*this, config.std);
  if (config.padding_token >= 0) init::zeros_(select(bert.embeddings.words.weight.detach(), 0, config.padding_token));
}

BertResult Bert::operator()(const Tensor& input, const BertCall& call, Here here) const {
  const Scope scope(*this, "Bert", here);
  const Tensor& tokens = scope.in(input);
  const Tensor mask = hidden_keys("Bert", tokens, call.key_padding_mask, here);
  if (tokens.size(1) > config.positions)
    throw ShapeError("Bert: a sequence of " + std::to_string(tokens.size(1)) + " is longer than the " +
                         std::to_string(config.positions) + " positions",
                     here);
  detail::check_beside_tokens("Bert", "token_types", call.token_types, tokens, here);
  if (call.positions.defined() && call.positions.rank() != 1)
    detail::check_beside_tokens("Bert", "positions", call.positions, tokens, here);
  BertResult r;
  r.hidden = bert(tokens, call, mask);
  if (bert.pooler) r.pooled = (*bert.pooler)(select(r.hidden, 1, 0));
  if (words) r.words = (*words)(r.hidden, bert.embeddings.words.weight);
  if (next_sentence) r.next_sentence = (*next_sentence)(r.pooled);
  if (classifier) r.labels = (*classifier)((*dropout)(r.pooled.defined() ? r.pooled : r.hidden));
  if (spans) r.spans = (*spans)(r.hidden);
  scope.out_parts(r.hidden, r.pooled, r.words, r.next_sentence, r.labels, r.spans);
  return r;
}

Tensor Bert::loss(const BertResult& result, const BertTargets& targets, Reduction reduction, Here here) const {
  const Scope scope(*this, "Bert", here, Scope::no_call);
  return detail::bert_loss("Bert", config.heads_on_top, config.problem, result, targets, reduction, here);
}

namespace {

/// A BERT's file under the names of today, without constants.
detail::Published opened(const std::string& path, Here here) {
  detail::Published file(path, "bert", here);
  file.rename(published_name);
  file.drop("embeddings.position_ids", "0, 1, 2, ...",
            [](const Tensor& x) { return all(eq(reshape(x, {x.numel()}), arange(x.numel()))); });
  return file;
}

}  // namespace

void Bert::load_published(const std::string& path, Here here) {
  detail::Published file = opened(path, here);
  if (!bert.pooler) file.leave_out("bert.pooler.");
  if (!next_sentence) file.leave_out("cls.seq_relationship.");
  if (!classifier) file.leave_out("classifier.");
  if (!spans) file.leave_out("qa_outputs.");
  if (!words) file.leave_out("cls.predictions.");
  if (words && config.tied) file.drop_copy("cls.predictions.decoder.weight", "bert.embeddings.word_embeddings.weight");
  if (words) file.drop_copy("cls.predictions.decoder.bias", "cls.predictions.bias");
  file.load_into(*this, "bert.embeddings.word_embeddings.weight");
}

void Bert::load_encoder(const std::string& path, Here here) {
  detail::Published file = opened(path, here);
  for (const char* heads : {"cls.", "classifier.", "qa_outputs."}) file.leave_out(heads);
  if (!bert.pooler) file.leave_out("bert.pooler.");
  if (bert.pooler) file.keep("bert.pooler.", *this);
  file.rename([](const std::string& name) { return name.substr(std::string("bert.").size()); });
  file.load_into(bert, "embeddings.word_embeddings.weight");
}

void Bert::save_published(const std::string& path, Here here) const {
  detail::save_published(*this, path, here, config.heads_on_top == BertHeads::none ? "bert." : "");
}

}  // namespace attune::nn
