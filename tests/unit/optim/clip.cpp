// Clipping of gradients, by norm and by value.

#include <doctest/doctest.h>

#include <cmath>
#include <limits>

#include "nn/nn.h"
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
  CHECK(std::isinf(optim::clip_grad_norm({a, b}, 1, {.error_if_nonfinite = false})));
  CHECK(values(a.grad())[1] == 1);
}

TEST_CASE("optim: clipping to a norm that is no number is refused, naming the parameter, and changes nothing") {
  nn::Linear model(2, 2);
  for (const double bad : {not_a_number, inf, -inf})
    for (const DType dtype : {float32, float64}) {
      Tensor other = ones({3}, dtype).requires_grad_();
      other.set_grad(tensor({5, 5, bad}, dtype));
      Tensor weight = model.weight, bias = model.bias();
      weight.set_grad(full_like(weight, 5));
      bias.set_grad(tensor({1, bad}));
      const std::string text = std::to_string(bad), norm = bad == -inf ? "inf" : std::to_string(std::abs(bad));
      CHECK(refusal<ValueError>([&] {
              optim::clip_grad_norm({weight, bias, other}, 1);
            }) == "clip_grad_norm: the norm is " + norm + ": in the gradient of bias [2] element 1 is " + text);
      CHECK(refusal<ValueError>([&] {
              optim::clip_grad_norm({weight, other}, 1);
            }) == "clip_grad_norm: the norm is " + norm + ": in the gradient of [3] element 2 is " + text);
      CHECK(values(weight.grad())[0] == 5);
      CHECK(values(other.grad())[0] == 5);
    }
}

TEST_CASE("optim: norms whose squares would overflow or vanish") {
  for (const double size : {1e200, 1e-200, 1e300, 1e-300, 1e-310, 1e154, 1e-154, 1.0}) {
    CAPTURE(size);
    Tensor a = zeros({4}, float64).requires_grad_(), b = zeros({4}).requires_grad_();
    a.set_grad(full({4}, size, float64));
    b.set_grad(zeros({4}));
    CHECK(optim::clip_grad_norm({a, b}, size) == doctest::Approx(2 * size).epsilon(1e-14));
    CHECK(values(a.grad())[3] == doctest::Approx(size / 2).epsilon(1e-12));
  }
  for (const double size : {1e38, 1e-38}) {
    CAPTURE(size);
    Tensor a = zeros({4}).requires_grad_();
    a.set_grad(full({4}, size));
    const double norm = optim::clip_grad_norm({a}, size * 1e-6);
    CHECK(norm == doctest::Approx(2 * size).epsilon(1e-6));
    // Down from 1e38 by a factor that a float could not hold well.
    a.set_grad(full({4}, size));
    optim::clip_grad_norm({a}, 1e-4);
    if (size > 1) CHECK(values(a.grad())[0] == doctest::Approx(0.5e-4).epsilon(1e-5));
  }
  Tensor none = zeros({2}, float64).requires_grad_();
  none.set_grad(zeros({2}, float64));
  CHECK(optim::clip_grad_norm({none}, 1) == 0);
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
