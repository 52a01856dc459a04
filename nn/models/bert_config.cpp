// A BERT's config.json, read and written.

#include "autograd/runtime/error.h"
#include "nn/models/bert.h"
#include "nn/models/internal/config_json.h"

namespace attune::nn {

namespace {

template <class Enum>
using Names = std::vector<std::pair<const char*, Enum>>;

const Names<BertHeads> heads{{"BertModel", BertHeads::none},
                             {"BertForPreTraining", BertHeads::pretraining},
                             {"BertForMaskedLM", BertHeads::masked_words},
                             {"BertLMHeadModel", BertHeads::next_word},
                             {"BertForNextSentencePrediction", BertHeads::next_sentence},
                             {"BertForSequenceClassification", BertHeads::sequence_labels},
                             {"BertForTokenClassification", BertHeads::token_labels}};
const Names<BertPositions> position_kinds{{"absolute", BertPositions::absolute},
                                          {"relative_key", BertPositions::relative_key},
                                          {"relative_key_query", BertPositions::relative_key_query}};
const Names<BertProblem> problems{{"", BertProblem::by_labels},
                                  {"regression", BertProblem::regression},
                                  {"single_label_classification", BertProblem::one_label},
                                  {"multi_label_classification", BertProblem::several_labels}};

/// A configuration beside what its file says in other forms.
struct InFile {
  BertConfig c{};
  std::vector<std::string> classes{};
  std::string position_kind = "absolute", problem{};
  std::int64_t label_count = 0;
};

std::vector<detail::ConfigEntry> table(InFile& f) {
  using namespace detail;
  constexpr std::int64_t most_labels = 1'000'000;
  BertConfig& c = f.c;
  return {{"model_type", Only{"\"bert\""}},
          {"architectures", &f.classes, Key::optional},
          {"vocab_size", Whole{&c.vocabulary}},
          {"max_position_embeddings", Whole{&c.positions}},
          {"type_vocab_size", Whole{&c.token_types}},
          {"hidden_size", Whole{&c.d_model}},
          {"intermediate_size", Whole{&c.d_ff}},
          {"num_attention_heads", Whole{&c.heads}},
          {"num_hidden_layers", Whole{&c.layers, 1, most_layers}},
          {"hidden_act", &c.activation},
          {"hidden_dropout_prob", Number{&c.dropout}},
          {"attention_probs_dropout_prob", Number{&c.attention_dropout}},
          {"classifier_dropout", Number{&c.classifier_dropout}, Key::optional},
          {"layer_norm_eps", Number{&c.eps}, Key::optional},  // older files do not say it
          {"initializer_range", Number{&c.std, 0, most_std}},
          {"pad_token_id", Token{&c.padding_token}, Key::optional},
          {"tie_word_embeddings", &c.tied, Key::optional},
          {"is_decoder", &c.causal, Key::optional},
          {"position_embedding_type", &f.position_kind, Key::optional},
          {"problem_type", &f.problem, Key::optional},
          {"id2label", Labels{&c.labels}, Key::optional},
          {"num_labels", Whole{&f.label_count, 1, most_labels}, Key::optional},
          // Pieces in which the same is computed, and a pooler that is no published code's.
          {"chunk_size_feed_forward", NoEffect{}},
          {"directionality", NoEffect{}},
          {"pooler_fc_size", NoEffect{}},
          {"pooler_num_attention_heads", NoEffect{}},
          {"pooler_num_fc_layers", NoEffect{}},
          {"pooler_size_per_head", NoEffect{}},
          {"pooler_type", NoEffect{}}};
}

template <class Enum>
std::string name_of(const Names<Enum>& names, Enum value) {
  for (const auto& [name, each] : names)
    if (each == value) return name;
  return "";
}

}  // namespace

BertConfig bert_config_from_file(const std::string& path, Here here) {
  InFile f;
  BertConfig& c = f.c;
  c.labels.clear();
  detail::read_config(path, table(f), here);
  const auto refuse = [&](const std::string& what) { throw FileError(path + ": " + what, here); };
  const auto find = [&](const auto& names, const char* key, const std::string& wanted, auto& member) {
    std::string known;
    for (const auto& [name, value] : names) {
      if (wanted == name) {
        member = value;
        return;
      }
      if (*name) known += (known.empty() ? "" : ", ") + std::string(name);
    }
    refuse(std::string("\"") + key + "\" is \"" + wanted + "\", not one of " + known);
  };
  find(position_kinds, "position_embedding_type", f.position_kind, c.position_kind);
  find(problems, "problem_type", f.problem, c.problem);
  if (f.classes.size() > 1) refuse("\"architectures\" has " + std::to_string(f.classes.size()) + " classes, not one");
  if (!f.classes.empty()) find(heads, "architectures", f.classes[0], c.heads_on_top);
  if (c.d_model % c.heads != 0)
    refuse("\"num_attention_heads\" is " + std::to_string(c.heads) + ", which does not divide the " +
           std::to_string(c.d_model) + " of \"hidden_size\"");
  if (c.padding_token >= c.vocabulary)
    refuse("\"pad_token_id\" is " + std::to_string(c.padding_token) + ", which is not below the " +
           std::to_string(c.vocabulary) + " of \"vocab_size\"");
  const auto named = static_cast<std::int64_t>(c.labels.size());
  if (named > 0 && f.label_count > 0 && named != f.label_count)
    refuse("\"num_labels\" is " + std::to_string(f.label_count) + ", not " + std::to_string(named) +
           " as \"id2label\" says");
  if (named == 0)
    for (std::int64_t i = 0; i < (f.label_count > 0 ? f.label_count : 2); ++i)
      c.labels.push_back("LABEL_" + std::to_string(i));
  return c;
}

void save_config(const std::string& path, const BertConfig& config, Here here) {
  InFile f{.c = config};
  f.classes = {name_of(heads, config.heads_on_top)};
  f.position_kind = name_of(position_kinds, config.position_kind);
  f.problem = name_of(problems, config.problem);
  if (f.c.classifier_dropout == -1) f.c.classifier_dropout = f.c.dropout;
  detail::write_config(path, table(f), here);
}

}  // namespace attune::nn
