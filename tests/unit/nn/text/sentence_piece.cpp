// SentencePiece apart from the published model's cases (reference_tokenizers).

#include "nn/text/sentence_piece.h"

#include <doctest/doctest.h>

#include "tests/unit/file_checks.h"

namespace attune::tests {
namespace {

std::string text() {
  std::string all;
  for (int i = 0; i < 200; ++i)
    all += "the cat number " + std::to_string(i) + " sees the dog, and the dog runs\nanother line of words\n";
  return all;
}

TEST_CASE("SentencePiece learns, and is kept as a model") {
  const Folder folder;
  const std::string path = folder / "spiece.model";
  if (!nn::SentencePieceTokenizer::available()) {
    CHECK(refusal<ValueError>([&] { nn::SentencePieceTokenizer::load(path); }).find("libsentencepiece-dev") !=
          std::string::npos);
    return;
  }
  const auto t = nn::SentencePieceTokenizer::train(text(), path, {.size = 60, .extra_ids = 5});
  CHECK(t.size() == 65);
  CHECK(t.special().pad == 0);
  CHECK(t.special().eos == 1);
  CHECK(t.special().unk == 2);
  CHECK(t.id_of("<extra_id_0>") == 64);
  CHECK(t.id_of("<extra_id_4>") == 60);
  CHECK(t.token_of(63) == "<extra_id_1>");
  CHECK(t.decode(t.encode("the dog sees the cat")) == "the dog sees the cat");
  const auto again = nn::SentencePieceTokenizer::load(path, {.extra_ids = 5});
  CHECK(again.encode(text()) == t.encode(text()));
  CHECK(t.encode("the <extra_id_0> cat</s>").back() == 1);
  CHECK(refusal<IndexError>([&] { t.decode({65}); }) != "");

  put(path, "no model");
  CHECK(refusal<FileError>([&] { nn::SentencePieceTokenizer::load(path); }) == path + ": is no SentencePiece model");
  CHECK(refusal<FileError>([&] { nn::SentencePieceTokenizer::load(folder / "none"); }) != "");
  CHECK(refusal<ValueError>([&] { nn::SentencePieceTokenizer::train("\n \n", path); }) ==
        "SentencePieceTokenizer::train: the text is empty");
  CHECK(refusal<ValueError>([&] {
          nn::SentencePieceTokenizer::train("a b c", path, {.size = 5000});
        }).starts_with("SentencePieceTokenizer::train: "));
}

TEST_CASE("SentencePiece learns from lines of any length") {
  if (!nn::SentencePieceTokenizer::available()) return;
  const Folder folder;
  std::string line = "quick brown";
  for (int i = 0; i < 2000; ++i) line += " quick zebra " + std::to_string(i);
  REQUIRE(line.size() > 20000);
  const auto t = nn::SentencePieceTokenizer::train(text() + line, folder / "m", {.size = 80, .extra_ids = 0});
  CHECK(t.decode(t.encode("zebra quick")) == "zebra quick");
  CHECK(t.id_of("z") + t.id_of("\u2581quick") > 0);
}

}  // namespace
}  // namespace attune::tests
