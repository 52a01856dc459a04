// BERT's batches: pairs in one row, with their types, padding and masks.

#include "nn/data/pretraining.h"

#include <doctest/doctest.h>

#include "nn/text/simple.h"
#include "nn/text/word_piece.h"
#include "tests/unit/plain.h"

namespace attune::tests {

TEST_CASE("documents of lines: each line that is not empty is a sentence") {
  const nn::ByteTokenizer bytes;
  const auto d = nn::documents_of_lines("ab\n\nc\n\nde\nf", bytes, 3);
  REQUIRE(d.size() == 2);
  CHECK(d[0] == std::vector<nn::Sequence>{{'a', 'b'}, {'c'}, {'d', 'e'}});
  CHECK(d[1] == std::vector<nn::Sequence>{{'f'}});
  CHECK(nn::documents_of_lines("", bytes).empty());
  CHECK(thrown([&] { nn::documents_of_lines("a", bytes, 0); }).starts_with("ValueError: documents_of_lines: lines"));
}

TEST_CASE("pretraining batches: [CLS] first [SEP] second [SEP], types, padding, words, order of sentences") {
  const auto tokenizer = nn::WordPieceTokenizer::train("a b c d e f g a b c d e f g", {.size = 30});
  const nn::SpecialTokens s = tokenizer.special();
  const std::int64_t a = tokenizer.id_of("a"), b = tokenizer.id_of("b"), c = tokenizer.id_of("c");
  std::vector<nn::SentencePair> pairs{{{a, b}, {c}, true}, {{c}, {b, a, b, a}, false}};
  auto batches = nn::pretraining_batches(pairs, tokenizer, {.batch = 2, .shuffle = false, .prefetch = false});
  const nn::PretrainingBatch x = batches.next();
  const std::vector<std::int64_t> tokens{s.cls, a, b,     s.sep, c, s.sep, s.pad, s.pad,
                                         s.cls, c, s.sep, b,     a, b,     a,     s.sep};
  CHECK(x.tokens.shape() == Shape{2, 8});
  const auto read = x.tokens.to_vector<std::int64_t>(), words = x.words.to_vector<std::int64_t>();
  std::int64_t predicted = 0;
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    const bool special = tokens[i] == s.cls || tokens[i] == s.sep || tokens[i] == s.pad;
    if (words[i] == -100)
      CHECK(read[i] == tokens[i]);
    else
      CHECK(words[i] == tokens[i]);
    CHECK(!(special && words[i] != -100));
    predicted += words[i] != -100;
  }
  CHECK(predicted >= 1);
  CHECK(values(x.token_types) == Values{0, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1});
  CHECK(values(x.key_padding_mask) == Values{0, 0, 0, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0});
  CHECK(values(x.next_sentence) == Values{0, 1});
  // All of them, if it is asked for; the next epoch draws anew.
  auto all =
      nn::pretraining_batches(pairs, tokenizer, {.batch = 2, .shuffle = false}, {.share = 1, .masked = 1, .random = 0});
  const nn::PretrainingBatch y = all.next();
  CHECK(sum(to(eq(y.tokens, s.mask), int64)).item() == 8);
  CHECK(sum(to(ne(y.words, -100), int64)).item() == 8);
  bool differs = false;
  for (int epoch = 0; epoch < 20; ++epoch) differs |= values(batches.next().tokens) != values(x.tokens);
  CHECK(differs);
  CHECK(thrown([&] {
          nn::pretraining_batches(pairs, nn::ByteTokenizer(), {.batch = 2});
        }).starts_with("ValueError: pretraining_batches: the tokenizer must have [CLS]"));
}

}  // namespace attune::tests
