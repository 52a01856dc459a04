#include "nn/models/longformer.h"

#include "autograd/ops/create.h"
#include "autograd/ops/elementwise.h"
#include "autograd/ops/movement.h"
#include "autograd/ops/reduce.h"
#include "autograd/ops/scan.h"
#include "autograd/runtime/error.h"
#include "nn/attention/multihead.h"
#include "nn/init.h"
#include "nn/models/internal/bert_layer.h"
#include "nn/models/internal/bert_like.h"

namespace attune::nn {

namespace {

const detail::Names<BertHeads> heads{{"LongformerModel", BertHeads::none},
                                     {"LongformerForMaskedLM", BertHeads::masked_words},
                                     {"LongformerForSequenceClassification", BertHeads::sequence_labels},
                                     {"LongformerForTokenClassification", BertHeads::token_labels},
                                     {"LongformerForQuestionAnswering", BertHeads::spans},
                                     {"LongformerForMultipleChoice", BertHeads::choices}};

LongformerConfig checked(const detail::Check& check, const LongformerConfig& config) {
  LongformerConfig c = detail::checked_sizes(check, config);
  if (c.windows.size() == 1) c.windows.assign(static_cast<std::size_t>(c.layers), c.windows[0]);
  if (c.windows.size() != static_cast<std::size_t>(c.layers))
    check.fail("has " + std::to_string(c.windows.size()) + " windows for " + std::to_string(c.layers) + " layers");
  for (const std::int64_t w : c.windows)
    if (w < 2 || w % 2 != 0) check.fail("a window of " + std::to_string(w) + " is not even and positive");
  if (c.padding_token < 0 || c.padding_token + 1 >= c.positions)
    check.fail("padding_token = " + std::to_string(c.padding_token) +
               ": positions count from the next number on, and " + "there are " + std::to_string(c.positions));
  if (detail::name_of(heads, c.heads_on_top).empty()) check.fail("has no such heads_on_top");
  return c;
}

}  // namespace

Longformer::Embeddings::Embeddings(const LongformerConfig& c, Here here)
    : Module(here),
      config(c),
      words(child<Embedding>("word_embeddings", c.vocabulary, c.d_model, {c.padding_token})),
      positions(child<Embedding>("position_embeddings", c.positions, c.d_model, {c.padding_token})),
      token_types(child<Embedding>("token_type_embeddings", c.token_types, c.d_model)),
      norm(child<LayerNorm>("LayerNorm", c.d_model, LayerNormOptions{.eps = c.eps})),
      dropout(child<Dropout>("dropout", c.dropout)) {}

Tensor Longformer::Embeddings::operator()(const Tensor& input, const Tensor& types, Here here) const {
  const Scope scope(*this, "Embeddings", here);
  const Tensor& tokens = scope.in(input);
  const Tensor counts = attune::to(ne(tokens, config.padding_token), DType::int64);  // what is no padding is counted
  const Tensor at = cumsum(counts, 1) * counts + config.padding_token;
  const Tensor x =
      words(tokens) + positions(at) + (types.defined() ? token_types(types) : select(token_types.weight, 0, 0));
  return scope.out(dropout(norm(x)));
}

Longformer::Sight::Sight(const Tensor& padding, const Tensor& global) : has_global(global.defined()) {
  if (padding.defined())
    by_ordinary = AttentionPattern::padding(padding) & AttentionPattern::seeing_queries(padding);  // which gives zeros
  if (!has_global) return;
  global_keys = AttentionPattern::global_keys(global);
  by_global = by_ordinary & AttentionPattern::seeing_queries(logical_not(global));
  by_ordinary = by_ordinary & AttentionPattern::seeing_queries(global);
}

Longformer::SelfAttention::SelfAttention(const LongformerConfig& c, std::int64_t layer, Here here)
    : Module(here),
      config(c),
      window(AttentionPattern::sliding_window(c.windows[static_cast<std::size_t>(layer)])),
      query(child<Linear>("query", c.d_model, c.d_model)),
      key(child<Linear>("key", c.d_model, c.d_model)),
      value(child<Linear>("value", c.d_model, c.d_model)),
      query_global(child<Linear>("query_global", c.d_model, c.d_model)),
      key_global(child<Linear>("key_global", c.d_model, c.d_model)),
      value_global(child<Linear>("value_global", c.d_model, c.d_model)) {}

Tensor Longformer::SelfAttention::operator()(const Tensor& input, const Sight& sight, Here here) const {
  const Scope scope(*this, "SelfAttention", here);
  const Tensor& x = scope.in(input);
  AttentionOptions o{.pattern = sight.has_global ? window | sight.global_keys : window,
                     .dropout = training() ? config.attention_dropout : 0};
  o.pattern = o.pattern & sight.by_ordinary;
  const Tensor y = multihead_attention(query(x), key(x), value(x), config.heads, o).output;
  if (!sight.has_global) return scope.out(y);
  o.pattern = sight.by_global;
  return scope.out(y + multihead_attention(query_global(x), key_global(x), value_global(x), config.heads, o).output);
}

template struct BertLayer<Longformer::SelfAttention>;

Longformer::Encoder::Encoder(const LongformerConfig& c, Here here)
    : Module(here),
      config(c),
      embeddings(child<Embeddings>("embeddings", c)),
      layers(child<ModuleList<Layer>>("encoder.layer")) {
  for (std::int64_t i = 0; i < c.layers; ++i) layers.add(c, i);
  if (c.heads_on_top == BertHeads::none || c.heads_on_top == BertHeads::choices)
    pooler = &child<Linear>("pooler.dense", c.d_model, c.d_model, LinearOptions{.activation = Activation::tanh});
}

Tensor Longformer::Encoder::operator()(const Tensor& tokens, const Tensor& types, const Sight& sight, Here here) const {
  const Scope scope(*this, "Encoder", here);
  Tensor x = embeddings(scope.in(tokens), types);
  for (const Layer* layer : layers) x = (*layer)(x, sight);
  return scope.out(x);
}

Longformer::WordHead::WordHead(const LongformerConfig& c, Here here)
    : Module(here),
      config(c),
      bias(parameter("bias", zeros({c.vocabulary}))),
      dense(child<Linear>("dense", c.d_model, c.d_model, LinearOptions{.activation = Activation::gelu})),
      norm(child<LayerNorm>("layer_norm", c.d_model, LayerNormOptions{.eps = c.eps})) {
  if (!c.tied) decoder = &child<Linear>("decoder", c.d_model, c.vocabulary, LinearOptions{.bias = false});
}

Tensor Longformer::WordHead::operator()(const Tensor& hidden, const Tensor& embedding, Here here) const {
  const Scope scope(*this, "WordHead", here);
  return scope.out(linear(norm(dense(scope.in(hidden))), decoder ? decoder->weight : embedding, bias));
}

Longformer::Longformer(const LongformerConfig& c, Here here)
    : Module(here), config(checked({"Longformer", *this}, c)), longformer(child<Encoder>("longformer", config)) {
  const auto classes = static_cast<std::int64_t>(config.labels.size());
  switch (config.heads_on_top) {
    case BertHeads::masked_words: words = &child<WordHead>("lm_head", config); break;
    case BertHeads::sequence_labels:
      sequence_classifier =
          &child<BertClassifier>("classifier", config.d_model, classes, Activation::tanh, config.dropout);
      break;
    case BertHeads::token_labels:
    case BertHeads::choices:
      dropout = &child<Dropout>("dropout", config.dropout);
      classifier = &child<Linear>("classifier", config.d_model,
                                  config.heads_on_top == BertHeads::choices ? std::int64_t{1} : classes);
      break;
    case BertHeads::spans: spans = &child<Linear>("qa_outputs", config.d_model, 2); break;
    default: break;
  }
  normal_weights_(*this, config.std);
  for (const Embedding* e : {&longformer.embeddings.words, &longformer.embeddings.positions})
    init::zeros_(select(e->weight.detach(), 0, config.padding_token));
}

/// Undefined: none.
Tensor Longformer::usual_global(const Tensor& tokens, Here here) const {
  const Tensor places = arange(tokens.size(1));
  if (config.heads_on_top == BertHeads::sequence_labels) return expand(unsqueeze(eq(places, 0), 0), tokens.shape());
  if (config.heads_on_top != BertHeads::spans && config.heads_on_top != BertHeads::choices) return {};
  const Tensor separators = eq(tokens, config.separator), passed = cumsum(attune::to(separators, DType::int64), 1);
  // Otherwise all tokens would be global, unnoticed.
  if (const Tensor without = eq(sum(attune::to(separators, DType::int64), {1}), 0); any(without))
    throw ValueError("Longformer: sequence " +
                         std::to_string(argmax(attune::to(without, DType::int64)).item<std::int64_t>()) +
                         " has no separator " + std::to_string(config.separator) +
                         ", by which its global tokens are found; give global_tokens",
                     here);
  if (config.heads_on_top == BertHeads::spans) return eq(passed, 0);
  // Two separators stand side by side between the parts.
  const Tensor first = argmax(attune::to(separators, DType::int64), 1, true);
  return gt(places, first + 1);
}

BertResult Longformer::operator()(const Tensor& input, const LongformerCall& call, Here here) const {
  const Scope scope(*this, "Longformer", here);
  const Tensor& tokens = scope.in(input);
  hidden_keys("Longformer", tokens, call.key_padding_mask, here);
  const std::int64_t most = config.positions - config.padding_token - 1;
  if (tokens.size(1) > most)
    throw ShapeError("Longformer: a sequence of " + std::to_string(tokens.size(1)) + " is longer than the " +
                         std::to_string(most) + " positions for it",
                     here);
  detail::check_beside_tokens("Longformer", "token_types", call.token_types, tokens, here);
  detail::check_beside_tokens("Longformer", "global_tokens", call.global_tokens, tokens, here);
  Tensor padding = call.key_padding_mask, global = call.global_tokens;
  if (global.defined() && global.dtype() != DType::boolean)
    throw DTypeError(std::string("Longformer: global_tokens must be bool, got ") + name_of(global.dtype()), here);
  if (!global.defined()) global = usual_global(tokens, here);
  if (padding.defined() && !any(padding)) padding = {};
  if (global.defined() && padding.defined()) global = logical_and(global, logical_not(padding));
  if (global.defined() && !any(global)) global = {};
  BertResult r;
  r.hidden = longformer(tokens, call.token_types, Sight(padding, global));
  if (longformer.pooler) r.pooled = (*longformer.pooler)(select(r.hidden, 1, 0));
  if (words) r.words = (*words)(r.hidden, longformer.embeddings.words.weight);
  if (sequence_classifier) r.labels = (*sequence_classifier)(select(r.hidden, 1, 0));
  if (classifier) r.labels = (*classifier)((*dropout)(r.pooled.defined() ? r.pooled : r.hidden));
  if (spans) r.spans = (*spans)(r.hidden);
  scope.out_parts(r.hidden, r.pooled, r.words, r.labels, r.spans);
  return r;
}

Tensor Longformer::loss(const BertResult& result, const BertTargets& targets, Reduction reduction, Here here) const {
  const Scope scope(*this, "Longformer", here, Scope::no_call);
  return detail::bert_loss("Longformer", config.heads_on_top, config.problem, result, targets, reduction, here);
}

void Longformer::load_published(const std::string& path, Here here) {
  detail::Published file(path, "longformer", here);
  detail::under(file, "longformer.", {"lm_head.", "classifier.", "qa_outputs."});
  if (!longformer.pooler) file.leave_out("longformer.pooler.");
  if (!words) file.leave_out("lm_head.");
  if (!classifier && !sequence_classifier) file.leave_out("classifier.");
  if (!spans) file.leave_out("qa_outputs.");
  if (words && config.tied) file.drop_copy("lm_head.decoder.weight", "longformer.embeddings.word_embeddings.weight");
  if (words) file.drop_copy("lm_head.decoder.bias", "lm_head.bias");
  file.load_into(*this, "longformer.embeddings.word_embeddings.weight");
}

void Longformer::save_published(const std::string& path, Here here) const {
  detail::save_published(*this, path, here, config.heads_on_top == BertHeads::none ? "longformer." : "");
}

namespace {

std::vector<detail::ConfigEntry> table(detail::InFile<LongformerConfig>& f) {
  using namespace detail;
  std::vector<ConfigEntry> all = bert_entries(f);
  const ConfigEntry own[] = {{"model_type", Only{"\"longformer\""}},
                             {"attention_window", Wholes{&f.c.windows}},
                             {"sep_token_id", Token{&f.c.separator}, Key::optional},
                             {"position_embedding_type", Only{"\"absolute\""}},
                             {"is_decoder", Only{"false"}},
                             {"attention_mode", NoEffect{}},  // of the first, separate implementation
                             {"ignore_attention_mask", NoEffect{}},
                             {"onnx_export", NoEffect{}}};
  all.insert(all.begin(), std::begin(own), std::end(own));
  return all;
}

}  // namespace

LongformerConfig longformer_config_from_file(const std::string& path, Here here) {
  detail::InFile<LongformerConfig> f;
  LongformerConfig& c = f.c;
  c.labels.clear();
  c.windows.clear();
  detail::read_config(path, table(f), here);
  detail::take_bert_entries(f, path, heads, here);
  if (c.windows.size() > 1 && c.windows.size() != static_cast<std::size_t>(c.layers))
    throw FileError(path + ": \"attention_window\" has " + std::to_string(c.windows.size()) + " numbers for the " +
                        std::to_string(c.layers) + " layers of \"num_hidden_layers\"",
                    here);
  for (const std::int64_t w : c.windows)
    if (w % 2 != 0) throw FileError(path + ": \"attention_window\" is " + std::to_string(w) + ", not even", here);
  return c;
}

void save_config(const std::string& path, const LongformerConfig& config, Here here) {
  auto f = detail::in_file(config, heads);
  detail::write_config(path, table(f), here);
}

}  // namespace attune::nn
