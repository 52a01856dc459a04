#include "tests/reference/model_case.h"

namespace attune::tests {

void check_bert(ModelCase& c) {
  nn::Bert model(nn::bert_config_from_file(c.config_path()));
  model.load_published(c.weights_path());
  model.eval();
  const auto layers = static_cast<std::size_t>(model.config.layers);
  Taps taps(layers + 1);
  for (std::size_t i = 0; i < layers; ++i) taps.input_of(model.bert.layers[i], i);
  taps.output_of(model.bert.layers[layers - 1], layers);
  const nn::BertResult y = model(c.required("input.input_ids"), {.token_types = c.input("token_type_ids"),
                                                                 .key_padding_mask = c.padding(),
                                                                 .positions = c.input("position_ids")});
  c.check_hidden_states(taps.seen());

  // Outputs and labels under the names that each class has for them.
  std::map<std::string, Tensor> outputs;
  nn::BertTargets targets;
  const Tensor labels = c.input("labels"), next = c.input("next_sentence_label");
  switch (model.config.heads_on_top) {
    case nn::BertHeads::none: outputs = {{"last_hidden_state", y.hidden}, {"pooler_output", y.pooled}}; break;
    case nn::BertHeads::pretraining:
      outputs = {{"prediction_logits", y.words}, {"seq_relationship_logits", y.next_sentence}};
      targets = {.words = labels, .next_sentence = next};
      break;
    case nn::BertHeads::masked_words:
    case nn::BertHeads::next_word:
      outputs = {{"logits", y.words}};
      targets = {.words = labels};
      break;
    case nn::BertHeads::next_sentence:
      outputs = {{"logits", y.next_sentence}};
      targets = {.next_sentence = labels.defined() ? labels : next};
      break;
    default: outputs = {{"logits", y.labels}}; targets = {.labels = labels};
  }
  for (const auto& [name, output] : outputs) c.check_output(name, output);
  const bool given = targets.words.defined() || targets.next_sentence.defined() || targets.labels.defined();
  c.check_backward(model, given ? model.loss(y, targets) : Tensor(), outputs,
                   model.config.heads_on_top == nn::BertHeads::none ? "bert." : "");
}

}  // namespace attune::tests
