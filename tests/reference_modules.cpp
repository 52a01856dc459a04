// Runs modules on reference cases and compares outputs and gradients: `reference_modules [DIR] [--case NAME]
// [--known-missing MODULE,...]`. A case is a safetensors file: its metadata names the module and its configuration, its
// tensors are weight.*, input.*, output.N, cotangent.N, grad.input.* and grad.weight.*, in float64. Agreement asked
// for: 1e-10 relative. A line for each failing case; the last line is "N passed, N failed".
//
// A module, a configuration entry or a tensor that is not understood fails its case: nothing is skipped. The program
// succeeds where nothing fails or, with --known-missing, where exactly the cases of those modules do, for want of them.

#include <CLI/CLI.hpp>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "nn/nn.h"
#include "tests/reference_io.h"

using namespace attune;
using namespace attune::tests;

namespace {

constexpr double tolerance = 1e-10;

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

struct Config : Table<nlohmann::json> {
  using Table::Table;
  template <class T>
  T get(const std::string& name) {
    return (*this)[name].get<T>();
  }
  /// For an entry of which only one value is understood.
  void expect(const std::string& name, const nlohmann::json& value) {
    if (const nlohmann::json& found = (*this)[name]; found != value)
      throw std::runtime_error("the configuration's " + name + " is " + found.dump() + ", not " + value.dump());
  }
};

using Inputs = Table<Tensor>;

/// A module and how to call it.
struct Built {
  std::unique_ptr<nn::Module> module;
  std::function<Tensors(Inputs&)> run;
};

Built multihead_attention(Config& c) {
  auto m = std::make_unique<nn::MultiheadAttention>(c.get<std::int64_t>("embed_dim"), c.get<std::int64_t>("num_heads"),
                                                    nn::MultiheadOptions{.bias = c.get<bool>("bias")});
  c.expect("outputs", "values, weights averaged over heads");
  const bool causal = c.get<bool>("causal");
  auto run = [&m = *m, causal](Inputs& in) -> Tensors {
    const Attention a = m(in["query"], in["key"], in["value"],
                          {.causal = causal,
                           .key_padding_mask = in.has("key_padding_mask") ? in["key_padding_mask"] : Tensor(),
                           .need_weights = true});
    return {a.output, a.weights};
  };
  return {std::move(m), run};
}

template <class Layer>
std::unique_ptr<Layer> transformer_layer(Config& c) {
  c.expect("batch_first", true);
  c.expect("self_attention_mask", "causal");
  const std::map<std::string, Activation> activations{{"relu", Activation::relu}, {"gelu", Activation::gelu}};
  return std::make_unique<Layer>(c.get<std::int64_t>("d_model"), c.get<std::int64_t>("nhead"),
                                 nn::TransformerOptions{.d_ff = c.get<std::int64_t>("dim_feedforward"),
                                                        .dropout = c.get<double>("dropout"),
                                                        .activation = activations.at(c.get<std::string>("activation")),
                                                        .pre_norm = c.get<bool>("norm_first")});
}

Built encoder_layer(Config& c) {
  auto m = transformer_layer<nn::TransformerEncoderLayer>(c);
  auto run = [&m = *m](Inputs& in) -> Tensors { return {m(in["x"], {.causal = true})}; };
  return {std::move(m), run};
}

Built decoder_layer(Config& c) {
  auto m = transformer_layer<nn::TransformerDecoderLayer>(c);
  auto run = [&m = *m](Inputs& in) -> Tensors { return {m(in["x"], in["memory"], {.causal = true})}; };
  return {std::move(m), run};
}

const std::map<std::string, Built (*)(Config&)> builders{
    {"MultiheadAttention", multihead_attention},
    {"TransformerEncoderLayer", encoder_layer},
    {"TransformerDecoderLayer", decoder_layer},
};

template <class Value>
const Value& required(const std::map<std::string, Value>& table, const std::string& name) {
  const auto at = table.find(name);
  if (at == table.end()) throw std::runtime_error("the case has no " + name);
  return at->second;
}

/// The tensors whose names begin with `prefix`, without it.
std::map<std::string, Tensor> below(const std::string& prefix, const std::map<std::string, Tensor>& tensors) {
  std::map<std::string, Tensor> out;
  for (const auto& [name, value] : tensors)
    if (name.starts_with(prefix)) out[name.substr(prefix.size())] = value;
  return out;
}

/// Every expected gradient against the one of its name, and no gradient without an expected one.
void compare(CaseChecks& checks, const std::string& what, const std::map<std::string, Tensor>& expected,
             const std::map<std::string, Tensor>& got) {
  for (const auto& [name, value] : expected) {
    const auto at = got.find(name);
    if (at == got.end() || !at->second.defined())
      checks.fail("no " + what + name);
    else
      checks.check(what + name, relative_difference(at->second, value), tolerance);
  }
  for (const auto& [name, value] : got)
    if (!expected.contains(name)) checks.fail("nothing is expected for " + what + name);
}

void run_case(const SafetensorsFile& file, const std::string& module, CaseChecks& checks) {
  for (const auto& [name, value] : file.tensors) {
    bool known = false;
    for (const char* prefix : {"weight.", "input.", "output.", "cotangent.", "grad.input.", "grad.weight."})
      known |= name.starts_with(prefix);
    if (!known) checks.fail("the tensor " + name + " is not understood");
  }
  Config config(nlohmann::json::parse(required(file.metadata, "config")).get<std::map<std::string, nlohmann::json>>());
  const Built built = builders.at(module)(config);
  for (const std::string& name : config.unread()) checks.fail("the configuration's " + name + " is not understood");

  built.module->to(float64);
  built.module->load_state_dict(below("weight.", file.tensors));
  std::map<std::string, Tensor> leaves;
  auto values = below("input.", file.tensors);
  for (auto& [name, value] : values)
    if (is_floating(value.dtype())) leaves[name] = value.requires_grad_();
  Inputs inputs(values);
  const Tensors outputs = built.run(inputs);
  for (const std::string& name : inputs.unread()) checks.fail("the input " + name + " is not understood");

  std::map<std::string, Tensor> numbered;
  Tensors cotangents;
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    numbered[std::to_string(i)] = outputs[i];
    cotangents.push_back(required(file.tensors, "cotangent." + std::to_string(i)));
  }
  compare(checks, "output ", below("output.", file.tensors), numbered);

  Tensors wanted;
  std::vector<std::pair<std::string, std::string>> names;  // which table, which name
  for (const auto& [name, leaf] : leaves) wanted.push_back(leaf), names.emplace_back("input", name);
  for (const auto& [name, leaf] : built.module->named_parameters())
    wanted.push_back(leaf), names.emplace_back("weight", name);
  const Tensors gradients = grad(outputs, wanted, {.cotangents = cotangents, .allow_unused = true});
  std::map<std::string, std::map<std::string, Tensor>> got;
  for (std::size_t i = 0; i < wanted.size(); ++i) got[names[i].first][names[i].second] = gradients[i];
  compare(checks, "gradient of the input ", below("grad.input.", file.tensors), got["input"]);
  compare(checks, "gradient of the weight ", below("grad.weight.", file.tensors), got["weight"]);
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Compares modules with reference cases.");
  std::string directory = std::string(ATTUNE_TEST_DATA) + "/modules", only;
  std::vector<std::string> missing_list;
  app.add_option("DIR", directory, "the folder of the cases")->capture_default_str();
  app.add_option("--case", only, "run this case alone");
  app.add_option("--known-missing", missing_list, "modules whose cases are expected to fail, for want of the module")
      ->delimiter(',');
  CLI11_PARSE(app, argc, argv);

  std::set<std::string> missing(missing_list.begin(), missing_list.end()), unmet = missing;
  int passed = 0, failed = 0, unexpected = 0;
  try {
    for (const std::filesystem::path& path : sorted_entries(directory)) {
      const std::string name = path.stem().string();
      if (path.extension() != ".safetensors" || (!only.empty() && name != only)) continue;
      CaseChecks checks;
      std::string module;
      try {
        const SafetensorsFile file = load_safetensors(path.string());
        module = required(file.metadata, "module");
        if (builders.contains(module))
          run_case(file, module, checks);
        else
          checks.fail("there is no module " + module);
      } catch (const std::exception& e) {
        checks.fail(e.what());
      }
      checks.passed() ? ++passed : ++failed;
      if (!checks.passed()) std::printf("%s: %s\n", name.c_str(), checks.str().c_str());
      const bool known = missing.contains(module) && !builders.contains(module);
      if (known) unmet.erase(module);
      if (!checks.passed() && !known) ++unexpected;
    }
  } catch (const std::exception& e) {
    std::printf("%s\n", e.what());
    return 2;
  }
  if (only.empty())
    for (const std::string& module : unmet) {
      std::printf("%s is not missing, or has no case\n", module.c_str());
      ++unexpected;
    }
  if (passed + failed == 0)
    std::printf("no case%s in %s\n", only.empty() ? "" : (" " + only).c_str(), directory.c_str());
  std::printf("%d passed, %d failed\n", passed, failed);
  return passed + failed == 0 || unexpected > 0 ? 1 : 0;
}
