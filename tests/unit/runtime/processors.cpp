// The number of threads at the start.

#include <doctest/doctest.h>
#include <sched.h>

#include <thread>

#include "autograd/runtime/internal/processors.h"

namespace attune::tests {

TEST_CASE("processors: a control group's quota, rounded up") {
  using detail::processors_in_quota;
  CHECK(processors_in_quota("200000 100000") == 2);
  CHECK(processors_in_quota("150000 100000\n") == 2);
  CHECK(processors_in_quota("50000 100000") == 1);
  CHECK(processors_in_quota("1000 100000") == 1);
  CHECK(processors_in_quota("6400000 100000") == 64);
  for (const char* none : {"", "max 100000", "-1 100000", "0 100000", "100000", "100000 0", "1e5 100000", "2 1 1",
                           "a b", "99999999999999999999 1"})
    CHECK(processors_in_quota(none) == 0);
}

TEST_CASE("processors: those of the affinity mask") {
  CHECK(detail::usable_processors() >= 1);
  int in_mask = 0;
  std::thread([&in_mask] {  // a thread has a mask of its own
    cpu_set_t all, one;
    sched_getaffinity(0, sizeof all, &all);
    CPU_ZERO(&one);
    for (unsigned i = 0; i < CPU_SETSIZE; ++i)
      if (CPU_ISSET(i, &all)) {
        CPU_SET(i, &one);
        break;
      }
    if (sched_setaffinity(0, sizeof one, &one) == 0) in_mask = detail::usable_processors();
  })
      .join();
  CHECK(in_mask == 1);
}

}  // namespace attune::tests
