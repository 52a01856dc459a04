// Byte-level BPE apart from the published vocabulary's cases (reference_tokenizers).

#include "nn/text/bpe.h"

#include <doctest/doctest.h>

#include <random>
#include <thread>

#include "tests/unit/file_checks.h"

namespace attune::tests {
namespace {

using Ids = std::vector<std::int64_t>;

const std::string rhyme =
    "Peter Piper picked a peck of pickled peppers. A peck of pickled peppers Peter Piper picked. "
    "If Peter Piper picked a peck of pickled peppers, where's the peck of pickled peppers Peter Piper picked?\n";

TEST_CASE("BPE learns what comes often, and gives any text back") {
  const auto tokenizer = nn::BpeTokenizer::train(rhyme, {.size = 300});
  CHECK(tokenizer.size() <= 300);
  CHECK(tokenizer.encode(rhyme).size() < rhyme.size() / 2);
  CHECK(tokenizer.id_of("Ġpickled") >= 256);
  for (const std::string& text :
       {rhyme, std::string("naïve 中文 😀\n\n  \t x"), std::string("\0\x7f", 2), std::string()})
    CHECK(tokenizer.decode(tokenizer.encode(text)) == text);
  CHECK(tokenizer.decode(tokenizer.encode("a\xff\xc3(")) == "a\xEF\xBF\xBD\xEF\xBF\xBD(");
  CHECK(tokenizer.special().eos == tokenizer.size() - 1);
  CHECK(tokenizer.encode("a<|endoftext|>b") ==
        Ids{tokenizer.id_of("a"), tokenizer.special().eos, tokenizer.id_of("b")});
  CHECK(refusal<IndexError>([&] { tokenizer.decode({tokenizer.size()}); }) != "");
}

TEST_CASE("the first merge is of the most frequent pair, the smaller one among equals") {
  // " ab" three times, "cd" three times.
  const auto tokenizer = nn::BpeTokenizer::train("ab ab ab cd cd cd", {.size = 258, .special = {}});
  CHECK(tokenizer.token_of(256) == "ab");
  CHECK(tokenizer.token_of(257) == "cd");
}

TEST_CASE("a trained BPE is kept in GPT-2's two files") {
  const Folder folder;
  const auto saved = nn::BpeTokenizer::train(rhyme, {.size = 290, .special = {"<|endoftext|>", "<pad>"}});
  saved.save(folder / "vocab.json", folder / "merges.txt");
  const auto loaded = nn::BpeTokenizer::load(folder / "vocab.json", folder / "merges.txt");
  CHECK(loaded.size() == saved.size());
  CHECK(loaded.encode(rhyme + "<pad>") == saved.encode(rhyme + "<pad>"));
  CHECK(loaded.special().pad == saved.special().pad);
  CHECK(get(folder / "merges.txt").starts_with("#version: 0.2\n"));
}

/// The rules by their definition: the first line that applies, at all of its places from left to right, and again.
std::vector<std::string> merged(std::vector<std::string> parts, const std::vector<std::string>& lines) {
  for (bool again = true; again;) {
    again = false;
    for (const std::string& line : lines) {
      const std::size_t space = line.find(' ');
      const std::string left = line.substr(0, space), right = line.substr(space + 1);
      std::vector<std::string> next;
      for (std::size_t i = 0; i < parts.size(); ++i)
        if (i + 1 < parts.size() && parts[i] == left && parts[i + 1] == right) {
          next.push_back(left + right);
          ++i;
        } else {
          next.push_back(parts[i]);
        }
      if (next.size() == parts.size()) continue;
      parts = next;
      again = true;
      break;
    }
  }
  return parts;
}

TEST_CASE("short and long words are merged by the definition") {
  std::mt19937 random(5);
  std::string text;
  for (int i = 0; i < 1500; ++i) text += "abc"[random() % 3];
  const auto tokenizer = nn::BpeTokenizer::train(text, {.size = 330, .special = {}});
  const Folder folder;
  tokenizer.save(folder / "v", folder / "m");
  std::vector<std::string> lines;
  std::ifstream file(folder / "m");
  for (std::string line; std::getline(file, line);)
    if (!line.starts_with("#")) lines.push_back(line);
  CHECK(lines.size() > 50);
  for (const std::size_t n : {1U, 2U, 47U, 48U, 49U, 50U, 400U}) {
    const std::string word = text.substr(1500 - n);
    std::vector<std::string> parts;
    for (const char c : word) parts.emplace_back(1, c);
    std::vector<std::string> tokens;
    for (const std::int64_t id : tokenizer.encode(word)) tokens.push_back(tokenizer.token_of(id));
    CHECK(tokens == merged(parts, lines));
  }
  CHECK(tokenizer.encode(std::string(200000, 'a')).size() <= 200000);  // and in no time
}

TEST_CASE("BPE's special tokens are no part of what it learns from, and are spelled as they are") {
  std::string text;
  for (int i = 0; i < 50; ++i) text += "one two<|endoftext|>";
  const auto tokenizer = nn::BpeTokenizer::train(text, {.size = 300});
  CHECK(tokenizer.id_of("one") >= 256);
  CHECK(tokenizer.id_of("text") == -1);
  CHECK(tokenizer.id_of("<|") == -1);
  const auto accented = nn::BpeTokenizer::train(rhyme, {.size = 300, .special = {"<é>"}});
  CHECK(accented.decode(accented.encode("a<é>é")) == "a<é>é");
  const Folder folder;
  accented.save(folder / "v", folder / "m");
  CHECK(nn::BpeTokenizer::load(folder / "v", folder / "m").decode(accented.encode("a<é>é")) == "a<é>é");
  const auto said = [](const std::vector<std::string>& special) {
    return thrown([&] { nn::BpeTokenizer::train(rhyme, {.size = 300, .special = special}); });
  };
  CHECK(said({""}) == "ValueError: BpeTokenizer::train: a special token is empty");
  CHECK(said({"<a>", "<a>"}) == "ValueError: BpeTokenizer::train: the special token \"<a>\" is there twice");
  CHECK(said({"<\xff>"}) == "ValueError: BpeTokenizer::train: a special token: is not UTF-8: byte 1 is 0xFF");
  CHECK(said({"qz"}) ==
        "ValueError: BpeTokenizer::train: the special token \"qz\" is two tokens side by side, which is how a merge is "
        "spelled: put it in < > or [ ]");
  CHECK(nn::BpeTokenizer::train(rhyme, {.size = 300, .special = {"[q]", "~~~~~"}}).size() <= 300);
  CHECK(said({"a"}) == "ValueError: BpeTokenizer::train: the special token \"a\" is how a byte is spelled");
  CHECK(said({"Ġpeck"}) == "ValueError: BpeTokenizer::train: the special token \"Ġpeck\" is a common part of the text");
}

TEST_CASE("several threads encode with one tokenizer") {
  const auto tokenizer = nn::BpeTokenizer::train(rhyme, {.size = 300});
  const Ids expected = tokenizer.encode(rhyme);
  std::vector<int> wrong(4);
  std::vector<std::thread> threads;
  for (int& count : wrong)
    threads.emplace_back([&] {
      for (int i = 0; i < 200; ++i) count += tokenizer.encode(rhyme) != expected;
    });
  for (std::thread& t : threads) t.join();
  CHECK(wrong == std::vector<int>(4));
}

TEST_CASE("BPE refuses files that are damaged or do not belong together") {
  const Folder folder;
  const auto tokenizer = nn::BpeTokenizer::train(rhyme, {.size = 270});
  const std::string vocab = folder / "vocab.json", merges = folder / "merges.txt";
  tokenizer.save(vocab, merges);
  const std::string good_vocab = get(vocab), good_merges = get(merges);
  const auto refused = [&](const std::string& v, const std::string& m) {
    put(vocab, v);
    put(merges, m);
    std::string what = refusal<FileError>([&] { nn::BpeTokenizer::load(vocab, merges); });
    for (const std::string& path : {vocab, merges})
      for (std::size_t at = what.find(path); at != std::string::npos; at = what.find(path))
        what.replace(at, path.size(), path == vocab ? "VOCAB" : "MERGES");
    return what;
  };
  CHECK(refused("[]", good_merges) == "VOCAB: is not a JSON object from tokens to their ids");
  CHECK(refused("{\"a\": 0,", good_merges) == "VOCAB: is no JSON at byte 8");
  const std::string deep = std::string(1'000'000, '[') + std::string(1'000'000, ']');
  CHECK(refused("{\"a\": " + deep + "}", good_merges) ==
        "VOCAB: the id [...] of \"a\" is none of 0, 1, ... of its tokens");
  CHECK(refused(R"({"a": 0, "b": 0})", good_merges) == "VOCAB: the id 0 of \"b\" is there twice");
  CHECK(refused(R"({"a": 0, "b": 7})", good_merges) == "VOCAB: the id 7 of \"b\" is none of 0, 1, ... of its tokens");
  CHECK(refused(R"({"a": "0"})", good_merges).starts_with("VOCAB: the id \"0\" of \"a\""));
  CHECK(refused(R"({"a": 0})", good_merges) == "VOCAB: lacks the byte \"Ā\": not a byte-level vocabulary");
  CHECK(refused(good_vocab, "#version: 0.2\np\n") == "MERGES: line 2: is not two tokens");
  CHECK(refused(good_vocab, "#version: 0.2\np e x\n") == "MERGES: line 2: is not two tokens");
  CHECK(refused(good_vocab, "q z\n") == "MERGES: line 1: \"qz\" is not in VOCAB");
  CHECK(refused(good_vocab, "a \xff\n") == "MERGES: is not UTF-8 at byte 2");
  CHECK(refusal<FileError>([&] { nn::BpeTokenizer::load(folder / "none", merges); }) != "");
  // A file of merges that ends too early would leave tokens that nothing makes.
  const std::string lost = refused(good_vocab, "");
  CHECK(lost.starts_with("MERGES: its 0 merges do not make \""));
  CHECK(lost.ends_with("one of the 270 tokens of VOCAB: the file is cut off, or another vocabulary's"));
  const std::string all_but_one = good_merges.substr(0, good_merges.rfind('\n', good_merges.size() - 2) + 1);
  CHECK(refused(good_vocab, all_but_one).starts_with("MERGES: its 12 merges do not make \""));
  CHECK(thrown([&] { nn::BpeTokenizer::train("a\xff"); }) ==
        "ValueError: BpeTokenizer::train: is not UTF-8: byte 1 is 0xFF");
  CHECK(thrown([&] { nn::BpeTokenizer::train("a", {.size = 256}); }) ==
        "ValueError: BpeTokenizer::train: size = 256 must be at least 257");
}

}  // namespace
}  // namespace attune::tests
