// Runs published models on reference inputs and compares what they compute, in the order in which they do, and their
// gradients: `reference_models [DIR] [--case NAME]`. DIR is a case, or a folder of them: config.json, whose model_type
// says which model, model.safetensors (weights under their published names), case.safetensors. A line a case: of a
// failing one the tensor that diverges first, hidden states before logits, the loss, and gradients from the last layer
// to the first. A model that does not exist here is a failure; the last line is "N passed, N failed". No case at all is
// an error, too.

#include <CLI/CLI.hpp>
#include <fstream>
#include <nlohmann/json.hpp>

#include "tests/reference/model_case.h"

using namespace attune;
using namespace attune::tests;

namespace {

const std::map<std::string, void (*)(ModelCase&)> models{{"bert", check_bert},         {"big_bird", check_bigbird},
                                                         {"gpt2", check_gpt2},         {"longformer", check_longformer},
                                                         {"reformer", check_reformer}, {"t5", check_t5}};

/// What failed; "" if nothing did.
std::string run_case(const std::filesystem::path& directory) {
  try {
    std::ifstream file(directory / "config.json");
    if (!file) return "there is no config.json";
    const std::string type = nlohmann::json::parse(file).at("model_type");
    const auto model = models.find(type);
    if (model == models.end()) return "there is no model of type " + type;
    ModelCase c(directory);
    model->second(c);
    const CaseChecks& checks = c.finish();
    return checks.passed() ? "" : "first to diverge: " + checks.str();
  } catch (const std::exception& e) {
    return e.what();
  }
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Compares published models with reference cases.");
  std::string directory = std::string(ATTUNE_TEST_DATA) + "/models", only;
  app.add_option("DIR", directory, "a case's folder, or the folder of the cases' folders")->capture_default_str();
  app.add_option("--case", only, "run this case alone");
  CLI11_PARSE(app, argc, argv);

  int passed = 0, failed = 0;
  try {
    const bool is_case =
        std::filesystem::exists(directory + "/config.json") || std::filesystem::exists(directory + "/case.safetensors");
    for (const auto& folder : is_case ? std::vector<std::filesystem::path>{directory} : sorted_entries(directory)) {
      const std::string name = (folder.has_filename() ? folder : folder.parent_path()).filename().string();
      if (!std::filesystem::is_directory(folder) || (!only.empty() && name != only)) continue;
      const std::string why = run_case(folder);
      (why.empty() ? passed : failed) += 1;
      std::printf("%-24s %s\n", name.c_str(), why.empty() ? "ok" : ("FAILED: " + why).c_str());
    }
  } catch (const std::exception& e) {
    std::printf("%s\n", e.what());
  }
  return report(passed, failed, only, directory);
}
