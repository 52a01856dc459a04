// grad(): what it captures, and derivatives of any order.

#include <doctest/doctest.h>

#include <cmath>

#include "autograd/tape/grad.h"
#include "tests/unit/plain.h"

namespace attune::tests {

TEST_CASE("tape: higher derivatives") {
  const Tensor x = leaf({0.7});
  const Tensor y = sum(sin(x) * exp(x));
  const Tensor d1 = grad({y}, {x}, {.create_graph = true})[0];
  const Tensor d2 = grad({sum(d1)}, {x}, {.create_graph = true})[0];
  const Tensor d3 = grad({sum(d2)}, {x}, {.create_graph = true})[0];
  const Tensor d4 = grad({sum(d3)}, {x})[0];
  const double e = std::exp(0.7), s = std::sin(0.7), c = std::cos(0.7);
  CHECK(d1.item() == doctest::Approx(e * (s + c)));
  CHECK(d2.item() == doctest::Approx(2 * e * c));
  CHECK(d3.item() == doctest::Approx(2 * e * (c - s)));
  CHECK(d4.item() == doctest::Approx(-4 * e * s));
}

TEST_CASE("tape: third derivatives through fused operations do not lose their saved statistics") {
  // Layer norm of two elements is a sign; with eps it is smooth: compare with finite differences of the
  // second derivative.
  const auto second = [](double v) {
    const Tensor x = leaf({v, 0.3, -0.8});
    const Tensor y = sum(square(layer_norm(x, {}, {}, 0.5)) * tensor({1, 2, 3}, float64));
    const Tensor d1 = grad({y}, {x}, {.create_graph = true})[0];
    return std::pair{x, grad({select(d1, 0, 0)}, {x}, {.create_graph = true})[0]};
  };
  const auto [x, d2] = second(0.4);
  const double third = select(grad({select(d2, 0, 0)}, {x})[0], 0, 0).item();
  const double h = 1e-5;
  const double numeric =
      (select(second(0.4 + h).second, 0, 0).item() - select(second(0.4 - h).second, 0, 0).item()) / (2 * h);
  CHECK(third == doctest::Approx(numeric).epsilon(1e-6));
}

TEST_CASE("tape: a hook of a tensor that grad() asks for runs in the sweep's mode, as all hooks do") {
  const Tensor x = leaf({3}), w = leaf({5});
  Tensor y = x * x;
  y.register_hook([&](const Tensor& g) { return g * w; });
  for (const bool create : {false, true}) {
    const Tensor g = grad({y * 2}, {y}, {.retain_graph = true, .create_graph = create})[0];
    CHECK(g.item() == 10);
    CHECK(g.requires_grad() == create);
  }
}

TEST_CASE("tape: grad() touches no leaf, prunes, and says what is unused") {
  const Tensor x = leaf({3}), z = leaf({4});
  const Tensor y = x * x, w = sum(y * 2);
  const Tensors g = grad({w}, {y, x});
  CHECK(g[0].item() == 2);
  CHECK(g[1].item() == 12);
  CHECK_FALSE(x.grad().defined());
  CHECK(refusal<GradError>([&] { grad({sum(x * 2)}, {z}); }) ==
        "grad: no output depends on input 0 [1] (allow_unused = true gives an undefined tensor instead)");
  CHECK_FALSE(grad({sum(x * 2)}, {z}, {.allow_unused = true})[0].defined());
}

}  // namespace attune::tests
