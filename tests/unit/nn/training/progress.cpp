#include "nn/training/progress.h"

#include <doctest/doctest.h>

using attune::nn::Pace;

TEST_CASE("the pace is that of the last 20 seconds, without the first step") {
  Pace pace;
  CHECK(pace.steps_per_second() == 0);
  pace.add(3, 1);  // the first step takes thirty times as long as the others
  CHECK(pace.steps_per_second() == 0);
  pace.add(3.5, 2);
  CHECK(pace.steps_per_second() == doctest::Approx(2));
  std::int64_t done = 2;
  for (double t = 3.6; t < 10; t += 0.1) pace.add(t, ++done);
  CHECK(pace.steps_per_second() == doctest::Approx(10).epsilon(0.1));
  // Half as fast from here on: all of it counts as soon as 20 seconds are over.
  for (double t = 10.2; t < 31; t += 0.2) pace.add(t, ++done);
  CHECK(pace.steps_per_second() == doctest::Approx(5).epsilon(0.02));
}

TEST_CASE("steps that take longer than that count one by one") {
  Pace pace;
  pace.add(100, 41);
  pace.add(150, 42);
  pace.add(175, 43);
  CHECK(pace.steps_per_second() == doctest::Approx(1 / 25.0));
}
