// Clipping of gradients, by norm and by value.

#include <doctest/doctest.h>

#include <cmath>
#include <limits>

#include "optim/optim.h"
#include "tests/unit/plain.h"

namespace attune::tests {

TEST_CASE("optim: clipping by norm and by value") {
  Tensor a = zeros({2}, float64).requires_grad_(), b = zeros({}, float64).requires_grad_();
  a.set_grad(tensor({3, 0}, float64));
  b.set_grad(scalar(-4, float64));
  CHECK(optim::clip_grad_norm({a, b}, 10) == 5);
  CHECK(b.grad().item() == -4);
  CHECK(optim::clip_grad_norm({a, b}, 1) == 5);
  CHECK(values(a.grad())[0] == doctest::Approx(0.6));
  CHECK(b.grad().item() == doctest::Approx(-0.8));
  optim::clip_grad_value({a, b}, 0.7);
  CHECK(values(a.grad())[0] == doctest::Approx(0.6));
  CHECK(b.grad().item() == -0.7);
  a.set_grad(tensor({std::numeric_limits<double>::infinity(), 1}, float64));
  CHECK(std::isinf(optim::clip_grad_norm({a, b}, 1)));
  CHECK(values(a.grad())[1] == 1);
}

TEST_CASE("optim: clipping by norm scales in place, each gradient once") {
  Tensor a = zeros({2}).requires_grad_(), b = zeros({2}).requires_grad_(), c = zeros({2, 3}).requires_grad_();
  const Tensor shared = tensor({3, 4});
  a.set_grad(shared);
  b.set_grad(shared);
  CHECK(optim::clip_grad_norm({a, b, a}, 0.5) == doctest::Approx(std::sqrt(50)));
  CHECK(values(a.grad())[0] == doctest::Approx(3 * 0.5 / std::sqrt(50)));
  CHECK(values(b.grad()) == values(a.grad()));
  const Tensor mine = tensor({3, 4});
  a.set_grad(mine);
  optim::clip_grad_norm({a}, 1);
  CHECK(values(mine)[1] == doctest::Approx(0.8));
  CHECK(mine.version() == 1);
  c.set_grad(transpose(ones({3, 2}), 0, 1));  // strided
  CHECK(optim::clip_grad_norm({c}, 1) == doctest::Approx(std::sqrt(6)));
  for (double g : values(c.grad())) CHECK(g == doctest::Approx(1 / std::sqrt(6)));
}

}  // namespace attune::tests
