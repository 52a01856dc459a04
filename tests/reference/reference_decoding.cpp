// Decodes with published models as generate() of the library that publishes them does: `reference_decoding [DIR]
// [--case NAME]`. DIR is a case's folder or holds such folders: decode.json with runs of a model, or with cases of the
// processors and warpers alone, and decode.safetensors. Each run is done with the cache and by computing every prefix
// again. Agreement asked for: ids equal, scores to 1e-5 (score_tolerance). A line a case; a model or an argument that
// does not exist here is a failure; the last line is "N passed, N failed".

#include <CLI/CLI.hpp>
#include <fstream>
#include <nlohmann/json.hpp>

#include "nn/nn.h"
#include "tests/reference/io.h"

using namespace attune;
using namespace attune::tests;
namespace fs = std::filesystem;
using Json = nlohmann::json;

namespace {

using TensorMap = std::map<std::string, Tensor>;

const Tensor& required(const TensorMap& t, const std::string& name) {
  const auto at = t.find(name);
  if (at == t.end()) throw std::runtime_error("decode.safetensors has no " + name);
  return at->second;
}

/// The largest difference of elements, relative where they are large; infinite where one is and the other is not.
double score_difference(const Tensor& got, const Tensor& expected) {
  if (!got.defined() || got.shape() != expected.shape()) return INFINITY;
  const auto a = got.to_vector<double>(), b = expected.to_vector<double>();
  double worst = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (a[i] == b[i]) continue;
    const double d = std::abs(a[i] - b[i]) / std::max(1.0, std::abs(b[i]));
    worst = std::isfinite(d) ? std::max(worst, d) : INFINITY;
  }
  return worst;
}

// ---- runs of models

struct Input {
  Tensor ids, hidden;  // hidden: undefined without padding
};
/// A model that is loaded: a run with its cache, or without.
using Generate = std::function<nn::GenerateResult(const Input&, const nn::GenerateOptions&, bool cached)>;

Generate load_gpt2(const fs::path& dir, DType dtype) {
  const auto model = std::make_shared<nn::Gpt2>(nn::gpt2_config_from_file((dir / "config.json").string()));
  model->load_published((dir / "model.safetensors").string());
  model->to(dtype);
  return [model](const Input& x, const nn::GenerateOptions& o, bool cached) {
    if (cached) return nn::generate(*model, x.ids, o, x.hidden);
    model->eval();
    nn::PrefixDecoder decoder([&](const nn::Prefix& p) { return (*model)(p.tokens, p.key_padding_mask); }, x.hidden);
    return nn::generate(decoder, x.ids, o);
  };
}

Generate load_t5(const fs::path& dir, DType dtype) {
  const auto model = std::make_shared<nn::T5>(nn::t5_config_from_file((dir / "config.json").string()));
  model->load_published((dir / "model.safetensors").string());
  model->to(dtype);
  return [model](const Input& x, const nn::GenerateOptions& o, bool cached) {
    if (cached) return nn::generate(*model, x.ids, o, x.hidden);
    model->eval();
    nn::PrefixDecoder decoder([&](const nn::Prefix& p) {
      const Tensor hidden = x.hidden.defined() ? index_select(x.hidden, 0, p.rows) : Tensor();
      return (*model)(index_select(x.ids, 0, p.rows), p.tokens, {.key_padding_mask = hidden});
    });
    return nn::generate(decoder, full({x.ids.size(0), 1}, model->config.start_token, int64), o);
  };
}

/// By config.json's model_type.
const std::map<std::string, Generate (*)(const fs::path&, DType)> models{{"gpt2", load_gpt2}, {"t5", load_t5}};

Json read_json(const fs::path& path) {
  std::ifstream file(path);
  if (!file) throw std::runtime_error("there is no " + path.string());
  return Json::parse(file);
}

/// An argument that chooses nothing, or the only way there is here.
bool without_effect(const std::string& name, const Json& value) {
  static const std::map<std::string, Json> only{{"do_sample", false}, {"use_cache", true}, {"num_beam_groups", 1}};
  const auto at = only.find(name);
  return value.is_null() || (at != only.end() && at->second == value);
}

/// With what generate() takes from the configuration for arguments that are not given, or are null.
Json with_defaults(const Json& given, const Json& config) {
  Json arguments = Json::object();
  for (const auto& [name, v] : given.items())
    if (!v.is_null() || name.ends_with("_token_id")) arguments[name] = v;
  if (!arguments.contains("max_new_tokens") && !arguments.contains("max_length"))
    arguments["max_length"] = config.value("max_length", 20);
  for (const char* name : {"eos_token_id", "pad_token_id"})
    if (!arguments.contains(name) && config.contains(name) && config[name].is_number() &&
        config[name] < config.at("vocab_size"))
      arguments[name] = config[name];
  return arguments;
}

nn::GenerateOptions options_of(const Json& arguments) {
  nn::GenerateOptions o{.keep_scores = true};
  const auto ids = [](const Json& v) { return v.is_null() ? -1 : v.get<std::int64_t>(); };
  const bool beams = arguments.value("num_beams", 1) > 1;
  for (const auto& [name, v] : arguments.items()) {
    if (name == "eos_token_id")
      o.eos = ids(v);
    else if (name == "pad_token_id")
      o.pad = ids(v);
    else if (name == "max_length")
      o.max_length = v;
    else if (name == "max_new_tokens")
      o.max_new_tokens = v;
    else if (name == "min_length")
      o.min_length = v;
    else if (name == "num_beams")
      o.beams = v;
    else if (name == "num_return_sequences")
      o.returned = v;
    else if (name == "length_penalty")
      o.length_penalty = beams ? v.get<double>() : 1;  // greedy search has no use for
    else if (name == "early_stopping")
      o.early_stopping = beams && v.get<bool>();  // these two
    else if (name == "repetition_penalty")
      o.repetition_penalty = v;
    else if (name == "no_repeat_ngram_size")
      o.no_repeat_ngram = v;
    else if (!without_effect(name, v))
      throw std::runtime_error("there is no argument " + name + " = " + v.dump());
  }
  return o;
}

constexpr double usual = 1e-5;

/// How near scores must come to a reference in float32: to 1e-5, or, where what they are in float64 is farther from the
/// reference than that, as in models with sharp attention, to four times that distance; 1e-4 at most.
double score_tolerance(double of_exact) { return std::clamp(4 * of_exact, usual, 1e-4); }

/// exact: the model in float64.
void check_run(const Json& run, const Json& config, const Generate& generate, const Generate& exact, const TensorMap& t,
               CaseChecks& checks) {
  const std::string name = run.at("name");
  const auto ids = [](const Json& rows) { return tensor(rows.get<std::vector<std::vector<std::int64_t>>>(), int64); };
  Input x{ids(run.at("input_ids")), {}};
  if (run.contains("attention_mask")) x.hidden = eq(ids(run.at("attention_mask")), 0);
  const Tensor expected = ids(run.at("sequences"));
  const nn::GenerateOptions options = options_of(with_defaults(run.at("arguments"), config));
  for (const bool cached : {true, false}) {
    const std::string how = name + (cached ? "" : " without a cache") + ": ";
    const nn::GenerateResult r = generate(x, options, cached);
    if (r.sequences.shape() != expected.shape() || !all(eq(r.sequences, expected))) {
      checks.fail(how + "other ids");
      continue;
    }
    if (run.contains("sequences_scores"))
      checks.check(how + "scores of the sequences",
                   score_difference(r.scores, tensor(run.at("sequences_scores").get<std::vector<float>>())), usual);
    if (!t.contains("scores." + name)) continue;
    const Tensor& scores = t.at("scores." + name);
    const double difference = score_difference(stack(r.step_scores), scores);
    double tolerance = usual;
    if (difference > tolerance)
      tolerance = score_tolerance(score_difference(to(stack(exact(x, options, cached).step_scores), float32), scores));
    checks.check(how + "scores", difference, tolerance);
  }
}

void check_runs(const fs::path& dir, const Json& decode, const TensorMap& t, CaseChecks& checks) {
  const fs::path model_dir = dir / decode.at("model").get<std::string>();
  const Json config = read_json(model_dir / "config.json");
  const std::string type = config.at("model_type");
  const auto model = models.find(type);
  if (model == models.end()) throw std::runtime_error("there is no model of type " + type);
  const Generate generate = model->second(model_dir, float32), exact = model->second(model_dir, float64);
  if (decode.at("runs").empty()) throw std::runtime_error("the case has no run");
  for (const Json& run : decode.at("runs")) try {
      check_run(run, config, generate, exact, t, checks);
    } catch (const std::exception& e) {
      checks.fail(run.value("name", "a run without a name") + ": " + e.what());
    }
}

// ---- processors alone

Tensor processed(Tensor scores, const Tensor& sequences, Json arguments) {
  const std::int64_t at_least = arguments.value("num_beams", 1) > 1 ? 2 : 1;
  arguments.erase("num_beams");
  const auto take = [&](const char* name, const auto& rule) {
    if (!arguments.contains(name)) return;
    scores = rule(arguments.at(name));
    arguments.erase(name);
  };
  take("repetition_penalty", [&](double p) { return nn::penalise_repetition(scores, sequences, p); });
  take("no_repeat_ngram_size", [&](std::int64_t n) { return nn::forbid_repeated_ngrams(scores, sequences, n); });
  take("min_length",
       [&](std::int64_t n) { return nn::forbid_early_end(scores, sequences, arguments.at("eos_token_id"), n); });
  arguments.erase("eos_token_id");
  take("temperature", [&](double v) { return nn::scale_by_temperature(scores, v); });
  take("top_k", [&](std::int64_t k) { return nn::keep_top_k(scores, k, at_least); });
  take("top_p", [&](double p) { return nn::keep_top_p(scores, p, at_least); });
  take("typical_p", [&](double p) { return nn::keep_typical(scores, p, at_least); });
  for (const auto& [name, v] : arguments.items())
    if (!without_effect(name, v)) throw std::runtime_error("there is no argument " + name + " = " + v.dump());
  return scores;
}

void check_processors(const Json& decode, const TensorMap& t, CaseChecks& checks) {
  if (decode.at("cases").empty()) throw std::runtime_error("the folder has no case");
  for (const Json& c : decode.at("cases")) {
    const std::string result = c.at("result");
    const Tensor y = processed(required(t, c.at("logits")), required(t, "input_ids"), c.at("arguments"));
    checks.check(result, score_difference(y, required(t, result)), 1e-5);
    checks.check(c.at("probabilities"), score_difference(softmax(y), required(t, c.at("probabilities"))), 1e-5);
  }
}

void run_case(const fs::path& dir, CaseChecks& checks) {
  const Json decode = read_json(dir / "decode.json");
  const fs::path tensors = dir / "decode.safetensors";
  const TensorMap t = fs::exists(tensors) ? load_safetensors(tensors.string()).tensors : TensorMap();
  if (decode.contains("cases"))
    check_processors(decode, t, checks);
  else
    check_runs(dir, decode, t, checks);
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Compares decoding with reference cases.");
  std::string directory = std::string(ATTUNE_TEST_DATA) + "/decoding", only;
  app.add_option("DIR", directory, "a case's folder, or the folder of such folders")->capture_default_str();
  app.add_option("--case", only, "run this case alone");
  CLI11_PARSE(app, argc, argv);

  int passed = 0, failed = 0;
  try {
    const bool one = fs::exists(fs::path(directory) / "decode.json");
    for (const auto& dir : one ? std::vector<fs::path>{directory} : sorted_entries(directory)) {
      const std::string name = fs::path(fs::weakly_canonical(dir)).filename().string();
      if (!fs::is_directory(dir) || (!only.empty() && name != only)) continue;
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
    return 1;
  }
  return report(passed, failed, only, directory);
}
