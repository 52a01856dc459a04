// jacobian, hessian and hvp.

#include <doctest/doctest.h>

#include "tests/unit/plain.h"

namespace attune::tests {

TEST_CASE("jacobian, hessian and hvp of known functions") {
  const Tensor x = tensor({1, 2, 3}, float64);
  const auto cubes = [](const Tensor& t) { return sum(t * t * t) * sum(t); };
  const std::vector<double> v = x.to_vector<double>();
  const Tensor h = hessian(cubes, x);
  REQUIRE(h.shape() == Shape{3, 3});
  const double total = 6, cubed = 36;  // f = S3 S1: d2f = 6 x_i S1 [i = j] + 3 x_i^2 + 3 x_j^2
  for (std::size_t i = 0; i < 3; ++i)
    for (std::size_t j = 0; j < 3; ++j)
      CHECK(h.to_vector<double>()[3 * i + j] ==
            doctest::Approx((i == j ? 6 * v[i] * total : 0) + 3 * v[i] * v[i] + 3 * v[j] * v[j]));
  const Tensor g = jacobian(cubes, x);
  for (std::size_t i = 0; i < 3; ++i)
    CHECK(g.to_vector<double>()[i] == doctest::Approx(3 * v[i] * v[i] * total + cubed));
  const Tensor direction = tensor({1, -1, 2}, float64);
  CHECK(sum(abs(hvp(cubes, x, direction) - matmul(h, direction))).item() < 1e-9);

  const Tensor a = tensor({1, 2, 3, 4, 5, 6}, {2, 3}, float64);
  const Tensor j = jacobian([&](const Tensor& t) { return matmul(a, t); }, x);
  CHECK(j.shape() == Shape{2, 3});
  CHECK(sum(abs(j - a)).item() == 0);
  CHECK(jacobian([](const Tensor&) { return ones({2}, float64); }, x).shape() == Shape{2, 3});
  // On the tape: the derivative of a Jacobian is the Hessian.
  Tensor leaf = x.detach().requires_grad_();
  sum(jacobian(cubes, leaf) * direction).backward();
  CHECK(sum(abs(leaf.grad() - matmul(h, direction))).item() < 1e-9);

  CHECK(thrown([&] { hessian([](const Tensor& t) { return 2 * t; }, x); }) ==
        "ShapeError: hessian: the function's value must have one element, got [3]");
  CHECK(thrown([&] { hvp(cubes, x, zeros({2}, float64)); }) == "ShapeError: hvp: the vector [2] differs from x [3]");
  CHECK(thrown([&] { jacobian(cubes, arange(3)); }) == "DTypeError: jacobian: needs float32 or float64, got int64 [3]");
}

}  // namespace attune::tests
