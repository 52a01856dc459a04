#include "examples/support/language.h"

#include <filesystem>

#include "nn/text/bpe.h"
#include "nn/text/simple.h"

namespace examples {

namespace nn = attune::nn;

void add_language(CommandLine& line, LanguageFlags& f) {
  constexpr std::int64_t most = 1 << 20;
  line.add("--data", f.data, "a text file; without it, the Jargon File");
  line.add("--tokenizer", f.tokenizer, "`characters` or `bpe`, trained on the text", {"characters", "bpe"});
  line.add("--vocabulary", f.vocabulary, 257, most, "tokens of bpe");
  line.add("--layers", f.layers, 1, 1000, "blocks of attention and feed-forward");
  line.add("--heads", f.heads, 1, most, "attention heads, which divide the width");
  line.add("--width", f.width, 1, most, "model width");
  line.add("--context", f.context, 2, most, "tokens that the model sees");
  line.add("--batch", f.batch, 1, most, "sequences in a batch");
  line.add("--dropout", f.dropout, 0, 0.99, "of embeddings, attention and layer outputs");
  line.add("--lr", f.lr, 1e-12, 1e3, "learning rate");
  line.add("--warmup", f.warmup, 0, most, "steps of linear warm-up; a cosine follows");
  line.add("--tokens", f.tokens, 1, most, "tokens to write", false);
  line.add("--temperature", f.temperature, 1e-6, 1e6, "of what is written", false);
  line.add("--top-k", f.top_k, 0, most, "the likeliest tokens to draw from; 0: all", false);
  line.add_run(f);
}

void unless_given(const CommandLine& line, std::initializer_list<Preset> presets) {
  for (const Preset& p : presets)
    if (!line.given(p.name)) p.value = p.preset;
}

std::unique_ptr<nn::Tokenizer> make_tokenizer(const LanguageFlags& flags, const std::string& text) {
  if (flags.tokenizer == "characters") return std::make_unique<nn::CharTokenizer>(text);
  return std::make_unique<nn::BpeTokenizer>(nn::BpeTokenizer::train(text, {.size = flags.vocabulary}));
}

void save_tokenizer(const nn::Tokenizer& tokenizer, const std::string& folder) {
  if (const auto* bpe = dynamic_cast<const nn::BpeTokenizer*>(&tokenizer))
    bpe->save(folder + "/vocab.json", folder + "/merges.txt");
  else
    dynamic_cast<const nn::CharTokenizer&>(tokenizer).save(folder + "/characters.json");
}

std::unique_ptr<nn::Tokenizer> load_tokenizer(const std::string& folder) {
  const std::string list = folder + "/characters.json";
  if (std::filesystem::exists(list)) return std::make_unique<nn::CharTokenizer>(nn::CharTokenizer::load(list));
  return std::make_unique<nn::BpeTokenizer>(nn::BpeTokenizer::load(folder + "/vocab.json", folder + "/merges.txt"));
}

}  // namespace examples
