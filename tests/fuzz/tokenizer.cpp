// Tokenizers' files, and texts through them. The first byte says which file; what follows is the file and, behind a
// byte 0, a text. A tokenizer that loads gives tokens that it knows.
#include <algorithm>

#include "nn/text/bpe.h"
#include "nn/text/simple.h"
#include "nn/text/word_piece.h"
#include "tests/fuzz/target.h"

namespace {

using namespace attune;

void use(const nn::Tokenizer& tokenizer, const std::string& text) {
  const std::vector<std::int64_t> ids = tokenizer.encode(text);
  for (const std::int64_t id : ids)
    if (id < 0 || id >= tokenizer.size()) std::abort();
  tokenizer.decode(ids);
  nn::encode_batch(tokenizer, {text, ""}, {.length = 8, .special = true});
}

fuzz::Bytes bytes_of(const std::string& text) { return std::as_bytes(std::span(text)); }

const nn::BpeTokenizer& small_bpe() {
  static const auto tokenizer = nn::BpeTokenizer::train("hello hello hello world", {.size = 262});
  return tokenizer;
}

/// Its vocab.json.
const std::string& small_vocabulary() {
  static const std::string text = [] {
    std::string json;
    for (std::int64_t id = 0; id < small_bpe().size(); ++id) {
      const std::string token = small_bpe().token_of(id);
      const bool escaped = token == "\"" || token == "\\";
      json += (id ? ",\"" : "{\"") + (escaped ? "\\" + token : token) + "\":" + std::to_string(id);
    }
    return json + "}";
  }();
  return text;
}

}  // namespace

void attune::fuzz::run(Bytes bytes) {
  if (bytes.empty()) return;
  const auto first = static_cast<unsigned>(bytes[0]);
  const std::string all(reinterpret_cast<const char*>(bytes.data()) + 1, bytes.size() - 1);
  const std::size_t cut = std::min(all.find('\0'), all.size());
  const std::string text = cut < all.size() ? all.substr(cut + 1) : std::string();
  const MemoryFile file(bytes_of(all.substr(0, cut))), vocabulary(bytes_of(small_vocabulary()));
  const bool other = first & 8U;
  tried([&] {
    switch (first % 5) {
      case 0: use(nn::CharTokenizer::load(file.path()), text); break;
      case 1: use(nn::WordTokenizer::load(file.path()), text); break;
      case 2: use(nn::WordPieceTokenizer::load(file.path(), {.uncased = other}), text); break;
      case 3: use(nn::BpeTokenizer::load(vocabulary.path(), file.path()), text); break;
      default: use(small_bpe(), all); use(nn::BpeTokenizer::load(file.path(), vocabulary.path()), text);
    }
  });
}
