// Text that a model writes, as it comes.
#pragma once

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "autograd/ops/create.h"
#include "examples/support/print.h"
#include "nn/decode/generate.h"
#include "nn/text/tokenizer.h"
#include "nn/training/interrupts.h"

namespace examples {

struct WriteOptions {
  std::int64_t tokens = 400;
  std::int64_t positions = 0;  ///< of the model; from a window that is full, its second half goes on
  double temperature = 0.8;
  std::int64_t top_k = 0;
  std::int64_t seed = 0;
};

/// The tokenizer in a folder: characters.json, or the vocab.json and merges.txt of byte-pair encoding.
std::unique_ptr<attune::nn::Tokenizer> load_tokenizer(const std::string& folder);

/// Prints `text` and what the model writes after it, until Ctrl-C at the latest. Throws ValueError for a text that is
/// empty.
template <attune::nn::DecoderModel M>
void write(M& model, const attune::nn::Tokenizer& tokenizer, const std::string& text, const WriteOptions& o) {
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
    const std::int64_t n = std::ssize(ids) < o.positions ? std::ssize(ids) : (o.positions + 1) / 2;
    attune::nn::generate(model, attune::tensor(std::vector<std::int64_t>(ids.end() - n, ids.end()), {1, n}),
                         {.max_new_tokens = std::min(o.positions - n, o.tokens - (std::ssize(ids) - begin)),
                          .sample = true,
                          .temperature = o.temperature,
                          .top_k = o.top_k,
                          .generator = &generator,
                          .on_tokens = show});
  }
  print("\n");
}

}  // namespace examples
