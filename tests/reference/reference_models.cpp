// Runs published models on reference inputs and compares outputs and gradients: `reference_models [DIR] [--case NAME]`.
// DIR holds a folder a case: config.json, whose model_type says which model, model.safetensors (weights under their
// published names), case.safetensors. Agreement asked for in float32: loss 1e-5, logits 1e-4, each gradient 1e-4
// relative to its own norm, buckets equal. A line a case, a model that does not exist here is a failure; the last line
// is "N passed, N failed".

#include <CLI/CLI.hpp>
#include <fstream>
#include <nlohmann/json.hpp>

#include "nn/nn.h"
#include "tests/reference/io.h"

using namespace attune;
using namespace attune::tests;

namespace attune::tests {
void check_t5(const std::filesystem::path& dir, const std::map<std::string, Tensor>& t, CaseChecks& checks);
}

namespace {

using TensorMap = std::map<std::string, Tensor>;

const Tensor& required(const TensorMap& t, const std::string& name) {
  const auto at = t.find(name);
  if (at == t.end()) throw std::runtime_error("case.safetensors has no " + name);
  return at->second;
}

/// Without the rows at padding, which mean nothing.
Tensor at_tokens(const Tensor& logits, const TensorMap& t) {
  const auto mask = t.find("input.attention_mask");
  if (mask == t.end()) return logits;
  return where(unsqueeze(eq(mask->second, 0), 2), 0, logits.detach());
}

/// The loss, the logits and the gradient of every parameter.
template <class Model>
void check_language_model(const Model& model, const Tensor& logits, const TensorMap& t, const std::string& how,
                          CaseChecks& checks) {
  const Tensor loss = model.loss(logits, required(t, "input.labels"));
  loss.backward();
  checks.check(how + "loss", std::abs(loss.item() - required(t, "output.loss").item()), 1e-5);
  checks.check(how + "logits", relative_difference(at_tokens(logits, t), at_tokens(required(t, "output.logits"), t), 1),
               1e-4);
  double all = 0;  // the norm of all gradients: one that is 0 is found as their rounding errors
  for (const auto& [name, value] : t)
    if (name.starts_with("grad.")) all = std::hypot(all, sqrt(sum(square(to(value, float64)))).item());
  for (const auto& [name, parameter] : model.named_parameters()) {
    const auto expected = t.find("grad." + name);
    if (expected == t.end())
      checks.fail(how + "the case has no gradient for " + name);
    else
      checks.check(how + "gradient of " + name, norm_difference(parameter.grad(), expected->second, 1e-3 * all), 1e-4);
  }
}

Tensor padding(const TensorMap& t) {
  return t.contains("input.attention_mask") ? eq(t.at("input.attention_mask"), 0) : Tensor();
}

void check_gpt2(const std::filesystem::path& dir, const TensorMap& t, CaseChecks& checks) {
  nn::Gpt2 model(nn::gpt2_config_from_file((dir / "config.json").string()));
  model.load_published((dir / "model.safetensors").string());
  model.eval();
  check_language_model(model, model(required(t, "input.input_ids"), padding(t)), t, "", checks);
}

void check_reformer(const std::filesystem::path& dir, const TensorMap& t, CaseChecks& checks) {
  for (const bool reversible : {true, false}) {
    const std::string how = reversible ? "reversible: " : "ordinary: ";
    nn::ReformerConfig config = nn::reformer_config_from_file((dir / "config.json").string());
    config.reversible = reversible;
    nn::Reformer model(config);
    model.load_published((dir / "model.safetensors").string());
    model.eval();
    nn::ReformerCall call{.key_padding_mask = padding(t)};
    call.attention.resize(config.layers.size());
    for (std::size_t i = 0; i < config.layers.size(); ++i)
      if (const auto r = t.find("hash." + std::to_string(i) + ".rotations"); r != t.end())
        call.attention[i].rotations = r->second;
    const Tensor& tokens = required(t, "input.input_ids");
    check_language_model(model, model(tokens, call), t, how, checks);
    // The buckets are a by-product of each layer; the model's own tape is not needed for them.
    const std::vector<Tensor> buckets = model.buckets(tokens, call);
    for (std::size_t i = 0; i < buckets.size(); ++i) {
      const auto expected = t.find("hash." + std::to_string(i) + ".buckets");
      if (expected == t.end()) continue;
      if (!buckets[i].defined() || buckets[i].numel() != expected->second.numel())
        checks.fail(how + "layer " + std::to_string(i) + " has no such buckets");
      else if (!all(eq(to(reshape(buckets[i], expected->second.shape()), int64), expected->second)))
        checks.fail(how + "buckets of layer " + std::to_string(i));
    }
  }
}

using Check = void (*)(const std::filesystem::path&, const TensorMap&, CaseChecks&);
/// By config.json's model_type.
const std::map<std::string, Check> models{{"gpt2", check_gpt2}, {"reformer", check_reformer}, {"t5", check_t5}};

void run_case(const std::filesystem::path& dir, CaseChecks& checks) {
  std::ifstream file(dir / "config.json");
  if (!file) throw std::runtime_error("there is no config.json");
  const std::string type = nlohmann::json::parse(file).at("model_type");
  const auto model = models.find(type);
  if (model == models.end()) throw std::runtime_error("there is no model of type " + type);
  model->second(dir, load_safetensors((dir / "case.safetensors").string()).tensors, checks);
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Compares published models with reference cases.");
  std::string directory = std::string(ATTUNE_TEST_DATA) + "/models", only;
  app.add_option("DIR", directory, "the folder of the cases' folders")->capture_default_str();
  app.add_option("--case", only, "run this case alone");
  CLI11_PARSE(app, argc, argv);

  int passed = 0, failed = 0;
  try {
    for (const auto& dir : sorted_entries(directory)) {
      const std::string name = dir.filename().string();
      if (!std::filesystem::is_directory(dir) || (!only.empty() && name != only)) continue;
      CaseChecks checks;
      try {
        run_case(dir, checks);
      } catch (const std::exception& e) {
        checks.fail(e.what());
      }
      (checks.passed() ? passed : failed) += 1;
      std::printf("%-24s %s\n", name.c_str(), checks.passed() ? "ok" : ("FAILED: " + checks.str()).c_str());
    }
  } catch (const std::exception& e) {
    std::printf("%s\n", e.what());
    return 2;
  }
  return report(passed, failed, only, directory);
}
