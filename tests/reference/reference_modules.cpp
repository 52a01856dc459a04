// Runs modules on reference cases and compares outputs and gradients: `reference_modules [DIR] [--case NAME]`. A case
// is a safetensors file: its metadata names the module and its configuration, its tensors are weight.*, input.*,
// output.N, cotangent.N, grad.input.* and grad.weight.*, in float64. Agreement asked for: 1e-10 relative. A line for
// each failing case; the last line is "N passed, N failed".
//
// A module, a configuration entry or a tensor that is not understood fails its case: nothing is skipped. Modules run in
// evaluation mode: a case with dropout is taken to be one of that mode.

#include <CLI/CLI.hpp>
#include <map>

#include "tests/reference/builders.h"
#include "tests/reference/io.h"

using namespace attune;
using namespace attune::tests;

namespace {

constexpr double tolerance = 1e-10;
/// Relative to the inputs or cotangents: a result that is 0 is found as their rounding errors.
constexpr double rounding = 1e-13;

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

/// Every expected tensor against the one of its name, relative to its largest element (at least `floor`), and none
/// without an expected one.
void compare(CaseChecks& checks, const std::string& what, const std::map<std::string, Tensor>& expected,
             const std::map<std::string, Tensor>& got, double floor) {
  for (const auto& [name, value] : expected) {
    const auto at = got.find(name);
    if (at == got.end() || !at->second.defined())
      checks.fail("no " + what + name);
    else
      checks.check(what + name, relative_difference(at->second, value, floor), tolerance);
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
  const auto builder = builders().find(module);
  if (builder == builders().end()) throw std::runtime_error("there is no module " + module);
  const Built built = builder->second(config);
  for (const std::string& name : config.unread()) checks.fail("the configuration's " + name + " is not understood");

  built.module->eval();
  built.module->to(float64);
  built.module->load_state_dict(below("weight.", file.tensors));
  std::map<std::string, Tensor> leaves;
  auto values = below("input.", file.tensors);
  for (auto& [name, value] : values)
    if (is_floating(value.dtype()) && !(name.ends_with("mask") && !file.tensors.contains("grad.input." + name)))
      leaves[name] = value.requires_grad_();  // an added mask is often a constant
  Inputs inputs(values);
  Tensors outputs = built.run(inputs);
  for (const std::string& name : inputs.unread()) checks.fail("the input " + name + " is not understood");

  const auto expected = below("output.", file.tensors);
  if (outputs.size() > expected.size() && outputs.size() % expected.size() == 0)
    outputs.erase(outputs.begin(), outputs.end() - std::ssize(expected));
  std::map<std::string, Tensor> numbered;
  Tensors cotangents, pulled_at;
  double given = 1e-300, pulled = 1e-300;  // the largest input and cotangent
  for (const auto& [name, leaf] : leaves) given = std::max(given, largest_element(leaf));
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    numbered[std::to_string(i)] = outputs[i];
    if (!is_floating(outputs[i].dtype())) continue;  // masks and lengths have no gradient
    pulled_at.push_back(outputs[i]);
    cotangents.push_back(required(file.tensors, "cotangent." + std::to_string(i)));
    pulled = std::max(pulled, largest_element(cotangents.back()));
  }
  compare(checks, "output ", expected, numbered, rounding / tolerance * given);

  Tensors wanted;
  std::vector<std::pair<std::string, std::string>> names;  // which table, which name
  for (const auto& [name, leaf] : leaves) wanted.push_back(leaf), names.emplace_back("input", name);
  for (const auto& [name, leaf] : built.module->named_parameters())
    wanted.push_back(leaf), names.emplace_back("weight", name);
  const Tensors gradients = grad(pulled_at, wanted, {.cotangents = cotangents, .allow_unused = true});
  std::map<std::string, std::map<std::string, Tensor>> got;
  for (std::size_t i = 0; i < wanted.size(); ++i) got[names[i].first][names[i].second] = gradients[i];
  compare(checks, "gradient of the input ", below("grad.input.", file.tensors), got["input"],
          rounding / tolerance * pulled);
  compare(checks, "gradient of the weight ", below("grad.weight.", file.tensors), got["weight"],
          rounding / tolerance * pulled);
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Compares modules with reference cases.");
  std::string directory = std::string(ATTUNE_TEST_DATA) + "/modules", only;
  app.add_option("DIR", directory, "the folder of the cases")->capture_default_str();
  app.add_option("--case", only, "run this case alone");
  CLI11_PARSE(app, argc, argv);

  int passed = 0, failed = 0;
  try {
    for (const std::filesystem::path& path : sorted_entries(directory)) {
      const std::string name = path.stem().string();
      if (path.extension() != ".safetensors" || (!only.empty() && name != only)) continue;
      CaseChecks checks;
      try {
        const SafetensorsFile file = load_safetensors(path.string());
        run_case(file, required(file.metadata, "module"), checks);
      } catch (const std::exception& e) {
        checks.fail(e.what());
      }
      checks.passed() ? ++passed : ++failed;
      if (!checks.passed()) std::printf("%s: %s\n", name.c_str(), checks.str().c_str());
    }
  } catch (const std::exception& e) {
    std::printf("%s\n", e.what());
    return 2;
  }
  return report(passed, failed, only, directory);
}
