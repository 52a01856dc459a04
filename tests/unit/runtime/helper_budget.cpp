// How many helpers a loop gets, with a clock of the test's own.

#include "autograd/runtime/internal/helper_budget.h"

#include <doctest/doctest.h>

namespace attune::tests {

using detail::HelperBudget;
using detail::Nanoseconds;

namespace {
constexpr Nanoseconds ms = 1'000'000;
}

TEST_CASE("helpers: rare hiccups change nothing, and the clock is not looked at") {
  HelperBudget budget;
  for (Nanoseconds t = 0; t < 10'000 * ms; t += 100 * ms) {
    budget.lost(4 * ms, 1, t);  // 4 % of the time
    CHECK(budget.allowed(1, []() -> Nanoseconds { throw 0; }) == 1);
  }
}

TEST_CASE("helpers: what they cost is a twentieth of the time at most") {
  HelperBudget budget;
  Nanoseconds lost = 0, t = 0;
  while (t < 10'000 * ms)  // every loop with a helper waits 3 ms for it, one without takes 1 ms
    if (budget.allowed(1, [&] { return t; }) == 1) {
      t += 3 * ms;
      lost += 3 * ms;
      budget.lost(3 * ms, 1, t);
    } else {
      t += ms;
    }
  CHECK(lost <= 10'000 * ms / 20 + 10 * ms + 3 * ms);
  CHECK(lost >= 10'000 * ms / 40);  // and they are tried again and again
  // The machine is quiet again: within a second.
  CHECK(budget.allowed(1, [&] { return t + 1000 * ms; }) == 1);
}

TEST_CASE("helpers: many become half as many, and come back step by step") {
  HelperBudget budget;
  const auto at = [](Nanoseconds t) { return [t] { return t; }; };
  budget.lost(15 * ms, 15, 0);
  CHECK(budget.allowed(15, at(0)) == 7);
  budget.lost(1 * ms, 7, 0);
  CHECK(budget.allowed(15, at(1 * ms)) == 3);
  CHECK(budget.allowed(2, at(1 * ms)) == 2);
  CHECK(budget.allowed(15, at(119 * ms)) == 3);
  CHECK(budget.allowed(15, at(121 * ms)) == 7);
  CHECK(budget.allowed(15, at(122 * ms)) == 7);
  CHECK(budget.allowed(15, at(140 * ms)) == 15);
}

TEST_CASE("helpers: a process that was stopped for an hour is not without them for a day") {
  HelperBudget budget;
  const Nanoseconds hour = 3'600'000 * ms;
  budget.lost(hour, 1, hour);
  CHECK(budget.allowed(1, [&] { return hour + 500 * ms; }) == 0);
  CHECK(budget.allowed(1, [&] { return hour + 1001 * ms; }) == 1);
  budget.lost(hour, 1, 2 * hour);
  budget.reset();
  CHECK(budget.allowed(1, [&] { return 2 * hour; }) == 1);
}

}  // namespace attune::tests
