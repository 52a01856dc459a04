// WordPiece apart from the published vocabularies' cases (reference_tokenizers).

#include "nn/text/word_piece.h"

#include <doctest/doctest.h>

#include "tests/unit/file_checks.h"

namespace attune::tests {
namespace {

using Ids = std::vector<std::int64_t>;

constexpr const char* small = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nthe\n##re\nun\n##able\n,\n##t\ncafe\n中\n";

nn::WordPieceTokenizer small_tokenizer(bool uncased = true) {
  const Folder folder;
  put(folder / "vocab.txt", small);
  return nn::WordPieceTokenizer::load(folder / "vocab.txt", {.uncased = uncased});
}

TEST_CASE("words are the longest pieces that there are, from the left") {
  const auto t = small_tokenizer();
  CHECK(t.size() == 13);
  CHECK(t.encode("There,the unable") == Ids{5, 6, 9, 5, 7, 8});
  CHECK(t.decode(t.encode("There, unable")) == "there , unable");
  CHECK(t.encode("thex") == Ids{1});
  CHECK(t.encode("Café the中the") == Ids{11, 5, 12, 5});
  std::string marks = "cafe";
  for (int i = 0; i < 100'000; ++i) marks += i % 2 ? "\u0301" : "\u0323";
  CHECK(t.encode(marks) == Ids{11});  // and in no time
  CHECK(t.encode("the [MASK] the[SEP]") == Ids{5, 4, 5, 3});
  CHECK(t.encode("un" + std::string(98, 't')).size() == 99);
  CHECK(t.encode("un" + std::string(99, 't')) == Ids{1});
  CHECK(small_tokenizer(false).encode("The the café") == Ids{1, 5, 1});
  CHECK(t.special().mask == 4);
  CHECK(t.special().pad == 0);
}

TEST_CASE("pairs for BERT") {
  const auto t = small_tokenizer();
  const nn::TokenBatch b = nn::encode_pairs(t, {{"the the", "unable"}}, {.length = 8});
  CHECK(same(b.tokens, index_tensor({2, 5, 5, 3, 7, 8, 3, 0}, {1, 8})));
  CHECK(same(b.token_types, index_tensor({0, 0, 0, 0, 1, 1, 1, 0}, {1, 8})));
}

TEST_CASE("WordPiece learns pieces, and is kept as vocab.txt") {
  std::string text;
  for (int i = 0; i < 5; ++i) text += "Low lower lowest; new newer newest. ";
  const auto t = nn::WordPieceTokenizer::train(text, {.size = 40});
  CHECK(t.size() <= 40);
  CHECK(t.id_of("low") > 0);
  CHECK(t.encode("lowest").size() < 4);
  CHECK(t.decode(t.encode("newest lower")) == "newest lower");
  const Folder folder;
  t.save(folder / "vocab.txt");
  const auto again = nn::WordPieceTokenizer::load(folder / "vocab.txt");
  CHECK(again.encode(text) == t.encode(text));
  CHECK(nn::WordPieceTokenizer::train(text, {.size = 40, .uncased = false}).id_of("Low") > 0);
}

TEST_CASE("WordPiece refuses what it cannot use") {
  const Folder folder;
  const std::string path = folder / "vocab.txt";
  const auto refused = [&](const std::string& text) {
    put(path, text);
    return refusal<FileError>([&] { nn::WordPieceTokenizer::load(path); }).substr(path.size() + 2);
  };
  CHECK(refused("[UNK]\na\na\n") == "line 3: \"a\" is there twice");
  CHECK(refused("[UNK]\n\na\n") == "line 2: is empty");
  CHECK(refused("a\nb\n") == "has no [UNK]: not BERT's vocabulary");
  CHECK(refused("[UNK]\n\xff\n") == "is not UTF-8 at byte 6");
  CHECK(thrown([] { nn::WordPieceTokenizer::train("  "); }) ==
        "ValueError: WordPieceTokenizer::train: the text has no words");
  CHECK(thrown([] { nn::WordPieceTokenizer::train("abc def", {.size = 6}); }) ==
        "ValueError: WordPieceTokenizer::train: size = 6 is below the 11 of the characters and special tokens");
}

}  // namespace
}  // namespace attune::tests
