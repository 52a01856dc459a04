// Schedules of the learning rate.

#include <doctest/doctest.h>

#include <cmath>

#include "optim/optim.h"
#include "tests/unit/plain.h"

namespace attune::tests {

TEST_CASE("optim: schedules") {
  const auto warm = optim::warmup(4);
  CHECK(warm(1) == 0.25);
  CHECK(warm(4) == 1);
  CHECK(warm(100) == 1);
  const auto cos = optim::cosine(100, 10, 0.1);
  CHECK(cos(5) == 0.5);
  CHECK(cos(10) == 1);
  CHECK(cos(55) == doctest::Approx(0.55));
  CHECK(cos(100) == doctest::Approx(0.1));
  CHECK(cos(1000) == doctest::Approx(0.1));
  const auto line = optim::linear(110, 10, 0.2);
  CHECK(line(5) == 0.5);
  CHECK(line(10) == 1);
  CHECK(line(60) == doctest::Approx(0.6));
  CHECK(line(110) == doctest::Approx(0.2));
  CHECK(line(1000) == doctest::Approx(0.2));
  CHECK(optim::linear(4)(1) == 0.75);
  CHECK(optim::inverse_sqrt(16)(64) == 0.5);
  const auto noam = optim::noam(512, 4000);
  CHECK(noam(4000) == doctest::Approx(std::pow(512, -0.5) * std::pow(4000, -0.5)));
  CHECK(noam(100) == doctest::Approx(std::pow(512, -0.5) * 100 * std::pow(4000, -1.5)));
  CHECK(noam(16000) == doctest::Approx(std::pow(512, -0.5) * std::pow(16000, -0.5)));
  const auto steps = optim::step_decay(10, 0.5);
  CHECK(steps(10) == 1);
  CHECK(steps(11) == 0.5);
  CHECK(steps(21) == 0.25);
  Tensor p = tensor({1}, float64).requires_grad_();
  optim::SGD opt({p}, {.lr = 2, .schedule = optim::warmup(4)});
  CHECK(opt.lr() == 0.5);
  p.set_grad(tensor({1}, float64));
  opt.step();
  CHECK(p.item() == 0.5);
  CHECK(opt.lr() == 1);
}

}  // namespace attune::tests
