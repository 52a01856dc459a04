// What models of BERT's kind have in common besides their modules: checks, losses, files. Internal to nn/models.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "nn/internal/check.h"
#include "nn/models/bert.h"
#include "nn/models/internal/config_json.h"
#include "nn/models/internal/published.h"

namespace attune::nn::detail {

bool has_words(BertHeads heads);

/// Throws ShapeError under the model's name if what is given has not the tokens' shape.
void check_beside_tokens(const char* model, const char* what, const Tensor& given, const Tensor& tokens, Here here);

/// Bert::loss() for any model that gives a BertResult.
Tensor bert_loss(const char* model, BertHeads heads, BertProblem problem, const BertResult& result,
                 const BertTargets& targets, Reduction reduction, Here here);

/// Takes position numbers out of a file, and calls what has neither `top` nor the name of a head before it by `top`.
void under(Published& file, const std::string& top, const std::vector<std::string>& heads);

/// A configuration's sizes, those that all of them have; throws ValueError.
template <class C>
C checked_sizes(const Check& check, C c) {
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

// ---- configuration files

template <class Enum>
using Names = std::vector<std::pair<const char*, Enum>>;

/// A configuration beside what its file says in other forms.
template <class C>
struct InFile {
  C c{};
  std::vector<std::string> classes{};
  std::string problem{};
  std::int64_t label_count = 0;
};

/// The keys that all files of BERT's kind have.
template <class C>
std::vector<ConfigEntry> bert_entries(InFile<C>& f) {
  constexpr std::int64_t most_labels = 1'000'000;
  C& c = f.c;
  return {{"architectures", &f.classes, Key::optional},
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
          {"problem_type", &f.problem, Key::optional},
          {"id2label", Labels{&c.labels}, Key::optional},
          {"num_labels", Whole{&f.label_count, 1, most_labels}, Key::optional},
          {"chunk_size_feed_forward", NoEffect{}}};  // pieces in which the same is computed
}

const Names<BertProblem>& bert_problems();

/// The member that a file's word stands for; throws FileError that lists those there are.
template <class Enum>
Enum value_of(const Names<Enum>& names, const std::string& path, const char* key, const std::string& wanted,
              Here here) {
  std::string known;
  for (const auto& [name, value] : names) {
    if (wanted == name) return value;
    if (*name) known += (known.empty() ? "" : ", ") + std::string(name);
  }
  throw FileError(path + ": \"" + key + "\" is \"" + wanted + "\", not one of " + known, here);
}

template <class Enum>
std::string name_of(const Names<Enum>& names, Enum value) {
  for (const auto& [name, each] : names)
    if (each == value) return name;
  return "";
}

/// The rest of what bert_entries() read. Throws FileError.
template <class C>
void take_bert_entries(InFile<C>& f, const std::string& path, const Names<BertHeads>& heads, Here here) {
  C& c = f.c;
  const auto refuse = [&](const std::string& what) { throw FileError(path + ": " + what, here); };
  const auto text = [](auto n) { return std::to_string(n); };
  c.problem = value_of(bert_problems(), path, "problem_type", f.problem, here);
  if (f.classes.size() > 1) refuse("\"architectures\" has " + text(f.classes.size()) + " classes, not one");
  if (!f.classes.empty()) c.heads_on_top = value_of(heads, path, "architectures", f.classes[0], here);
  if (c.d_model % c.heads != 0)
    refuse("\"num_attention_heads\" is " + text(c.heads) + ", which does not divide the " + text(c.d_model) +
           " of \"hidden_size\"");
  if (c.padding_token >= c.vocabulary)
    refuse("\"pad_token_id\" is " + text(c.padding_token) + ", which is not below the " + text(c.vocabulary) +
           " of \"vocab_size\"");
  const auto named = static_cast<std::int64_t>(c.labels.size());
  if (named > 0 && f.label_count > 0 && named != f.label_count)
    refuse("\"num_labels\" is " + text(f.label_count) + ", not " + text(named) + " as \"id2label\" says");
  if (named == 0)
    for (std::int64_t i = 0; i < (f.label_count > 0 ? f.label_count : 2); ++i) c.labels.push_back("LABEL_" + text(i));
}

/// What write_config() takes.
template <class C>
InFile<C> in_file(const C& config, const Names<BertHeads>& heads) {
  InFile<C> f{.c = config};
  f.classes = {name_of(heads, config.heads_on_top)};
  f.problem = name_of(bert_problems(), config.problem);
  if (f.c.classifier_dropout == -1) f.c.classifier_dropout = f.c.dropout;
  return f;
}

}  // namespace attune::nn::detail
