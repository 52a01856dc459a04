// Bytes, characters, words, and batches of them.

#include "nn/text/simple.h"

#include <doctest/doctest.h>

#include "nn/text/bpe.h"
#include "nn/text/word_piece.h"
#include "tests/unit/file_checks.h"

namespace attune::tests {
namespace {

using Ids = std::vector<std::int64_t>;

TEST_CASE("bytes are tokens, text or not") {
  const nn::ByteTokenizer bytes({"<pad>", "</s>"});
  CHECK(bytes.size() == 258);
  CHECK(bytes.encode("a\xff</s>b") == Ids{97, 255, 257, 98});
  CHECK(bytes.decode({97, 255, 257}) == "a\xff</s>");
  CHECK(bytes.special().pad == 256);
  CHECK(bytes.id_of("</s>") == 257);
  CHECK(refusal<IndexError>([&] { bytes.decode({258}); }) != "");
}

TEST_CASE("characters are tokens") {
  const nn::CharTokenizer chars("hello 中!");
  CHECK(chars.size() == 7);
  CHECK(chars.encode("!eh") == Ids{1, 2, 3});
  CHECK(chars.decode(chars.encode("中 hello")) == "中 hello");
  CHECK(thrown([&] { chars.encode("hex"); }) ==
        "ValueError: encode: \"x\" at byte 2 is not in the vocabulary, and there is no <unk>");
  const nn::CharTokenizer more("abc", {"<pad>", "<unk>"});
  CHECK(more.encode("axb<pad>") == Ids{2, 1, 3, 0});
  CHECK(thrown([] {
          nn::CharTokenizer("abc", {"<x>", "<x>"});
        }) == "ValueError: CharTokenizer: the special token \"<x>\" is there twice");
  CHECK(thrown([] { nn::ByteTokenizer({""}); }) == "ValueError: ByteTokenizer: a special token is empty");
  CHECK(thrown([] { nn::WordTokenizer("a b", 5, {"\xff"}); }) ==
        "ValueError: WordTokenizer: a special token: is not UTF-8: byte 0 is 0xFF");
  CHECK(thrown([] { nn::CharTokenizer(""); }) == "ValueError: CharTokenizer: the text is empty");
  CHECK(thrown([] { nn::CharTokenizer("ab\xc3"); }) == "ValueError: CharTokenizer: is not UTF-8: byte 2 is 0xC3");
}

TEST_CASE("words are tokens, the frequent ones") {
  const nn::WordTokenizer words("the cat, the dog, the end. 中文", 5);
  CHECK(words.size() == 5);
  CHECK(words.token_of(1) == "the");
  CHECK(words.token_of(2) == ",");
  CHECK(words.decode(words.encode("the  cow, the")) == "the <unk> , the");
  CHECK(words.special().unk == 0);
  CHECK(thrown([] { nn::WordTokenizer("a b", 1); }) ==
        "ValueError: WordTokenizer: size = 1 must be above the 1 special tokens");
}

TEST_CASE("lists of tokens are kept in files") {
  const Folder folder;
  const std::string path = folder / "tokens.json";
  const nn::CharTokenizer chars("hello \"中\"", {"<pad>", "<unk>"});
  chars.save(path);
  const auto again = nn::CharTokenizer::load(path);
  CHECK(again.size() == chars.size());
  CHECK(again.encode("ohx<pad>中") == chars.encode("ohx<pad>中"));
  CHECK(again.special().pad == 0);
  CHECK(refusal<FileError>([&] { nn::WordTokenizer::load(path); }) == path + ": is not a file of words");
  const nn::WordTokenizer words("one two two", 3);
  words.save(path);
  CHECK(nn::WordTokenizer::load(path).encode("two one") == words.encode("two one"));
  const auto refused = [&](const std::string& text) {
    put(path, text);
    return refusal<FileError>([&] { nn::CharTokenizer::load(path); }).substr(path.size() + 2);
  };
  CHECK(refused("x") == "is no JSON at byte 0");
  CHECK(refused("[]") == "is not a file of characters");
  CHECK(refused(R"({"type": "characters"})") == "has no tokens");
  CHECK(refused(R"({"type": "characters", "tokens": ["a", 3], "special": 0})") == "has a token that is no text");
  CHECK(refused(R"({"type": "characters", "tokens": ["a", "a"], "special": 0})") == "has the token \"a\" twice");
  CHECK(refused(R"({"type": "characters", "tokens": ["a"], "special": 2})") ==
        "does not say how many of its tokens are special");
}

TEST_CASE("batches are padded on a side, cut, and say what is padding") {
  const nn::CharTokenizer chars("abcdef", {"<pad>", "<s>", "</s>"});
  const nn::TokenBatch right = nn::encode_batch(chars, {"abc", "", "de"});
  CHECK(same(right.tokens, index_tensor({3, 4, 5, 0, 0, 0, 6, 7, 0}, {3, 3})));
  CHECK(values(right.key_padding_mask) == Values{0, 0, 0, 1, 1, 1, 0, 0, 1});
  CHECK_FALSE(right.token_types.defined());
  const nn::TokenBatch left = nn::encode_batch(
      chars, {"abcdef", "a"}, {.length = 5, .padding = nn::Side::left, .truncation = nn::Side::left, .special = true});
  CHECK(same(left.tokens, index_tensor({1, 6, 7, 8, 2, 0, 0, 1, 3, 2}, {2, 5})));
  CHECK(values(left.key_padding_mask) == Values{0, 0, 0, 0, 0, 1, 1, 0, 0, 0});
  CHECK(nn::decode_batch(chars, left.tokens) == std::vector<std::string>{"<s>def</s>", "<pad><pad><s>a</s>"});
  CHECK(nn::decode_batch(chars, left.tokens, true) == std::vector<std::string>{"def", "a"});
  CHECK(refusal<DTypeError>([&] { nn::decode_batch(chars, ones({1, 2})); }).starts_with("decode_batch: needs int64"));
  CHECK(thrown([&] { nn::encode_batch(chars, {}); }) == "ValueError: encode_batch: there is no text");
  CHECK(thrown([&] { nn::encode_batch(chars, {"a"}, {.length = 1, .special = true}); }) ==
        "ValueError: encode_batch: length = 1 leaves no room for 2 special tokens");
  CHECK(thrown([&] {
          nn::encode_pairs(chars, {{"a", "b"}});
        }) == "ValueError: encode_pairs: the tokenizer has no cls and sep");
}

TEST_CASE("pairs lose tokens from the longer one") {
  const nn::CharTokenizer chars("abcdef", {"[PAD]", "[CLS]", "[SEP]"});
  const nn::TokenBatch pairs = nn::encode_pairs(chars, {{"abcdef", "ab"}, {"a", "b"}}, {.length = 6});
  CHECK(same(pairs.tokens, index_tensor({1, 3, 4, 2, 3, 2, 1, 3, 2, 4, 2, 0}, {2, 6})));
  CHECK(same(pairs.token_types, index_tensor({0, 0, 0, 0, 1, 1, 0, 0, 0, 1, 1, 0}, {2, 6})));
  CHECK(values(pairs.key_padding_mask) == Values{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1});
  const nn::TokenBatch left = nn::encode_pairs(chars, {{"abcdef", "ab"}}, {.length = 6, .truncation = nn::Side::left});
  CHECK(same(left.tokens, index_tensor({1, 7, 8, 2, 4, 2}, {1, 6})));
  // In no time, whichever end goes.
  const std::string all(500'000, 'a');
  CHECK(nn::encode_pairs(chars, {{all, all}}, {.length = 9, .truncation = nn::Side::left}).tokens.numel() == 9);
}

TEST_CASE("text that is not UTF-8 is refused where it is asked for") {
  nn::check_utf8("naïve 中 😀", "text");
  for (const auto& [text, at] : {std::pair{"abc\xff", 3},
                                 {"\xc0\x80", 0},
                                 {"\xed\xa0\x80", 0},
                                 {"a\xe4\xb8", 1},
                                 {"\xf4\x90\x80\x80", 0},
                                 {"0123456789\x80", 10}})
    CHECK(refusal<ValueError>([&, t = text] {
            nn::check_utf8(t, "text");
          }).starts_with("text: is not UTF-8: byte " + std::to_string(at) + " is 0x"));
}

TEST_CASE("a tokenizer's errors name the place of the call") {
  const nn::ByteTokenizer bytes;
  const nn::CharTokenizer chars("ab");
  const auto words = nn::WordPieceTokenizer::train("a b c", {.size = 30});
  const auto bpe = nn::BpeTokenizer::train("a b c", {.size = 257});
  for (const nn::Tokenizer* t : {static_cast<const nn::Tokenizer*>(&bytes), static_cast<const nn::Tokenizer*>(&chars),
                                 static_cast<const nn::Tokenizer*>(&words), static_cast<const nn::Tokenizer*>(&bpe)}) {
    const std::string end = " is not in a vocabulary of " + std::to_string(t->size());
    for (const std::int64_t id : {t->size(), std::int64_t{-1}}) {
      CHECK(thrown([&] { t->decode({0, id}); }) == "IndexError: decode: token " + std::to_string(id) + end);
      CHECK(thrown([&] { t->token_of(id); }) == "IndexError: token_of: token " + std::to_string(id) + end);
      const auto whole = [&](const auto& f) {
        try {
          f();
        } catch (const IndexError& e) {
          return std::string(e.what());
        }
        return std::string();
      };
      CHECK(whole([&] { t->decode({id}); }).find("at simple.cpp:") != std::string::npos);
      CHECK(whole([&] { t->token_of(id); }).find("at simple.cpp:") != std::string::npos);
    }
  }
}

}  // namespace
}  // namespace attune::tests
