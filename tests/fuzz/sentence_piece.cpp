// SentencePiece's model files, and texts through them. The first two bytes say how long the file is, and behind it
// follows a text. A model that loads gives tokens that it knows.
#include "nn/text/sentence_piece.h"

#include <algorithm>

#include "tests/fuzz/target.h"

void attune::fuzz::run(Bytes bytes) {
  if (bytes.size() < 2) return;
  const std::size_t wanted = static_cast<std::size_t>(bytes[0]) << 8 | static_cast<std::size_t>(bytes[1]);
  const Bytes all = bytes.subspan(2);
  const std::size_t cut = std::min(wanted, all.size());
  const MemoryFile file(all.first(cut));
  const Bytes rest = all.subspan(cut);
  const std::string text(reinterpret_cast<const char*>(rest.data()), rest.size());
  tried([&] {
    const auto tokenizer = nn::SentencePieceTokenizer::load(file.path(), {.extra_ids = 3});
    std::vector<std::int64_t> ids = tokenizer.encode(text);
    for (const std::int64_t id : ids)
      if (id < 0 || id >= tokenizer.size()) std::abort();
    ids.insert(ids.end(), {0, tokenizer.size() - 1});
    tokenizer.decode(ids);
  });
}
