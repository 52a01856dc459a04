#include "nn/metrics/language.h"

#include <doctest/doctest.h>

#include "tests/unit/plain.h"

namespace attune::tests {

TEST_CASE("language loss: every target weighs the same, however batches are cut") {
  const Tensor logits = randn({5, 7}, float64).requires_grad_();
  const Tensor targets = index_tensor({3, -100, 0, 6, 2}, {5});
  const double mean = cross_entropy(logits, targets).item();
  nn::LanguageLoss at_once, cut, of_means;
  CHECK(std::isnan(at_once.value()));
  at_once.add(logits, targets);
  for (const auto& [from, to] : {std::pair{0, 1}, {1, 2}, {2, 5}}) {
    const Tensor y = slice(logits, 0, from, to), t = slice(targets, 0, from, to);
    cut.add(y, t);
    of_means.add_mean(from == 1 ? not_a_number : cross_entropy(y, t).item(), from == 1 ? 0 : to - from);
  }
  for (const nn::LanguageLoss* loss : {&at_once, &cut, &of_means}) {
    CHECK(loss->count() == 4);
    CHECK(loss->value() == doctest::Approx(mean));
    CHECK(loss->perplexity() == doctest::Approx(std::exp(mean)));
    CHECK(loss->bits_per_byte(9) == doctest::Approx(4 * mean / std::log(2.0) / 9));
  }
  CHECK(nn::perplexity(logits, targets) == doctest::Approx(std::exp(mean)));
  CHECK(nn::bits_per_byte(logits, targets, 4) == doctest::Approx(mean / std::log(2.0)));
}

TEST_CASE("language loss: a model that knows nothing, and what is refused") {
  CHECK(nn::perplexity(zeros({2, 3, 50}), zeros({2, 3}, int64)) == doctest::Approx(50));
  CHECK(nn::bits_per_byte(zeros({8, 256}), zeros({8}, int64), 8) == doctest::Approx(8));
  nn::LanguageLoss loss;
  CHECK(thrown([&] { loss.add(zeros({2, 3}), zeros({3}, int64)); }).starts_with("ShapeError"));
  CHECK(thrown([&] { loss.add(zeros({2, 3}), zeros({2}, int64) + 3); }).starts_with("IndexError"));
  CHECK(thrown([&] { loss.add_mean(1, -1); }) == "ValueError: LanguageLoss: a count of -1 targets");
  CHECK(loss.count() == 0);
  CHECK(thrown([&] { loss.bits_per_byte(0); }).starts_with("ValueError: LanguageLoss: bits a byte of 0 bytes"));
}

}  // namespace attune::tests
