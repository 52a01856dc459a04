// How fast tokenizers are, on one thread: `tokenizers [--data FILE] [--vocab DIR]`, in bytes of text a second. The text
// is the file's, or made of words as frequent as those of English. Vocabularies are trained on it, or GPT-2's and
// BERT's published ones are read from DIR.

#include <benchmark/benchmark.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <memory>
#include <random>
#include <sstream>

#include "nn/nn.h"

using namespace attune;

namespace {

/// 2 MB of made-up words, the n-th of which comes with a probability of 1 / n, in sentences.
std::string english_like() {
  std::mt19937 random(1);
  const auto below = [&](std::size_t n) { return random() % n; };
  std::vector<std::string> words;
  std::vector<double> weights;
  for (int i = 1; i <= 20000; ++i) {
    std::string word;
    for (std::size_t n = 1 + below(2) + below(1 + static_cast<std::size_t>(std::log(i))); n > 0; --n) {
      word += "bcdfghlmnprst"[below(13)];
      word += "aeiou"[below(5)];
    }
    words.push_back(word);
    weights.push_back(1.0 / i);
  }
  std::discrete_distribution<std::size_t> choose(weights.begin(), weights.end());
  std::string text;
  while (text.size() < 2'000'000) {
    for (std::size_t n = 4 + below(12); n > 0; --n) text += words[choose(random)] + (n > 1 ? " " : "");
    text += below(5) == 0 ? ".\n" : below(3) == 0 ? ", " : ". ";
  }
  return text;
}

void encode(benchmark::State& state, const nn::Tokenizer& tokenizer, const std::string& text) {
  std::size_t tokens = 0;
  for (auto _ : state) tokens = tokenizer.encode(text).size();
  state.SetBytesProcessed(static_cast<std::int64_t>(text.size()) * state.iterations());
  state.counters["bytes a token"] = static_cast<double>(text.size()) / static_cast<double>(tokens);
}

/// Line by line into a file of token ids, as a corpus larger than the memory is.
void to_file(benchmark::State& state, const nn::Tokenizer& tokenizer, const std::string& text) {
  const std::string path = std::filesystem::temp_directory_path() / ("attune-corpus-" + std::to_string(getpid()));
  for (auto _ : state) {
    nn::TokenWriter corpus(path, tokenizer.size());
    std::istringstream lines(text);
    for (std::string line; std::getline(lines, line);) corpus.append(tokenizer.encode(line + "\n"));
    corpus.finish();
  }
  state.SetBytesProcessed(static_cast<std::int64_t>(text.size()) * state.iterations());
  state.counters["bytes in the file"] = static_cast<double>(std::filesystem::file_size(path));
  std::filesystem::remove(path);
}

void decode(benchmark::State& state, const nn::Tokenizer& tokenizer, const std::string& text) {
  const std::vector<std::int64_t> ids = tokenizer.encode(text);
  for (auto _ : state) benchmark::DoNotOptimize(tokenizer.decode(ids));
  state.SetBytesProcessed(static_cast<std::int64_t>(text.size()) * state.iterations());
}

template <class F>
void train(const char* name, const std::string& text, F train_one) {
  benchmark::RegisterBenchmark(name, [&text, train_one](benchmark::State& state) {
    for (auto _ : state) train_one();
    state.SetBytesProcessed(static_cast<std::int64_t>(text.size()) * state.iterations());
  })->Unit(benchmark::kMillisecond);
}

}  // namespace

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  CLI::App app("Measures tokenizers. Google Benchmark's options are taken too.");
  std::string data, vocab;
  app.add_option("--data", data, "a text instead of a made-up one")->check(CLI::ExistingFile);
  app.add_option("--vocab", vocab, "a folder with vocab.json, merges.txt and vocab.txt instead of trained ones")
      ->check(CLI::ExistingDirectory);
  CLI11_PARSE(app, argc, argv);

  std::string text;
  if (data.empty()) {
    text = english_like();
  } else {
    std::ostringstream all;
    all << std::ifstream(data, std::ios::binary).rdbuf();
    text = all.str();
  }
  std::vector<std::pair<std::string, std::unique_ptr<nn::Tokenizer>>> tokenizers;
  const auto add = [&]<class T>(const char* name, T tokenizer) {
    tokenizers.emplace_back(name, std::make_unique<T>(std::move(tokenizer)));
  };
  add("bytes", nn::ByteTokenizer());
  add("characters", nn::CharTokenizer(text));
  add("words", nn::WordTokenizer(text, 8000));
  add("bpe", vocab.empty() ? nn::BpeTokenizer::train(text, {.size = 8000})
                           : nn::BpeTokenizer::load(vocab + "/vocab.json", vocab + "/merges.txt"));
  add("word_piece", vocab.empty() ? nn::WordPieceTokenizer::train(text, {.size = 8000})
                                  : nn::WordPieceTokenizer::load(vocab + "/vocab.txt"));
  for (const auto& [name, tokenizer] : tokenizers) {
    const nn::Tokenizer& t = *tokenizer;
    benchmark::RegisterBenchmark(("encode/" + name).c_str(), [&](benchmark::State& s) { encode(s, t, text); });
    benchmark::RegisterBenchmark(("to_file/" + name).c_str(), [&](benchmark::State& s) { to_file(s, t, text); });
    benchmark::RegisterBenchmark(("decode/" + name).c_str(), [&](benchmark::State& s) { decode(s, t, text); });
  }
  train("train/bpe", text, [&] { nn::BpeTokenizer::train(text, {.size = 4000}); });
  train("train/word_piece", text, [&] { nn::WordPieceTokenizer::train(text, {.size = 4000}); });
  benchmark::RunSpecifiedBenchmarks();
}
