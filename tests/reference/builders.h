// Builds a module from a reference case: torch.nn's name and constructor arguments, and calls it on the case's inputs.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

#include "nn/nn.h"

namespace attune::tests {

/// A table whose every entry must be read.
template <class Value>
class Table {
 public:
  explicit Table(std::map<std::string, Value> values) : values_(std::move(values)) {}
  bool has(const std::string& name) const { return values_.contains(name); }
  const Value& operator[](const std::string& name) {
    const auto at = values_.find(name);
    if (at == values_.end()) throw std::runtime_error("the case has no " + name);
    read_.insert(name);
    return at->second;
  }
  std::vector<std::string> unread() const {
    std::vector<std::string> names;
    for (const auto& [name, value] : values_)
      if (!read_.contains(name)) names.push_back(name);
    return names;
  }

 private:
  std::map<std::string, Value> values_;
  std::set<std::string> read_;
};

/// torch.nn's arguments, with its defaults.
struct Config : Table<nlohmann::json> {
  using Table::Table;
  template <class T>
  T get(const std::string& name) {
    try {
      return (*this)[name].get<T>();
    } catch (const nlohmann::json::exception&) {
      fail(name, "not understood");
    }
  }
  template <class T>
  T get(const std::string& name, T otherwise) {
    return has(name) && !(*this)[name].is_null() ? get<T>(name) : otherwise;
  }
  std::int64_t integer(const std::string& name) { return get<std::int64_t>(name); }
  /// An integer, also where it is written as a list of one.
  std::int64_t single(const std::string& name, std::int64_t otherwise) {
    if (has(name) && (*this)[name].is_array() && (*this)[name].size() == 1)
      return get<std::vector<std::int64_t>>(name)[0];
    return get<std::int64_t>(name, otherwise);
  }
  /// For an entry of which only one value is understood, torch's default.
  void expect(const std::string& name, const nlohmann::json& value) {
    if (has(name) && (*this)[name] != value) fail(name, "not " + value.dump());
  }
  [[noreturn]] void fail(const std::string& name, const std::string& why) {
    throw std::runtime_error("the configuration's " + name + " is " + (*this)[name].dump() + ", " + why);
  }
};

struct Inputs : Table<Tensor> {
  using Table::Table;
  /// The first one of these names, undefined where there is none.
  Tensor any(const std::vector<std::string>& names) {
    for (const std::string& name : names)
      if (has(name)) return (*this)[name];
    return {};
  }
  Tensor needed(const std::vector<std::string>& names) {
    const Tensor x = any(names);
    return x.defined() ? x : (*this)[names[0]];
  }
};

/// A module and how to call it.
struct Built {
  std::unique_ptr<nn::Module> module;
  std::function<Tensors(Inputs&)> run;  ///< more outputs than the case has: it is of the last ones
};

// builders_attention.cpp: fast-transformers' linear attention, lucidrains' Performer and Linformer.
Built linear_attention_layer(Config& c);
Built causal_linear_attention_layer(Config& c);
Built fast_attention_layer(Config& c);
Built performer_self_attention_layer(Config& c);
Built linformer_self_attention_layer(Config& c);

// builders_seq2seq.cpp: OpenNMT-py's attention, and the models of pytorch-seq2seq, notebooks 1 to 4.
Built global_attention(Config& c);
Built pytorch_seq2seq_attention(Config& c);
Built pytorch_seq2seq_encoder(Config& c);
Built pytorch_seq2seq_decoder(Config& c);
Built pytorch_seq2seq(Config& c);
// builders_elmo.cpp: AllenNLP's parts of ELMo, and its bidirectional LSTM with highway connections.
Built elmo_character_encoder(Config& c);
Built elmo_lstm(Config& c);
Built lstm_cell_with_projection(Config& c);
Built scalar_mix(Config& c);
Built stacked_bidirectional_lstm(Config& c);

/// By torch.nn's name.
const std::map<std::string, Built (*)(Config&)>& builders();

}  // namespace attune::tests
