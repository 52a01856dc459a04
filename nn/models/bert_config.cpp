// A BERT's config.json, read and written.

#include "nn/models/internal/bert_like.h"

namespace attune::nn {

namespace {

const detail::Names<BertHeads> heads{{"BertModel", BertHeads::none},
                                     {"BertForPreTraining", BertHeads::pretraining},
                                     {"BertForMaskedLM", BertHeads::masked_words},
                                     {"BertLMHeadModel", BertHeads::next_word},
                                     {"BertForNextSentencePrediction", BertHeads::next_sentence},
                                     {"BertForSequenceClassification", BertHeads::sequence_labels},
                                     {"BertForTokenClassification", BertHeads::token_labels},
                                     {"BertForQuestionAnswering", BertHeads::spans},
                                     {"BertForMultipleChoice", BertHeads::choices}};
const detail::Names<BertPositions> position_kinds{{"absolute", BertPositions::absolute},
                                                  {"relative_key", BertPositions::relative_key},
                                                  {"relative_key_query", BertPositions::relative_key_query}};

std::vector<detail::ConfigEntry> table(detail::InFile<BertConfig>& f, std::string& position_kind) {
  using namespace detail;
  std::vector<ConfigEntry> all = bert_entries(f);
  const ConfigEntry own[] = {{"model_type", Only{"\"bert\""}},
                             {"is_decoder", &f.c.causal, Key::optional},
                             {"position_embedding_type", &position_kind, Key::optional},
                             // A pooler that is no published code's.
                             {"directionality", NoEffect{}},
                             {"pooler_fc_size", NoEffect{}},
                             {"pooler_num_attention_heads", NoEffect{}},
                             {"pooler_num_fc_layers", NoEffect{}},
                             {"pooler_size_per_head", NoEffect{}},
                             {"pooler_type", NoEffect{}}};
  all.insert(all.begin(), std::begin(own), std::end(own));
  return all;
}

}  // namespace

BertConfig bert_config_from_file(const std::string& path, Here here) {
  detail::InFile<BertConfig> f;
  std::string position_kind = "absolute";
  f.c.labels.clear();
  detail::read_config(path, table(f, position_kind), here);
  f.c.position_kind = detail::value_of(position_kinds, path, "position_embedding_type", position_kind, here);
  detail::take_bert_entries(f, path, heads, here);
  return f.c;
}

void save_config(const std::string& path, const BertConfig& config, Here here) {
  detail::InFile<BertConfig> f = detail::in_file(config, heads);
  std::string position_kind = detail::name_of(position_kinds, config.position_kind);
  detail::write_config(path, table(f, position_kind), here);
}

}  // namespace attune::nn
