// BLEU apart from sacrebleu's cases (reference_bleu).

#include "nn/metrics/bleu.h"

#include <doctest/doctest.h>

#include "tests/unit/plain.h"

namespace attune::tests {
namespace {

/// The number of words of a text, seen as the length of a hypothesis.
std::int64_t words(const std::string& text, nn::BleuTokens tokens) {
  return nn::bleu({text}, {{"a"}}, {.tokens = tokens}).length;
}

/// Whether two texts are the same words.
bool same(const std::string& a, const std::string& b, nn::BleuOptions o = {}) {
  nn::BleuOptions plain{.tokens = nn::BleuTokens::none, .max_order = 1};
  o.max_order = 1;
  // b is written in words already; as the reference it goes through the same tokens.
  const nn::BleuResult r = nn::bleu({a}, {{b}}, o), there = nn::bleu({b}, {{b}}, plain);
  return r.score > 99.999 && r.length == there.length;
}

}  // namespace

TEST_CASE("BLEU by hand") {
  // Of 6 words 5 match, of 5 pairs 3, of 4 triples 1; the reference has 7 words.
  const nn::BleuOptions o{.tokens = nn::BleuTokens::none, .max_order = 3};
  const nn::BleuResult r = nn::bleu({"the cat sat on a mat"}, {{"the cat was on a mat today"}}, o);
  CHECK(r.counts == std::vector<double>{5, 3, 1});
  CHECK(r.totals == std::vector<double>{6, 5, 4});
  CHECK(r.brevity_penalty == doctest::Approx(std::exp(1 - 7.0 / 6)));
  CHECK(r.score == doctest::Approx(100 * std::exp(1 - 7.0 / 6) * std::cbrt(5.0 / 6 * 3 / 5 * 1 / 4)));
  // A word counts as often as the reference that has it most often.
  const nn::BleuResult clipped = nn::bleu({"the the the"}, {{"the cat", "the the dog"}}, o);
  CHECK(clipped.counts == std::vector<double>{2, 1, 0});
  CHECK(clipped.reference_length == 3);
  // A corpus is more than the mean of its sentences; sentences may come one by one.
  nn::Bleu all(o);
  CHECK(all.value().score == 0);
  all.add("a b c", {"a b c"});
  all.add("x y z", {"u v w"});
  CHECK(all.value().score == doctest::Approx(50));
}

TEST_CASE("BLEU: words of 13a") {
  const auto o = nn::BleuTokens::mteval_13a;
  CHECK(words("Hello, world!", o) == 4);
  CHECK(words("3.5% of 1,000 in 2019-2020", o) == 8);
  CHECK(same("Hello, world!", "Hello , world !"));
  CHECK(same("It cost $1,234.50.", "It cost $ 1,234.50 ."));
  CHECK(same("2019-2020 well-known", "2019 - 2020 well-known"));
  CHECK(same("&quot;AT&amp;T&quot; &lt;b&gt;", "\" AT & T \" < b >"));
  CHECK(same("don't", "don't"));
  CHECK(same("end.\n", "end ."));
  CHECK(same("well-\nknown", "wellknown"));
  CHECK(same("a<skipped>b", "ab"));
  CHECK(
      same("a\xC2\xA0"
           "b\xE3\x80\x80"
           "c\x1C"
           "d",
           "a b c d"));  // white space of Unicode, and of Python
  CHECK(same("\xC3\xA9.\xC3\xA9", "\xC3\xA9 . \xC3\xA9"));
}

TEST_CASE("BLEU: words by Unicode's classes, and characters") {
  const nn::BleuOptions intl{.tokens = nn::BleuTokens::international};
  CHECK(
      same("\xC2\xABOui\xC2\xBB, 3,5 \xE2\x82\xAC"
           "5",
           "\xC2\xAB Oui \xC2\xBB , 3,5 \xE2\x82\xAC 5", intl));
  CHECK(same("don't", "don ' t", intl));
  CHECK(words("\xE4\xBD\xA0\xE5\xA5\xBD ab", nn::BleuTokens::characters) == 4);
}

TEST_CASE("BLEU: Chinese characters are words, and the rest as in 13a") {
  const nn::BleuOptions zh{.tokens = nn::BleuTokens::chinese};
  CHECK(same("\u4F60\u597D\uFF0CBLEU 3.5\u3002", "\u4F60 \u597D \uFF0C BLEU 3.5 \u3002", zh));
  CHECK(words("\u4F60\u597D ab", nn::BleuTokens::chinese) == 3);
  CHECK(words("don't, (a-b) 1,000", nn::BleuTokens::chinese) == 6);
  // Its table of supplementary characters is one of U+2001 .. U+2A6D: quotation marks, dashes, arrows.
  CHECK(words("\u201Ca\u201D\u2014b\u2192c", nn::BleuTokens::chinese) == 7);
  CHECK(words("\U00020000\U00020001", nn::BleuTokens::chinese) == 1);
  CHECK(words("\u9FBB\u9FBC\u9FBD", nn::BleuTokens::chinese) == 2);
  // Without spaces around the text: a point that begins it stays with what follows.
  CHECK(words(".a", nn::BleuTokens::chinese) == 2);
  CHECK(words("..", nn::BleuTokens::chinese) == 2);
  CHECK(words("a.", nn::BleuTokens::chinese) == 2);
  CHECK(words(".", nn::BleuTokens::chinese) == 1);
  CHECK(words("5.", nn::BleuTokens::chinese) == 1);
}

TEST_CASE("BLEU: lower case is Python's") {
  const nn::BleuOptions o{.tokens = nn::BleuTokens::none, .lowercase = true};
  CHECK(same("ABC \xC3\x89", "abc \xC3\xA9", o));
  CHECK(same("\xCE\x9F\xCE\xA3 \xCE\xA3\xCE\x9F", "\xCE\xBF\xCF\x82 \xCF\x83\xCE\xBF", o));  // a sigma that ends a word
  CHECK(same("\xC4\xB0", "i\xCC\x87", o));
  CHECK(!same("ABC", "abc", {.tokens = nn::BleuTokens::none}));
}

TEST_CASE("BLEU refuses what is none") {
  CHECK(thrown([] { nn::Bleu({.max_order = 0}); }) == "ValueError: Bleu: max_order = 0 is not in [1, 100]");
  CHECK(thrown([] { nn::Bleu({.smooth_value = -0.5}); }).starts_with("ValueError: Bleu: smooth_value"));
  CHECK(thrown([] { nn::bleu({"a", "b"}, {{"a"}}); }) == "ValueError: bleu: 2 hypotheses and the references of 1");
  nn::Bleu bleu;
  CHECK(thrown([&] { bleu.add("a", {}); }) == "ValueError: Bleu: a sentence without a reference");
  CHECK(thrown([&] { bleu.add("a", {"ok", "ab\xFF"}); }) == "ValueError: Bleu: byte 2 of a text is not UTF-8");
  CHECK(bleu.value().length == 0);
}

}  // namespace attune::tests
