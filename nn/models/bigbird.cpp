#include "nn/models/bigbird.h"

#include <cmath>

#include "autograd/ops/create.h"
#include "autograd/ops/elementwise.h"
#include "autograd/ops/movement.h"
#include "autograd/ops/reduce.h"
#include "autograd/runtime/error.h"
#include "autograd/runtime/philox.h"
#include "nn/attention/multihead.h"
#include "nn/init.h"
#include "nn/models/internal/bert_layer.h"
#include "nn/models/internal/bert_like.h"

namespace attune::nn {

namespace {

const detail::Names<BertHeads> heads{{"BigBirdModel", BertHeads::none},
                                     {"BigBirdForPreTraining", BertHeads::pretraining},
                                     {"BigBirdForMaskedLM", BertHeads::masked_words},
                                     {"BigBirdForCausalLM", BertHeads::next_word},
                                     {"BigBirdForSequenceClassification", BertHeads::sequence_labels},
                                     {"BigBirdForTokenClassification", BertHeads::token_labels},
                                     {"BigBirdForQuestionAnswering", BertHeads::spans},
                                     {"BigBirdForMultipleChoice", BertHeads::choices}};

BigBirdConfig checked(const detail::Check& check, const BigBirdConfig& config) {
  BigBirdConfig c = detail::checked_sizes(check, config);
  check.at_least(1, c.block, "block");
  check.at_least(0, c.random_blocks, "random_blocks");
  if (detail::name_of(heads, c.heads_on_top).empty()) check.fail("has no such heads_on_top");
  return c;
}

/// x [b, n] with `value` behind it up to `length`; undefined stays so.
Tensor padded(const Tensor& x, std::int64_t length, double value) {
  return x.defined() ? pad(x, 1, 0, length - x.size(1), value) : x;
}

}  // namespace

BigBird::Embeddings::Embeddings(const BigBirdConfig& c, Here here)
    : Module(here),
      config(c),
      words(child<Embedding>("word_embeddings", c.vocabulary, c.d_model, {c.padding_token})),
      positions(child<Embedding>("position_embeddings", c.positions, c.d_model)),
      token_types(child<Embedding>("token_type_embeddings", c.token_types, c.d_model)),
      norm(child<LayerNorm>("LayerNorm", c.d_model, LayerNormOptions{.eps = c.eps})),
      dropout(child<Dropout>("dropout", c.dropout)) {}

Tensor BigBird::Embeddings::operator()(const Tensor& input, const Tensor& types, Here here) const {
  const Scope scope(*this, "Embeddings", here);
  const Tensor& tokens = scope.in(input);
  Tensor x = words(tokens);
  if (config.rescale_embeddings) x = x * std::sqrt(static_cast<double>(config.d_model));
  x = x + (types.defined() ? token_types(types) : select(token_types.weight, 0, 0));
  // The padding of the last block may stand behind the last position.
  const std::int64_t n = tokens.size(1);
  x = x +
      (n <= config.positions ? slice(positions.weight, 0, 0, n) : positions(minimum(arange(n), config.positions - 1)));
  return scope.out(norm(dropout(x)));
}

BigBird::Sight::Sight(const Tensor& padding, bool sparse_blocks, std::vector<Tensor> blocks)
    : sparse(sparse_blocks), random(std::move(blocks)) {
  if (!padding.defined()) return;
  unpadded = AttentionPattern::padding(padding);
  if (sparse) unpadded = unpadded & AttentionPattern::seeing_queries(padding);
}

BigBird::SelfAttention::SelfAttention(const BigBirdConfig& c, std::int64_t i, Here here)
    : Module(here),
      config(c),
      layer(i),
      query(child<Linear>("query", c.d_model, c.d_model, LinearOptions{.bias = c.attention_bias})),
      key(child<Linear>("key", c.d_model, c.d_model, LinearOptions{.bias = c.attention_bias})),
      value(child<Linear>("value", c.d_model, c.d_model, LinearOptions{.bias = c.attention_bias})) {}

Tensor BigBird::SelfAttention::operator()(const Tensor& input, const Sight& sight, Here here) const {
  const Scope scope(*this, "SelfAttention", here);
  const Tensor& x = scope.in(input);
  const std::int64_t n = x.size(1);
  AttentionOptions o{.causal = config.causal, .dropout = training() ? config.attention_dropout : 0};
  if (sight.sparse) {
    Generator fixed(static_cast<std::uint64_t>(layer));
    const Tensor chosen =
        sight.random.empty() ? AttentionPattern::draw_blocks(config.heads, config.random_blocks, config.block, n, fixed)
                             : sight.random[static_cast<std::size_t>(layer)];
    o.pattern = AttentionPattern::bigbird(chosen, config.block, n);
  }
  o.pattern = o.pattern & sight.unpadded;
  return scope.out(multihead_attention(query(x), key(x), value(x), config.heads, o).output);
}

template struct BertLayer<BigBird::SelfAttention>;

BigBird::Encoder::Encoder(const BigBirdConfig& c, Here here)
    : Module(here),
      config(c),
      embeddings(child<Embeddings>("embeddings", c)),
      layers(child<ModuleList<Layer>>("encoder.layer")) {
  for (std::int64_t i = 0; i < c.layers; ++i) layers.add(c, i);
  if (c.heads_on_top != BertHeads::spans)
    pooler = &child<Linear>("pooler", c.d_model, c.d_model, LinearOptions{.activation = Activation::tanh});
}

Tensor BigBird::Encoder::operator()(const Tensor& tokens, const Tensor& types, const Sight& sight, Here here) const {
  const Scope scope(*this, "Encoder", here);
  Tensor x = embeddings(scope.in(tokens), types);
  for (const Layer* layer : layers) x = (*layer)(x, sight);
  return scope.out(x);
}

BigBird::SpanHead::SpanHead(const BigBirdConfig& c, Here here)
    : Module(here),
      dropout(child<Dropout>("dropout", c.dropout)),
      up(child<Linear>("intermediate.dense", c.d_model, c.d_ff, LinearOptions{.activation = c.activation})),
      down(child<Linear>("output.dense", c.d_ff, c.d_model)),
      norm(child<LayerNorm>("output.LayerNorm", c.d_model, LayerNormOptions{.eps = c.eps})),
      outputs(child<Linear>("qa_outputs", c.d_model, 2)) {}

Tensor BigBird::SpanHead::operator()(const Tensor& input, Here here) const {
  const Scope scope(*this, "SpanHead", here);
  const Tensor& hidden = scope.in(input);
  return scope.out(outputs(norm(dropout(down(up(dropout(hidden)))) + hidden)));
}

BigBird::BigBird(const BigBirdConfig& c, Here here)
    : Module(here), config(checked({"BigBird", *this}, c)), bert(child<Encoder>("bert", config)) {
  const BertHeads on_top = config.heads_on_top;
  const auto classes = static_cast<std::int64_t>(config.labels.size());
  if (detail::has_words(on_top)) {
    const BertConfig head{.vocabulary = config.vocabulary,
                          .d_model = config.d_model,
                          .activation = config.activation,
                          .eps = config.eps,
                          .tied = config.tied};
    words = &child<Bert::WordHead>("cls.predictions", head);
  }
  if (on_top == BertHeads::pretraining) next_sentence = &child<Linear>("cls.seq_relationship", config.d_model, 2);
  if (on_top == BertHeads::sequence_labels)
    sequence_classifier =
        &child<BertClassifier>("classifier", config.d_model, classes, config.activation, config.classifier_dropout);
  if (on_top == BertHeads::token_labels || on_top == BertHeads::choices) {
    dropout = &child<Dropout>("dropout", config.classifier_dropout);
    classifier = &child<Linear>("classifier", config.d_model, on_top == BertHeads::choices ? std::int64_t{1} : classes);
  }
  if (on_top == BertHeads::spans) spans = &child<SpanHead>("qa_classifier", config);
  normal_weights_(*this, config.std);
  if (config.padding_token >= 0) init::zeros_(select(bert.embeddings.words.weight.detach(), 0, config.padding_token));
}

BertResult BigBird::operator()(const Tensor& input, const BigBirdCall& call, Here here) const {
  const Scope scope(*this, "BigBird", here);
  Tensor tokens = scope.in(input), types = call.token_types;
  hidden_keys("BigBird", tokens, call.key_padding_mask, here);
  const std::int64_t n = tokens.size(1);
  if (n > config.positions)
    throw ShapeError("BigBird: a sequence of " + std::to_string(n) + " is longer than the " +
                         std::to_string(config.positions) + " positions",
                     here);
  detail::check_beside_tokens("BigBird", "token_types", types, tokens, here);
  if (!call.random_blocks.empty() && call.random_blocks.size() != static_cast<std::size_t>(config.layers))
    throw ValueError("BigBird: random_blocks for " + std::to_string(call.random_blocks.size()) + " layers, not for " +
                         std::to_string(config.layers),
                     here);
  Tensor question;  // [b, n], of spans
  if (spans) {
    const Tensor last = argmax(attune::to(eq(tokens, config.separator), DType::int64), 1, true);
    question = le(arange(n), last);
    if (!types.defined() && config.token_types > 1) types = attune::to(logical_not(question), DType::int64);
  }
  Tensor padding = call.key_padding_mask;
  // More than (5 + 2 random_blocks) block tokens, without their product, which may overflow.
  const std::int64_t before_last = (n - 1) / config.block;
  const bool sparse = config.block_sparse && before_last >= 5 && (before_last - 5) / 2 >= config.random_blocks;
  if (sparse && config.causal)
    throw ValueError("BigBird: a causal model has full attention alone; set block_sparse = false", here);
  if (const std::int64_t rest = n % config.block; sparse && rest > 0) {
    const std::int64_t length = n + config.block - rest;
    padding = padded(padding.defined() ? padding : zeros(tokens.shape(), DType::boolean), length, 1);
    types = padded(types, length, 0);
    tokens = padded(tokens, length, static_cast<double>(std::max<std::int64_t>(config.padding_token, 0)));
  }
  if (padding.defined() && !any(padding)) padding = {};
  BertResult r;
  r.hidden = bert(tokens, types, Sight(padding, sparse, call.random_blocks));
  if (r.hidden.size(1) != n) r.hidden = slice(r.hidden, 1, 0, n);
  const BertHeads on_top = config.heads_on_top;
  if (on_top == BertHeads::none || on_top == BertHeads::pretraining || on_top == BertHeads::choices)
    r.pooled = (*bert.pooler)(select(r.hidden, 1, 0));
  if (words) r.words = (*words)(r.hidden, bert.embeddings.words.weight);
  if (next_sentence) r.next_sentence = (*next_sentence)(r.pooled);
  if (sequence_classifier) r.labels = (*sequence_classifier)(select(r.hidden, 1, 0));
  if (classifier) r.labels = (*classifier)((*dropout)(r.pooled.defined() ? r.pooled : r.hidden));
  if (spans) {  // no answer lies in the question; the first token says that there is none
    const Tensor no_answer = logical_and(question, ne(arange(n), 0));
    r.spans = (*spans)(r.hidden);
    r.spans = r.spans - 1e6 * attune::to(unsqueeze(no_answer, 2), r.spans.dtype());
  }
  scope.out_parts(r.hidden, r.pooled, r.words, r.next_sentence, r.labels, r.spans);
  return r;
}

Tensor BigBird::loss(const BertResult& result, const BertTargets& targets, Reduction reduction, Here here) const {
  const Scope scope(*this, "BigBird", here, Scope::no_call);
  return detail::bert_loss("BigBird", config.heads_on_top, config.problem, result, targets, reduction, here);
}

void BigBird::load_published(const std::string& path, Here here) {
  detail::Published file(path, "bert", here);  // its names are BERT's
  detail::under(file, "bert.", {"cls.", "classifier.", "qa_classifier."});
  if (!bert.pooler) file.leave_out("bert.pooler.");
  if (!next_sentence) file.leave_out("cls.seq_relationship.");
  if (!classifier && !sequence_classifier) file.leave_out("classifier.");
  if (!words) file.leave_out("cls.predictions.");
  if (!spans) file.leave_out("qa_classifier.");
  if (words && config.tied) file.drop_copy("cls.predictions.decoder.weight", "bert.embeddings.word_embeddings.weight");
  if (words) file.drop_copy("cls.predictions.decoder.bias", "cls.predictions.bias");
  file.load_into(*this, "bert.embeddings.word_embeddings.weight");
}

void BigBird::save_published(const std::string& path, Here here) const {
  detail::save_published(*this, path, here, config.heads_on_top == BertHeads::none ? "bert." : "");
}

namespace {

const detail::Names<bool> attention_types{{"block_sparse", true}, {"original_full", false}};

std::vector<detail::ConfigEntry> table(detail::InFile<BigBirdConfig>& f, std::string& attention) {
  using namespace detail;
  BigBirdConfig& c = f.c;
  std::vector<ConfigEntry> all = bert_entries(f);
  const ConfigEntry own[] = {{"model_type", Only{"\"big_bird\""}},
                             {"attention_type", &attention, Key::optional},
                             {"block_size", Whole{&c.block}, Key::optional},
                             {"num_random_blocks", Whole{&c.random_blocks, 0}, Key::optional},
                             {"rescale_embeddings", &c.rescale_embeddings, Key::optional},
                             {"use_bias", &c.attention_bias, Key::optional},
                             {"sep_token_id", Token{&c.separator}, Key::optional},
                             {"is_decoder", &c.causal, Key::optional},
                             {"position_embedding_type", Only{"\"absolute\""}}};
  all.insert(all.begin(), std::begin(own), std::end(own));
  return all;
}

}  // namespace

BigBirdConfig bigbird_config_from_file(const std::string& path, Here here) {
  detail::InFile<BigBirdConfig> f;
  std::string attention = "block_sparse";
  f.c.labels.clear();
  detail::read_config(path, table(f, attention), here);
  f.c.block_sparse = detail::value_of(attention_types, path, "attention_type", attention, here);
  detail::take_bert_entries(f, path, heads, here);
  return f.c;
}

void save_config(const std::string& path, const BigBirdConfig& config, Here here) {
  auto f = detail::in_file(config, heads);
  std::string attention = detail::name_of(attention_types, config.block_sparse);
  detail::write_config(path, table(f, attention), here);
}

}  // namespace attune::nn
