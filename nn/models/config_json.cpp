#include "nn/models/internal/config_json.h"

#include <cmath>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <string_view>

#include "autograd/io/file.h"
#include "autograd/runtime/error.h"

namespace attune::nn::detail {

namespace {

using nlohmann::json;

/// Keys of any model's configuration that say nothing about what it computes: how to generate text, which tokens are
/// special, what labels are called, what to return, by which program the file was written.
const std::set<std::string_view>& of_every_model() {
  static const std::set<std::string_view> keys{
      // generation
      "bad_words_ids", "begin_suppress_tokens", "decoder_start_token_id", "diversity_penalty", "do_sample",
      "early_stopping", "encoder_no_repeat_ngram_size", "exponential_decay_length_penalty", "forced_bos_token_id",
      "forced_eos_token_id", "length_penalty", "max_length", "min_length", "no_repeat_ngram_size", "num_beam_groups",
      "num_beams", "num_return_sequences", "output_scores", "prefix", "remove_invalid_values", "repetition_penalty",
      "return_dict_in_generate", "suppress_tokens", "temperature", "top_k", "top_p", "typical_p",
      // tokens and tasks
      "bos_token_id", "classifier_dropout", "eos_token_id", "finetuning_task", "id2label", "label2id", "num_labels",
      "_num_labels", "pad_token_id", "problem_type", "sep_token_id", "task_specific_params", "tokenizer_class",
      // outputs, storage and programs
      "_attn_implementation", "_attn_implementation_autoset", "_commit_hash", "_name_or_path", "architectures",
      "attn_implementation", "dtype", "gradient_checkpointing", "name_or_path", "output_attentions",
      "output_hidden_states", "output_past", "return_dict", "tf_legacy_loss", "torch_dtype", "torchscript",
      "transformers_version", "use_bfloat16", "use_cache"};
  return keys;
}

/// Keys of any model's configuration that do say something, with the one value that models here have.
const std::map<std::string_view, const char*>& fixed_for_every_model() {
  static const std::map<std::string_view, const char*> keys{{"add_cross_attention", "false"},
                                                            {"cross_attention_hidden_size", "null"},
                                                            {"is_encoder_decoder", "false"},
                                                            {"pruned_heads", "{}"},
                                                            {"tie_encoder_decoder", "false"}};
  return keys;
}

/// A value for a message: short, and, because printing recurses, without what is nested.
std::string shown(const json& value) {
  constexpr std::size_t most = 80;
  if (value.is_object()) return value.empty() ? "{}" : "{...}";
  if (value.is_array())
    for (const json& element : value)
      if (element.is_structured()) return "[...]";
  std::string text = value.dump(-1, ' ', true, json::error_handler_t::replace);
  if (text.size() > most) text = text.substr(0, most) + "...";
  return text;
}

// Each reads a value, or says what it should have been.

/// 12 and 12.0, since some tools keep every number as a double.
bool read_whole(const json& value, std::int64_t least, std::int64_t most, std::int64_t& member) {
  if (value.is_number_unsigned() &&
      value.get<std::uint64_t>() > std::uint64_t{std::numeric_limits<std::int64_t>::max()})
    return false;
  if (value.is_number_float()) {
    const double v = value.get<double>();
    if (!(std::abs(v) <= 0x1p53 && v == std::trunc(v))) return false;
  } else if (!value.is_number_integer()) {
    return false;
  }
  const auto v = value.get<std::int64_t>();
  if (v < least || v > most) return false;
  member = v;
  return true;
}

std::string whole_number(std::int64_t least, std::int64_t most) {
  return "a whole number from " + std::to_string(least) + " to " + std::to_string(most);
}

std::string read(const json& value, const Whole& to) {
  return read_whole(value, to.least, to.most, *to.member) ? "" : whole_number(to.least, to.most);
}

std::string read(const json& value, const Token& to) {
  if (value.is_null()) *to.member = -1;
  return value.is_null() || read_whole(value, -1, Whole{nullptr}.most, *to.member) ? "" : "the number of a token";
}

std::string read(const json& value, const Wholes& to) {
  const Whole range{nullptr};
  std::vector<std::int64_t> list;
  for (const json& element : value.is_array() ? value : json::array({value}))
    if (!read_whole(element, range.least, range.most, list.emplace_back()))
      return whole_number(range.least, range.most) + ", or a list of them";
  *to.member = std::move(list);
  return "";
}

std::string read(const json& value, const Number& to) {
  const double v = value.is_number() ? value.get<double>() : std::numeric_limits<double>::quiet_NaN();
  if (!(v >= to.least && v <= to.most)) {
    const auto number = [](double x) { return json(x).dump(); };
    return "a number from " + number(to.least) + " to " + number(to.most);
  }
  *to.member = v;
  return "";
}

std::string read(const json& value, bool* member) {
  if (!value.is_boolean()) return "true or false";
  *member = value.get<bool>();
  return "";
}

/// Of several names of one activation the first is the one to write.
constexpr std::pair<const char*, Activation> activations[] = {
    {"relu", Activation::relu},           {"gelu", Activation::gelu},
    {"gelu_python", Activation::gelu},    {"gelu_new", Activation::gelu_tanh},
    {"gelu_fast", Activation::gelu_tanh}, {"gelu_pytorch_tanh", Activation::gelu_tanh},
    {"silu", Activation::silu},           {"swish", Activation::silu},
    {"tanh", Activation::tanh},           {"sigmoid", Activation::sigmoid},
    {"linear", Activation::none}};

std::string read(const json& value, Activation* member) {
  for (const auto& [name, activation] : activations)
    if (value == name) {
      *member = activation;
      return "";
    }
  return "an activation that is known";
}

/// Its name, null if it has none.
json named(Activation activation) {
  for (const auto& [name, known] : activations)
    if (known == activation) return name;
  return nullptr;  // none so far
}

constexpr std::string_view gate = "gated-";

std::string read(const json& value, const Gated& to) {
  const std::string name = value.is_string() ? value.get<std::string>() : "";
  const bool gated = name.starts_with(gate);
  const json inner = !gated ? value : name == "gated-gelu" ? json("gelu_new") : json(name.substr(gate.size()));
  if (!read(inner, to.activation).empty()) return "an activation that is known, with or without \"gated-\" before it";
  *to.gated = gated;
  return "";
}

std::string read(const json& value, std::string* member) {
  if (!value.is_string()) return "a string";
  *member = value.get<std::string>();
  return "";
}

std::string read(const json& value, std::vector<std::string>* member) {
  std::vector<std::string> list;
  for (const json& element : value.is_array() ? value : json::array({value})) {
    if (!element.is_string()) return "a string, or a list of them";
    list.push_back(element.get<std::string>());
  }
  *member = std::move(list);
  return "";
}

std::string read(const json& value, const Labels& to) {
  const std::string wanted = "an object of class numbers from 0 on and their names";
  if (!value.is_object() || value.empty()) return wanted;
  std::vector<std::string> names;
  for (std::size_t i = 0; i < value.size(); ++i) {
    const auto at = value.find(std::to_string(i));
    if (at == value.end() || !at->is_string()) return wanted;
    names.push_back(at->get<std::string>());
  }
  *to.member = std::move(names);
  return "";
}

std::string read(const json& value, const Only& only) {
  const json expected = json::parse(only.value);
  return value.is_null() || value == expected ? "" : shown(expected) + ", which is all that this model has";
}

std::string read(const json& value, const Same& same) {
  std::string says;
  bool equal = value.is_null();
  if (const auto* const* whole = std::get_if<const std::int64_t*>(&same.member)) {
    std::int64_t v = 0;
    says = std::to_string(**whole);
    equal |= read_whole(value, 0, std::numeric_limits<std::int64_t>::max(), v) && v == **whole;
  } else if (const auto* const* flag = std::get_if<const bool*>(&same.member)) {
    says = **flag ? "true" : "false";
    equal |= value == **flag;
  } else {
    Activation v{};
    const Activation expected = *std::get<const Activation*>(same.member);
    says = shown(named(expected));
    equal |= read(value, &v).empty() && v == expected;
  }
  return equal ? "" : says + " as \"" + same.other + "\" says";
}

std::string read(const json&, NoEffect) { return ""; }

// Each gives a member's value as JSON, null for none; what read() would refuse is found by asking it.

json written(const Whole& from, bool optional) {
  return optional && *from.member == 0 && from.least > 0 ? json() : json(*from.member);
}
json written(const Token& from, bool) { return *from.member == -1 ? json() : json(*from.member); }
json written(const Wholes& from, bool) {
  if (from.member->empty()) return nullptr;
  return from.member->size() == 1 ? json(from.member->front()) : json(*from.member);
}
json written(const Number& from, bool) { return *from.member; }
json written(const bool* from, bool) { return *from; }
json written(const Activation* from, bool) { return named(*from); }
json written(const Gated& from, bool) {
  if (!*from.gated) return named(*from.activation);
  if (*from.activation == Activation::gelu_tanh) return "gated-gelu";
  if (*from.activation == Activation::gelu) return "gated-gelu_python";
  return std::string(gate) + named(*from.activation).get<std::string>();
}
json written(const std::string* from, bool optional) { return optional && from->empty() ? json() : json(*from); }
json written(const std::vector<std::string>* from, bool optional) {
  return optional && from->empty() ? json() : json(*from);
}
json written(const Labels& from, bool) {
  json names = json::object();
  for (std::size_t i = 0; i < from.member->size(); ++i) names[std::to_string(i)] = (*from.member)[i];
  return names;
}
json written(const Only& only, bool) { return json::parse(only.value); }
json written(const Same&, bool) { return nullptr; }
json written(const NoEffect& key, bool) { return key.written ? json::parse(key.written) : json(); }

/// The file as JSON, whose keys are there once; `fail` throws.
template <class Fail>
json parsed(const std::string& path, Here here, Fail&& fail) {
  constexpr std::int64_t most_bytes = std::int64_t{4} << 20;
  constexpr int most_levels = 64;
  const io::Input file(path, here);
  if (file.size() > most_bytes) fail("has " + std::to_string(file.size()) + " bytes, too many for a configuration");
  std::string text(static_cast<std::size_t>(file.size()), '\0');
  file.read(0, text.data(), file.size());
  std::set<std::string> seen;
  std::string twice;
  bool deep = false;
  const auto watch = [&](int depth, json::parse_event_t event, json& value) {
    deep |= depth > most_levels;
    if (depth == 1 && event == json::parse_event_t::key && !seen.insert(value.get<std::string>()).second)
      twice = value.get<std::string>();
    return !deep;
  };
  json config = json::parse(text, watch, false);
  if (deep) fail("nests deeper than " + std::to_string(most_levels) + " levels");
  if (!config.is_object()) fail("is not a JSON object");
  if (!twice.empty()) fail(shown(twice) + " is there twice");
  return config;
}

bool is_optional(const ConfigEntry& entry) {
  return entry.key == Key::optional || std::holds_alternative<Only>(entry.value) ||
         std::holds_alternative<Same>(entry.value) || std::holds_alternative<NoEffect>(entry.value);
}

}  // namespace

void read_config(const std::string& path, const std::vector<ConfigEntry>& table, Here here) {
  const auto fail = [&](const std::string& what) { throw FileError(path + ": " + what, here); };
  const json config = parsed(path, here, fail);
  std::set<std::string_view> known;
  const auto take = [&](const ConfigEntry& entry) {
    known.insert(entry.name);
    const std::string key = std::string("\"") + entry.name + "\"";
    const auto at = config.find(entry.name);
    const bool says_none = std::holds_alternative<Token>(entry.value);
    if (is_optional(entry) && (at == config.end() || (at->is_null() && !says_none))) return;
    if (at == config.end()) fail(key + " is missing");
    const std::string wanted = std::visit([&](const auto& value) { return read(*at, value); }, entry.value);
    if (!wanted.empty()) fail(key + " is " + shown(*at) + ", not " + wanted);
  };
  for (const ConfigEntry& entry : table) take(entry);
  for (const auto& [name, value] : fixed_for_every_model())
    if (!known.contains(name)) take({name.data(), Only{value}});
  for (const auto& [name, value] : config.items())
    if (!known.contains(name) && !of_every_model().contains(name))
      fail(shown(name) + " is no key that is known here; it may change what the model computes");
}

void write_config(const std::string& path, const std::vector<ConfigEntry>& table, Here here) {
  json config = json::object();
  const auto fail = [&](const ConfigEntry& entry, const std::string& what) {
    throw ValueError(std::string("save_config: \"") + entry.name + "\" would be " + what, here);
  };
  for (const ConfigEntry& entry : table) {
    const bool optional = entry.key == Key::optional;
    const json value = std::visit([&](const auto& from) { return written(from, optional); }, entry.value);
    if (value.is_null() && is_optional(entry) && !std::holds_alternative<Token>(entry.value)) continue;
    // Into the member that it comes from, so nothing changes.
    const std::string wanted = std::visit([&](const auto& to) { return read(value, to); }, entry.value);
    if (!wanted.empty()) fail(entry, shown(value) + ", not " + wanted);
    const auto [at, fresh] = config.emplace(entry.name, value);
    if (!fresh && *at != value) fail(entry, "both " + shown(*at) + " and " + shown(value));
    if (!std::holds_alternative<Labels>(entry.value)) continue;
    for (const auto& [number, name] : value.items()) config["label2id"][name.get<std::string>()] = std::stoll(number);
  }
  try {
    io::write_text(path, config.dump(2) + "\n", here);
  } catch (const json::type_error&) {
    throw ValueError("save_config: a text is not UTF-8", here);
  }
}

}  // namespace attune::nn::detail
