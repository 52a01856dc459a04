// Random numbers: Philox's published ones, and their moments.

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "autograd/runtime/philox.h"
#include "tests/unit/plain.h"

namespace attune::tests {

TEST_CASE("random: Philox4x32-10 gives the published numbers") {
  using Words = std::array<std::uint32_t, 4>;
  CHECK(philox({0, 0}, 0) == Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8});
  CHECK(philox({~0ull, ~0ull}, ~0ull) == Words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd});
  CHECK(philox({0x299f31d0a4093822, 0x0370734413198a2e}, 0x85a308d3243f6a88) ==
        Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1});
}

TEST_CASE("random: moments, ranges and replay") {
  Generator g(4);
  const RandomKey state = g.state();
  for (DType dtype : {float32, float64}) {
    const Tensor z = randn({100'000}, dtype, g), u = rand({100'000}, dtype, g);
    CHECK(std::abs(mean(z).item()) < 0.02);
    CHECK(var(z).item() == doctest::Approx(1).epsilon(0.02));
    CHECK(mean(square(square(z))).item() == doctest::Approx(3).epsilon(0.05));
    CHECK(amin(u).item() >= 0);
    CHECK(amax(u).item() < 1);
    CHECK(mean(u).item() == doctest::Approx(0.5).epsilon(0.01));
  }
  g.set_state(state);
  const std::vector<double> once = randn({5}, float32, g).to_vector<double>();
  g.set_state(state);
  CHECK(randn({5}, float32, g).to_vector<double>() == once);
  std::vector<int> counts(7);
  for (std::int64_t v : randint(-3, 4, {70'000}, g).to_vector<std::int64_t>())
    ++counts.at(static_cast<std::size_t>(v + 3));
  for (int c : counts) CHECK(std::abs(c - 10'000) < 500);
  std::vector<std::int64_t> order = randperm(1000, g).to_vector<std::int64_t>();
  CHECK(order[0] + order[1] + order[2] != 3);
  std::sort(order.begin(), order.end());
  for (std::size_t i = 0; i < order.size(); ++i) CHECK(order[i] == static_cast<std::int64_t>(i));
}

TEST_CASE("random: dropout keeps the share and the mean, and its gradient has the same mask") {
  const Tensor x = ones({100'000}).requires_grad_();
  const Tensor y = dropout_at(x, 0.3, {1, 2});
  CHECK(mean(y).item() == doctest::Approx(1).epsilon(0.02));
  CHECK(mean(to(eq(y, 0), float32)).item() == doctest::Approx(0.3).epsilon(0.02));
  sum(y).backward();
  CHECK(all(eq(x.grad(), y.detach())));
  CHECK(all(eq(dropout_at(x, 1, {1, 2}), 0)));
  CHECK(all(eq(dropout_at(x, 0, {1, 2}), 1)));
}

}  // namespace attune::tests
