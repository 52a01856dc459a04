// A learning rate that falls when a measure stops improving.

#include "optim/plateau.h"

#include <doctest/doctest.h>

#include "optim/optim.h"
#include "tests/unit/plain.h"

namespace attune::tests {
namespace {

/// The rates after each of these measures.
std::vector<double> rates(const std::vector<double>& measures, const optim::PlateauOptions& options) {
  Tensor p = ones({1}).requires_grad_();
  optim::SGD opt({p}, {.lr = 1});
  optim::ReduceLROnPlateau plateau(opt, options);
  std::vector<double> all;
  for (double m : measures) {
    const double before = opt.lr();
    const bool fallen = plateau.step(m);
    CHECK(fallen == (opt.lr() != before));
    all.push_back(opt.lr());
  }
  return all;
}

using Rates = std::vector<double>;

}  // namespace

TEST_CASE("optim: a plateau is more measures without improvement than patience") {
  CHECK(rates({5, 4, 4, 4, 3, 3, 3, 3, 3}, {.factor = 0.5, .patience = 1}) ==
        Rates{1, 1, 1, 0.5, 0.5, 0.5, 0.25, 0.25, 0.125});
  CHECK(rates({1, 1, 1}, {.factor = 0.5, .patience = 0}) == Rates{1, 0.5, 0.25});
  // What counts as improvement.
  CHECK(rates({100, 99.5, 98}, {.factor = 0.5, .patience = 0, .threshold = 0.01}) == Rates{1, 0.5, 0.5});
  CHECK(rates({100, 99.5, 98}, {.factor = 0.5, .patience = 0, .threshold = 0.4, .relative = false}) == Rates{1, 1, 1});
  CHECK(rates({1, 2, 2, 1}, {.factor = 0.5, .patience = 0, .maximize = true}) == Rates{1, 1, 0.5, 0.25});
  CHECK(rates({2, not_a_number, 1, not_a_number}, {.factor = 0.5, .patience = 0}) == Rates{1, 0.5, 0.5, 0.25});
  // After a fall, and at the bottom.
  CHECK(rates({1, 1, 1, 1, 1}, {.factor = 0.5, .patience = 0, .cooldown = 2}) == Rates{1, 0.5, 0.5, 0.5, 0.25});
  CHECK(rates({1, 1, 1, 1}, {.factor = 0.5, .patience = 0, .min_lr = 0.4}) == Rates{1, 0.5, 0.4, 0.4});
  CHECK(rates({1, 1, 1}, {.factor = 0.5, .patience = 0, .least_change = 0.3}) == Rates{1, 0.5, 0.5});
}

TEST_CASE("optim: a plateau's rates are each group's, under the schedule, and its count can be kept") {
  Tensor p = ones({1}).requires_grad_(), q = ones({1}).requires_grad_();
  optim::SGD opt({{.parameters = {p}, .lr = 1.0}, {.parameters = {q}, .lr = 2.0}}, {.schedule = optim::warmup(2)});
  const optim::PlateauOptions options{.factor = 0.5, .patience = 1};
  optim::ReduceLROnPlateau plateau(opt, options);
  plateau.step(1);
  plateau.step(1);
  optim::ReduceLROnPlateau again(opt, options);
  again.load_state_dict(plateau.state_dict());
  CHECK(again.best() == 1);
  CHECK(again.step(1));
  CHECK(opt.base_lr(0) == 0.5);
  CHECK(opt.base_lr(1) == 1);
  CHECK(opt.lr(1) == 0.5);  // of a warm-up's first step
  CHECK(refusal<ValueError>([&] { again.load_state_dict({}); }) ==
        "ReduceLROnPlateau: the state has no number \"best\"");
  CHECK(refusal<ValueError>([&] { optim::ReduceLROnPlateau(opt, {.factor = 1}); }) ==
        "ReduceLROnPlateau: factor = 1.000000 is out of range");
  CHECK(refusal<ValueError>([&] { optim::ReduceLROnPlateau(opt, {.patience = -1}); }) ==
        "ReduceLROnPlateau: patience = -1.000000 is out of range");
}

}  // namespace attune::tests
