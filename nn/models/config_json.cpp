#include "nn/models/internal/config_json.h"

#include <cmath>
#include <fstream>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>

#include "autograd/runtime/error.h"

namespace attune::nn::detail {

namespace {

using nlohmann::json;

// Each reads a value into a member, or says what it should have been.

/// 12 and 12.0, since some tools keep every number as a double.
const char* read(const json& value, std::int64_t& member) {
  bool fits = value.is_number_integer();
  if (value.is_number_unsigned())
    fits = value.get<std::uint64_t>() <= std::uint64_t{std::numeric_limits<std::int64_t>::max()};
  if (value.is_number_float()) {
    const double v = value.get<double>();
    fits = std::abs(v) <= 0x1p53 && v == std::trunc(v);
  }
  if (!fits) return "a whole number of 64 bits";
  member = value.get<std::int64_t>();
  return nullptr;
}

const char* read(const json& value, double& member) {
  if (!value.is_number()) return "a number";
  member = value.get<double>();
  return nullptr;
}

const char* read(const json& value, bool& member) {
  if (!value.is_boolean()) return "true or false";
  member = value.get<bool>();
  return nullptr;
}

const char* read(const json& value, std::string& member) {
  if (!value.is_string()) return "a string";
  member = value.get<std::string>();
  return nullptr;
}

const char* read(const json& value, Activation& member) {
  static const std::map<std::string, Activation> known{{"relu", Activation::relu},          {"gelu", Activation::gelu},
                                                       {"gelu_new", Activation::gelu_tanh}, {"silu", Activation::silu},
                                                       {"swish", Activation::silu},         {"tanh", Activation::tanh},
                                                       {"sigmoid", Activation::sigmoid}};
  const auto at = value.is_string() ? known.find(value.get<std::string>()) : known.end();
  if (at == known.end()) return "an activation that is known";
  member = at->second;
  return nullptr;
}

template <class T>
const char* read(const json& value, std::vector<T>& member) {
  std::vector<T> list;
  for (const json& element : value.is_array() ? value : json::array({value}))
    if (const char* wanted = read(element, list.emplace_back())) return wanted;
  member = std::move(list);
  return nullptr;
}

}  // namespace

void read_config(const std::string& path, const std::vector<ConfigEntry>& table, Here here) {
  std::ifstream file(path);
  if (!file) throw FileError(path + ": cannot be opened", here);
  const json config = json::parse(file, nullptr, false);
  if (!config.is_object()) throw FileError(path + ": is not a JSON object", here);
  for (const ConfigEntry& entry : table) {
    const std::string key = std::string("\"") + entry.name + "\"";
    const auto at = config.find(entry.name);
    if (entry.key == Key::optional && (at == config.end() || at->is_null())) continue;
    if (at == config.end()) throw FileError(path + ": " + key + " is missing", here);
    if (const char* wanted = std::visit([&](auto* member) { return read(*at, *member); }, entry.member))
      throw FileError(path + ": " + key + " is " + at->dump() + ", not " + wanted, here);
  }
}

}  // namespace attune::nn::detail
