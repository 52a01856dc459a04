// Runs published models on reference inputs and compares outputs and gradients: `reference_models [DIR] [--case NAME]`.
// DIR holds a folder a case: config.json, model.safetensors (weights under their published names), case.safetensors.
// Agreement asked for in float32: loss 1e-5, logits 1e-4, each gradient 1e-4 relative to its own norm, buckets equal.
// The last line is "N passed, N failed".

#include "nn/nn.h"
#include "tests/reference_io.h"

using namespace attune;
using namespace attune::tests;

namespace {

void check_reformer(const std::filesystem::path& dir, CaseChecks& checks) {
  const auto file = load_safetensors((dir / "case.safetensors").string());
  const auto& t = file.tensors;
  for (const bool reversible : {true, false}) {
    const std::string how = reversible ? "reversible: " : "ordinary: ";
    nn::ReformerConfig config = nn::reformer_config_from_file((dir / "config.json").string());
    config.reversible = reversible;
    nn::Reformer model(config);
    model.load_published((dir / "model.safetensors").string());
    model.eval();
    nn::ReformerCall call;
    if (t.contains("input.attention_mask")) call.key_padding_mask = eq(t.at("input.attention_mask"), 0);
    call.attention.resize(config.layers.size());
    for (std::size_t i = 0; i < config.layers.size(); ++i)
      if (const auto r = t.find("hash." + std::to_string(i) + ".rotations"); r != t.end())
        call.attention[i].rotations = r->second;

    // The buckets are a by-product of each layer; the model's own tape is not needed for them.
    const Tensor logits = model(t.at("input.input_ids"), call);
    const Tensor loss = model.loss(logits, t.at("input.labels"));
    loss.backward();
    checks.check(how + "loss", std::abs(loss.item() - t.at("output.loss").item()), 1e-5);
    checks.check(how + "logits", relative_difference(logits, t.at("output.logits"), 1), 1e-4);
    for (const auto& [name, parameter] : model.named_parameters()) {
      const auto expected = t.find("grad." + name);
      if (expected == t.end())
        checks.fail(how + "the case has no gradient for " + name);
      else
        checks.check(how + "gradient of " + name, norm_difference(parameter.grad(), expected->second), 1e-4);
    }
    const std::vector<Tensor> buckets = model.buckets(t.at("input.input_ids"), call);
    for (std::size_t i = 0; i < buckets.size(); ++i) {
      const auto expected = t.find("hash." + std::to_string(i) + ".buckets");
      if (expected == t.end() || !buckets[i].defined()) continue;
      const Tensor flat = reshape(buckets[i], expected->second.shape());
      if (!all(eq(to(flat, int64), expected->second))) checks.fail(how + "buckets of layer " + std::to_string(i));
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  std::filesystem::path directory = std::filesystem::path(ATTUNE_TEST_DATA) / "models";
  std::string only;
  for (int i = 1; i < argc; ++i) {
    const std::string arg = argv[i];
    if (arg == "--case" && i + 1 < argc)
      only = argv[++i];
    else if (arg.rfind("--", 0) == 0)
      return std::fprintf(stderr, "usage: reference_models [DIR] [--case NAME]\n"), 2;
    else
      directory = arg;
  }
  int passed = 0, failed = 0;
  try {
    for (const auto& dir : sorted_entries(directory)) {
      const std::string name = dir.filename().string();
      if (!std::filesystem::is_directory(dir) || (!only.empty() && name != only)) continue;
      CaseChecks checks;
      try {
        if (name.rfind("reformer", 0) == 0)
          check_reformer(dir, checks);
        else
          checks.fail("this model does not exist here");
      } catch (const std::exception& e) {
        checks.fail(e.what());
      }
      (checks.passed() ? passed : failed) += 1;
      std::printf("%-24s %s\n", name.c_str(), checks.passed() ? "ok" : ("FAILED: " + checks.str()).c_str());
    }
  } catch (const std::exception& e) {
    std::fprintf(stderr, "%s: %s\n", directory.c_str(), e.what());
    return 2;
  }
  std::printf("%d passed, %d failed\n", passed, failed);
  return failed == 0 && passed > 0 ? 0 : 1;
}
