// Compares tokenizers with those of the Python library that publishes the models: `reference_tokenizers [DIR] [--vocab
// DIR] [--case NAME] [--without NAME]`. DIR holds a JSON file a tokenizer, or is one: its class and options, the names
// of its vocabulary, special tokens, size, and texts with their ids and what decoding gives; pairs of texts with
// special tokens, cut and padded. A line a tokenizer; one that does not exist here is a failure; the last line is
// "N passed, N failed".

#include <CLI/CLI.hpp>
#include <fstream>
#include <nlohmann/json.hpp>

#include "nn/nn.h"
#include "tests/reference/io.h"

using namespace attune;
using namespace attune::tests;
namespace fs = std::filesystem;
using Json = nlohmann::json;
using Ids = std::vector<std::int64_t>;

namespace {

using Made = std::unique_ptr<nn::Tokenizer>;
template <class T>
Made made(T tokenizer) {
  return std::make_unique<T>(std::move(tokenizer));
}

Made load(const Json& file, const fs::path& vocab) {
  const std::string name = file.at("tokenizer");
  const auto path = [&](std::size_t i) { return (vocab / file.at("vocab").at(i).get<std::string>()).string(); };
  const Json& options = file.at("options");
  if (name == "GPT2Tokenizer") return made(nn::BpeTokenizer::load(path(0), path(1)));
  if (name == "BertTokenizer")
    return made(nn::WordPieceTokenizer::load(path(0), {.uncased = options.value("do_lower_case", true)}));
  if (name == "T5Tokenizer")
    return made(nn::SentencePieceTokenizer::load(path(0), {.extra_ids = options.value("extra_ids", 100)}));
  throw std::runtime_error("there is no tokenizer " + name);
}

std::string bytes_of(const std::string& hex) {
  std::string out;
  for (std::size_t i = 0; i + 1 < hex.size(); i += 2)
    out += static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16));
  return out;
}

void check_special(const Json& file, const nn::Tokenizer& tokenizer, CaseChecks& checks) {
  const nn::SpecialTokens& s = tokenizer.special();
  const std::map<std::string, std::int64_t> ours{{"pad_token", s.pad},  {"unk_token", s.unk}, {"bos_token", s.bos},
                                                 {"eos_token", s.eos},  {"cls_token", s.cls}, {"sep_token", s.sep},
                                                 {"mask_token", s.mask}};
  if (tokenizer.size() != file.at("size")) checks.fail("size " + std::to_string(tokenizer.size()));
  for (const auto& [name, id] : file.at("special").items())
    if (!ours.contains(name) || ours.at(name) != id) checks.fail(name);
}

void check_text(const Json& c, const nn::Tokenizer& tokenizer, CaseChecks& checks) {
  const Ids expected = c.at("ids");
  const std::string text = c.at("text");
  if (tokenizer.encode(text) != expected) checks.fail("ids of " + c.at("text").dump());
  if (c.contains("bytes") && tokenizer.encode(bytes_of(c.at("bytes"))) != expected)
    checks.fail("ids of the bytes " + c.at("bytes").dump());
  if (tokenizer.decode(expected) != c.at("decoded").get<std::string>()) checks.fail("text of " + c.at("ids").dump());
}

void check_pair(const Json& c, const nn::Tokenizer& tokenizer, CaseChecks& checks) {
  const std::string truncation = c.value("truncation", "longest_first");
  if (truncation != "longest_first") throw std::runtime_error("there is no truncation " + truncation);
  const nn::TokenBatch batch =
      nn::encode_pairs(tokenizer, {{c.at("text"), c.at("pair")}}, {.length = c.value("max_length", std::int64_t{0})});
  const std::string what = c.at("text").dump() + " and " + c.at("pair").dump();
  if (batch.tokens.to_vector<std::int64_t>() != c.at("ids").get<Ids>()) checks.fail("ids of " + what);
  if (c.contains("token_type_ids") && batch.token_types.to_vector<std::int64_t>() != c["token_type_ids"].get<Ids>())
    checks.fail("token types of " + what);
  if (c.contains("attention_mask") &&
      logical_not(batch.key_padding_mask).to_vector<std::int64_t>() != c["attention_mask"].get<Ids>())
    checks.fail("mask of " + what);
}

void run_case(const fs::path& path, const fs::path& vocab, CaseChecks& checks) {
  std::ifstream in(path);
  if (!in) throw std::runtime_error("cannot be read");
  const Json file = Json::parse(in);
  const Made tokenizer = load(file, vocab);
  check_special(file, *tokenizer, checks);
  if (file.at("cases").empty()) throw std::runtime_error("has no case");
  for (const Json& c : file.at("cases")) check_text(c, *tokenizer, checks);
  for (const Json& c : file.value("pairs", Json::array())) check_pair(c, *tokenizer, checks);
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Compares tokenizers with reference cases.");
  std::string directory = std::string(ATTUNE_TEST_DATA) + "/tokenizers", vocab, only, without;
  app.add_option("DIR", directory, "the folder of the cases' files, or one of them")->capture_default_str();
  app.add_option("--vocab", vocab,
                 "the folder of the vocabularies; DIR/../../data/vocab or the project's if not given");
  app.add_option("--case", only, "run this case alone");
  app.add_option("--without", without, "leave this case out");
  CLI11_PARSE(app, argc, argv);

  int passed = 0, failed = 0;
  try {
    const bool one = fs::is_regular_file(directory);
    const fs::path beside =
        fs::path(one ? fs::path(directory).parent_path() : fs::path(directory)) / "../../data/vocab";
    if (vocab.empty()) vocab = fs::is_directory(beside) ? beside.string() : std::string(ATTUNE_TEST_DATA) + "/vocab";
    for (const auto& path : one ? std::vector<fs::path>{directory} : sorted_entries(directory)) {
      const std::string name = path.stem().string();
      if (path.extension() != ".json" || name == without || (!only.empty() && name != only)) continue;
      CaseChecks checks;
      try {
        run_case(path, vocab, checks);
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
