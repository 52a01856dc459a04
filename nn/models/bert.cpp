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
#include "nn/internal/check.h"
#include "nn/models/internal/published.h"

namespace attune::nn {

namespace {

BertConfig checked(const detail::Check& check, BertConfig c) {
  for (const auto& [name, value] : {std::pair{"vocabulary", c.vocabulary},
                                    {"positions", c.positions},
                                    {"token_types", c.token_types},
                                    {"d_model", c.d_model},
                                    {"d_ff", c.d_ff},
                                    {"heads", c.heads},
                                    {"layers", c.layers}})
    check.at_least(1, value, name);
  check.head_dim(c.d_model, c.heads);
  check.probability(c.attention_dropout, "attention_dropout");
  if (c.labels.empty()) check.fail("needs at least one label");
  if (c.classifier_dropout == -1) c.classifier_dropout = c.dropout;
  return c;
}

bool has_pooler(BertHeads heads) {
  return heads == BertHeads::none || heads == BertHeads::pretraining || heads == BertHeads::next_sentence ||
         heads == BertHeads::sequence_labels;
}

bool has_words(BertHeads heads) {
  return heads == BertHeads::pretraining || heads == BertHeads::masked_words || heads == BertHeads::next_word;
}

void check_beside_tokens(const char* what, const Tensor& given, const Tensor& tokens, Here here) {
  if (given.defined() && given.shape() != tokens.shape())
    throw ShapeError(std::string("Bert: ") + what + " " + given.shape().str() + " must be " + tokens.shape().str(),
                     here);
}

/// Names of old files, and files of the encoder alone.
std::string published_name(std::string name) {
  for (const auto& [old, now] : {std::pair{".gamma", ".weight"}, {".beta", ".bias"}})
    if (name.ends_with(std::string("LayerNorm") + old)) name.replace(name.rfind('.'), std::string::npos, now);
  for (const char* top : {"bert.", "cls.", "classifier."})
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

Bert::SelfAttention::SelfAttention(const BertConfig& c, Here here)
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

Bert::Layer::Layer(const BertConfig& c, Here here)
    : Module(here),
      config(c),
      attention(child<SelfAttention>("attention.self", c)),
      attention_output(child<Linear>("attention.output.dense", c.d_model, c.d_model)),
      attention_norm(child<LayerNorm>("attention.output.LayerNorm", c.d_model, LayerNormOptions{.eps = c.eps})),
      up(child<Linear>("intermediate.dense", c.d_model, c.d_ff, LinearOptions{.activation = c.activation})),
      down(child<Linear>("output.dense", c.d_ff, c.d_model)),
      norm(child<LayerNorm>("output.LayerNorm", c.d_model, LayerNormOptions{.eps = c.eps})),
      dropout(child<Dropout>("dropout", c.dropout)) {}

Tensor Bert::Layer::operator()(const Tensor& input, const Tensor& attention_mask, Here here) const {
  const Scope scope(*this, "Layer", here);
  const Tensor h = residual(scope.in(input), attention_norm, false,
                            [&](const Tensor& x) { return dropout(attention_output(attention(x, attention_mask))); });
  return scope.out(residual(h, norm, false, [&](const Tensor& x) { return dropout(down(up(x))); }));
}

Bert::Encoder::Encoder(const BertConfig& c, Here here)
    : Module(here),
      config(c),
      embeddings(child<Embeddings>("embeddings", c)),
      layers(child<ModuleList<Layer>>("encoder.layer")) {
  for (std::int64_t i = 0; i < c.layers; ++i) layers.add(c);
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
    : Module(here), config(checked({"Bert", *this}, c)), bert(child<Encoder>("bert", config)) {
  const BertHeads heads = config.heads_on_top;
  if (has_words(heads)) words = &child<WordHead>("cls.predictions", config);
  if (heads == BertHeads::pretraining || heads == BertHeads::next_sentence)
    next_sentence = &child<Linear>("cls.seq_relationship", config.d_model, 2);
  if (heads == BertHeads::sequence_labels || heads == BertHeads::token_labels) {
    dropout = &child<Dropout>("dropout", config.classifier_dropout);
    classifier = &child<Linear>("classifier", config.d_model, static_cast<std::int64_t>(config.labels.size()));
  }
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
  check_beside_tokens("token_types", call.token_types, tokens, here);
  if (call.positions.defined() && call.positions.rank() != 1)
    check_beside_tokens("positions", call.positions, tokens, here);
  BertResult r;
  r.hidden = bert(tokens, call, mask);
  if (bert.pooler) r.pooled = (*bert.pooler)(select(r.hidden, 1, 0));
  if (words) r.words = (*words)(r.hidden, bert.embeddings.words.weight);
  if (next_sentence) r.next_sentence = (*next_sentence)(r.pooled);
  if (classifier) r.labels = (*classifier)((*dropout)(r.pooled.defined() ? r.pooled : r.hidden));
  scope.out_parts(r.hidden, r.pooled, r.words, r.next_sentence, r.labels);
  return r;
}

Tensor Bert::loss(const BertResult& result, const BertTargets& targets, Reduction reduction, Here here) const {
  const Scope scope(*this, "Bert", here, Scope::no_call);
  Tensor all;
  const auto add = [&](const char* what, const Tensor& logits, const Tensor& target, const auto& loss_of) {
    if (!target.defined()) return;
    if (!logits.defined()) throw ValueError(std::string("Bert: there is no head for the targets ") + what, here);
    if (all.defined() && reduction == Reduction::none)
      throw ValueError("Bert: several targets have no loss of one shape; reduce them", here);
    const Tensor loss = loss_of();
    all = all.defined() ? all + loss : loss;
  };
  const auto classes = [&](const Tensor& logits, const Tensor& target) {
    return cross_entropy(logits, target, {.reduction = reduction}, here);
  };
  add("words", result.words, targets.words, [&] {
    return config.heads_on_top == BertHeads::next_word
               ? next_token_loss("Bert", result.words, targets.words, reduction, here)
               : classes(result.words, targets.words);
  });
  add("next_sentence", result.next_sentence, targets.next_sentence,
      [&] { return classes(result.next_sentence, targets.next_sentence); });
  add("labels", result.labels, targets.labels, [&] {
    const Tensor &y = result.labels, &target = targets.labels;
    BertProblem problem = config.problem;
    if (config.heads_on_top == BertHeads::token_labels) problem = BertProblem::one_label;
    if (problem == BertProblem::by_labels)
      problem = config.labels.size() == 1        ? BertProblem::regression
                : target.dtype() == DType::int64 ? BertProblem::one_label
                                                 : BertProblem::several_labels;
    if (problem == BertProblem::one_label) return classes(y, target);
    if (problem == BertProblem::several_labels)
      return binary_cross_entropy_with_logits(y, target, {.reduction = reduction}, here);
    return mse_loss(y.size(-1) == 1 && target.rank() == 1 ? reshape(y, {y.size(0)}) : y, target, reduction, here);
  });
  if (!all.defined()) throw ValueError("Bert: a loss needs targets", here);
  return all;
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
  if (!words) file.leave_out("cls.predictions.");
  if (words && config.tied) file.drop_copy("cls.predictions.decoder.weight", "bert.embeddings.word_embeddings.weight");
  if (words) file.drop_copy("cls.predictions.decoder.bias", "cls.predictions.bias");
  file.load_into(*this, "bert.embeddings.word_embeddings.weight");
}

void Bert::load_encoder(const std::string& path, Here here) {
  detail::Published file = opened(path, here);
  for (const char* heads : {"cls.", "classifier."}) file.leave_out(heads);
  if (!bert.pooler) file.leave_out("bert.pooler.");
  if (bert.pooler) file.keep("bert.pooler.", *this);
  file.rename([](const std::string& name) { return name.substr(std::string("bert.").size()); });
  file.load_into(bert, "embeddings.word_embeddings.weight");
}

void Bert::save_published(const std::string& path, Here here) const {
  detail::save_published(*this, path, here, config.heads_on_top == BertHeads::none ? "bert." : "");
}

}  // namespace attune::nn
