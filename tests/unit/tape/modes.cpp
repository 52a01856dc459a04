// The modes of a thread, and threads that share parameters.

#include <doctest/doctest.h>

#include <thread>

#include "autograd/tape/grad.h"
#include "tests/unit/plain.h"

namespace attune::tests {

TEST_CASE("tape: grad mode belongs to the thread") {
  const NoGrad off;
  bool enabled = false;
  std::thread([&] { enabled = grad_enabled(); }).join();
  CHECK(enabled);
  CHECK_FALSE(grad_enabled());
  CHECK_FALSE((leaf({1}) * 2).requires_grad());
  const EnableGrad on;
  CHECK((leaf({1}) * 2).requires_grad());
}

TEST_CASE("tape: threads with shared parameters each have their own graph") {
  const Tensor w = leaf({2});
  std::vector<double> results(8);
  std::vector<std::thread> threads;
  for (std::size_t t = 0; t < results.size(); ++t)
    threads.emplace_back([&, t] {
      for (int i = 0; i < 200; ++i) results[t] = grad({sum(w * w * static_cast<double>(t))}, {w})[0].item();
    });
  for (std::thread& t : threads) t.join();
  for (std::size_t t = 0; t < results.size(); ++t) CHECK(results[t] == 4 * static_cast<double>(t));
}

}  // namespace attune::tests
