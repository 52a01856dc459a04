// Longformer and BigBird, which give the same results as BERT.
#include "tests/reference/model_case.h"

namespace attune::tests {

namespace {

/// [b, c, n] of several choices as rows [b c, n]; others stay.
Tensor as_rows(const Tensor& x) { return x.defined() && x.rank() == 3 ? flatten(x, 0, 1) : x; }

/// Outputs under the names that each class has for them, and the loss of the labels.
template <class Model>
void check_heads(ModelCase& c, const Model& model, const nn::BertResult& y, const std::string& top) {
  std::map<std::string, Tensor> outputs;
  nn::BertTargets targets;
  const Tensor labels = c.input("labels"), next = c.input("next_sentence_label");
  std::string prefix;
  switch (model.config.heads_on_top) {
    case nn::BertHeads::none:
      outputs = {{"last_hidden_state", y.hidden}, {"pooler_output", y.pooled}};
      prefix = top;
      break;
    case nn::BertHeads::pretraining:
      outputs = {{"prediction_logits", y.words}, {"seq_relationship_logits", y.next_sentence}};
      targets = {.words = labels, .next_sentence = next};
      break;
    case nn::BertHeads::masked_words:
    case nn::BertHeads::next_word:
      outputs = {{"logits", y.words}};
      targets = {.words = labels};
      break;
    case nn::BertHeads::spans:
      outputs = {{"start_logits", select(y.spans, 2, 0)}, {"end_logits", select(y.spans, 2, 1)}};
      targets = {.starts = c.input("start_positions"), .ends = c.input("end_positions")};
      break;
    case nn::BertHeads::choices:
      outputs = {{"logits", labels.defined() ? reshape(y.labels, {labels.size(0), -1}) : y.labels}};
      targets = {.labels = labels};
      break;
    default: outputs = {{"logits", y.labels}}; targets = {.labels = labels};
  }
  for (const auto& [name, output] : outputs) c.check_output(name, output);
  const bool given = targets.words.defined() || targets.next_sentence.defined() || targets.labels.defined() ||
                     targets.starts.defined();
  c.check_backward(model, given ? model.loss(y, targets) : Tensor(), outputs, prefix);
}

template <class Encoder>
Taps tapped(Encoder& encoder) {
  const auto layers = static_cast<std::size_t>(encoder.config.layers);
  Taps taps(layers + 1);
  for (std::size_t i = 0; i < layers; ++i) taps.input_of(encoder.layers[i], i);
  taps.output_of(encoder.layers[layers - 1], layers);
  return taps;
}

Tensor hidden(const Tensor& mask) { return mask.defined() ? eq(as_rows(mask), 0) : Tensor(); }

}  // namespace

void check_longformer(ModelCase& c) {
  nn::Longformer model(nn::longformer_config_from_file(c.config_path()));
  model.load_published(c.weights_path());
  model.eval();
  const Taps taps = tapped(model.longformer);
  const Tensor global = as_rows(c.input("global_attention_mask"));
  const nn::BertResult y =
      model(as_rows(c.required("input.input_ids")), {.token_types = as_rows(c.input("token_type_ids")),
                                                     .key_padding_mask = hidden(c.input("attention_mask")),
                                                     .global_tokens = global.defined() ? ne(global, 0) : Tensor()});
  c.check_hidden_states(taps.seen());
  check_heads(c, model, y, "longformer.");
}

void check_bigbird(ModelCase& c) {
  nn::BigBird model(nn::bigbird_config_from_file(c.config_path()));
  model.load_published(c.weights_path());
  model.eval();
  const Taps taps = tapped(model.bert);
  nn::BigBirdCall call{.token_types = as_rows(c.input("token_type_ids")),
                       .key_padding_mask = hidden(c.input("attention_mask")),
                       .random_blocks = {}};
  for (std::int64_t i = 0; i < model.config.layers; ++i)
    if (const Tensor blocks = c.input("random_blocks." + std::to_string(i)); blocks.defined())
      call.random_blocks.push_back(blocks);
  const nn::BertResult y = model(as_rows(c.required("input.input_ids")), call);
  c.check_hidden_states(taps.seen());
  check_heads(c, model, y, "bert.");
}

}  // namespace attune::tests
