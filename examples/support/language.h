// What scripts that train language models share: their options, tokenizers in a run's folder, the loss on held-out
// text, and text that a model writes, as it comes.
#pragma once

#include <algorithm>
#include <initializer_list>
#include <memory>
#include <string>
#include <vector>

#include "autograd/ops/create.h"
#include "autograd/ops/loss.h"
#include "autograd/tape/modes.h"
#include "examples/support/command_line.h"
#include "examples/support/print.h"
#include "nn/data/windows.h"
#include "nn/decode/generate.h"
#include "nn/text/tokenizer.h"
#include "nn/training/interrupts.h"

namespace examples {

struct LanguageFlags : RunFlags {
  LanguageFlags() { steps = 2000; }
  std::string data, tokenizer = "characters";
  std::int64_t vocabulary = 1000, layers = 4, heads = 4, width = 128, context = 64, batch = 12, warmup = 100;
  double dropout = 0, lr = 3e-3;
  std::int64_t tokens = 400, top_k = 0;  // of text that is written
  double temperature = 0.8;
};

/// --data, --tokenizer, --vocabulary, the model's sizes, --batch, --dropout, --lr, --warmup; --tokens, --temperature
/// and --top-k; and those of add_run().
void add_language(CommandLine& line, LanguageFlags& flags);

/// Other values of options that are not on the command line.
struct Preset {
  const char* name;
  std::int64_t& value;
  std::int64_t preset;
};
void unless_given(const CommandLine& line, std::initializer_list<Preset> presets);

/// The characters of a text, or byte-pair encoding trained on it; and in a folder, as characters.json, or as vocab.json
/// and merges.txt, where published vocabularies are loaded from, too.
std::unique_ptr<attune::nn::Tokenizer> make_tokenizer(const LanguageFlags& flags, const std::string& text);
void save_tokenizer(const attune::nn::Tokenizer& tokenizer, const std::string& folder);
std::unique_ptr<attune::nn::Tokenizer> load_tokenizer(const std::string& folder);

/// The mean loss, in nats a token, over all windows of held-out text.
template <class M>
double validation_loss(M& model, attune::nn::Batches<attune::nn::WindowBatch>& windows) {
  const attune::NoGrad off;
  const bool before = model.training();
  double sum = 0, count = 0;
  model.eval();
  for (const auto& [x, y] : windows) {
    sum += attune::cross_entropy(model(x), y, {.reduction = attune::Reduction::sum}).item();
    count += static_cast<double>(y.numel());
  }
  model.train(before);
  return sum / count;
}

/// Prints `text` and what a model of so many positions writes after it, until Ctrl-C at the latest; from a window that
/// is full, its second half goes on. Throws ValueError for a text that is empty.
template <attune::nn::DecoderModel M>
void write(M& model, std::int64_t positions, const attune::nn::Tokenizer& tokenizer, const std::string& text,
           const LanguageFlags& o) {
  std::vector<std::int64_t> ids = tokenizer.encode(text);
  if (ids.empty()) throw attune::ValueError("there is no text to go on from");
  attune::Generator generator(static_cast<std::uint64_t>(o.seed));
  const std::int64_t begin = std::ssize(ids);
  std::string shown;
  const auto show = [&](const attune::Tensor& next) {
    ids.push_back(next.item<std::int64_t>());
    const std::string all = tokenizer.decode({ids.begin() + begin, ids.end()});
    if (all.ends_with("\xEF\xBF\xBD")) return true;  // the rest of a character is to come
    print("{}", all.substr(shown.size()));
    shown = all;
    return !attune::nn::interrupted();
  };
  print("{}", text);
  while (std::ssize(ids) - begin < o.tokens && !attune::nn::interrupted()) {
    const std::int64_t n = std::ssize(ids) < positions ? std::ssize(ids) : (positions + 1) / 2;
    attune::nn::generate(model, attune::tensor(std::vector<std::int64_t>(ids.end() - n, ids.end()), {1, n}),
                         {.max_new_tokens = std::min(positions - n, o.tokens - (std::ssize(ids) - begin)),
                          .sample = true,
                          .temperature = o.temperature,
                          .top_k = o.top_k,
                          .generator = &generator,
                          .on_tokens = show});
  }
  print("\n");
}

}  // namespace examples
