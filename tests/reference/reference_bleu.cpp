// BLEU against sacrebleu's scores: `reference_bleu [FILE]`. FILE is JSON: {"cases": [{options, hypotheses, references,
// score, counts, totals, precisions, bp, sys_len, ref_len}]}, where references[r][i] is hypothesis i's r-th (null:
// none) and options are the keyword arguments. Agreement asked for: whole numbers equal, others 1e-9. A line for each
// failing case; the last line is "N passed, N failed". An option that is not understood fails its case.

#include <CLI/CLI.hpp>
#include <fstream>
#include <nlohmann/json.hpp>

#include "nn/metrics/bleu.h"
#include "tests/reference/io.h"

using namespace attune;
using namespace attune::tests;
using nlohmann::json;

namespace {

template <class Enum>
Enum one_of(const std::map<std::string, Enum>& names, const json& value, const std::string& what) {
  const auto at = names.find(value.get<std::string>());
  if (at == names.end()) throw std::runtime_error("there is no " + what + " " + value.dump());
  return at->second;
}

nn::BleuOptions options_of(const json& given) {
  nn::BleuOptions o;
  for (const auto& [key, value] : given.items()) {
    if (value.is_null()) continue;  // the default
    if (key == "tokenize")
      o.tokens = one_of<nn::BleuTokens>({{"none", nn::BleuTokens::none},
                                         {"13a", nn::BleuTokens::mteval_13a},
                                         {"intl", nn::BleuTokens::international},
                                         {"char", nn::BleuTokens::characters},
                                         {"zh", nn::BleuTokens::chinese}},
                                        value, "tokenizer");
    else if (key == "smooth_method")
      o.smoothing = one_of<nn::BleuSmoothing>({{"none", nn::BleuSmoothing::none},
                                               {"floor", nn::BleuSmoothing::floor},
                                               {"add-k", nn::BleuSmoothing::add_k},
                                               {"exp", nn::BleuSmoothing::exponential}},
                                              value, "smoothing");
    else if (key == "smooth_value")
      o.smooth_value = value.get<double>();
    else if (key == "max_ngram_order")
      o.max_order = value.get<std::int64_t>();
    else if (key == "effective_order")
      o.effective_order = value.get<bool>();
    else if (key == "lowercase")
      o.lowercase = value.get<bool>();
    else if (key != "force")  // which silences a warning
      throw std::runtime_error("the option " + key + " is not understood");
  }
  return o;
}

CaseChecks run_case(const json& c) {
  CaseChecks checks;
  nn::Bleu bleu(options_of(c.value("options", json::object())));
  const auto hypotheses = c.at("hypotheses").get<std::vector<std::string>>();
  for (std::size_t i = 0; i < hypotheses.size(); ++i) {
    std::vector<std::string> references;
    for (const json& stream : c.at("references"))
      if (!stream.at(i).is_null()) references.push_back(stream.at(i).get<std::string>());
    bleu.add(hypotheses[i], references);
  }
  const nn::BleuResult r = bleu.value();
  const auto number = [&](const std::string& what, double got, double expected) {
    checks.check(what, std::abs(got - expected), 1e-9);
  };
  const auto list = [&](const std::string& what, const std::vector<double>& got) {
    const auto expected = c.at(what).get<std::vector<double>>();
    if (got.size() != expected.size()) checks.fail(what + " of another length");
    for (std::size_t i = 0; i < std::min(got.size(), expected.size()); ++i)
      number(what + "[" + std::to_string(i) + "]", got[i], expected[i]);
  };
  number("sys_len", static_cast<double>(r.length), c.at("sys_len"));
  number("ref_len", static_cast<double>(r.reference_length), c.at("ref_len"));
  list("counts", r.counts);
  list("totals", r.totals);
  list("precisions", r.precisions);
  number("bp", r.brevity_penalty, c.at("bp"));
  number("score", r.score, c.at("score"));
  return checks;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Compares BLEU with reference scores.");
  std::string path = std::string(ATTUNE_TEST_DATA) + "/bleu.json";
  app.add_option("FILE", path, "the cases")->capture_default_str();
  CLI11_PARSE(app, argc, argv);

  int passed = 0, failed = 0;
  try {
    std::ifstream file(path);
    if (!file) throw std::runtime_error("cannot open " + path);
    const json all = json::parse(file);
    for (const json& c : all.at("cases")) {
      CaseChecks checks;
      try {
        checks = run_case(c);
      } catch (const std::exception& e) {
        checks.fail(e.what());
      }
      (checks.passed() ? passed : failed) += 1;
      if (!checks.passed())
        std::printf("case %d %s FAILED: %s\n", passed + failed - 1, c.value("options", json()).dump().c_str(),
                    checks.str().c_str());
    }
  } catch (const std::exception& e) {
    std::printf("%s\n", e.what());
  }
  return report(passed, failed, "", path);
}
