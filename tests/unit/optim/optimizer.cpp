// What every optimiser promises: groups, accumulated gradients, refused settings.

#include <doctest/doctest.h>

#include <limits>

#include "optim/optim.h"
#include "tests/unit/plain.h"

namespace attune::tests {

TEST_CASE("optim: groups have their own rates; parameters without a gradient stay") {
  Tensor a = tensor({1}, float64).requires_grad_(), b = tensor({1}, float64).requires_grad_(),
         c = tensor({1}, float64).requires_grad_();
  optim::SGD opt(std::vector<optim::Group>{{.parameters = {a}, .lr = 1.0}, {.parameters = {b, c}, .weight_decay = 0.5}},
                 {.lr = 0.1});
  a.set_grad(tensor({0.25}, float64));
  b.set_grad(tensor({0.25}, float64));
  opt.step(true);
  CHECK(a.item() == 0.75);
  CHECK(b.item() == doctest::Approx(1 - 0.1 * (0.25 + 0.5)));
  CHECK(c.item() == 1);
  CHECK(a.grad().defined());
  opt.zero_grad();
  CHECK_FALSE(a.grad().defined());
}

TEST_CASE("optim: several backward passes accumulate before a step") {
  Tensor p = tensor({1}, float64).requires_grad_();
  optim::SGD opt({p}, {.lr = 0.1});
  for (int i = 0; i < 4; ++i) (sum(p * p) * 0.25).backward();
  opt.step();
  CHECK(p.item() == doctest::Approx(0.8));
}

TEST_CASE("optim: a step counts as an in-place change") {
  Tensor p = tensor({1}, float64).requires_grad_();
  optim::SGD opt({p}, {.lr = 0.1});
  const Tensor y = sum(p * p);
  p.set_grad(tensor({1}, float64));
  opt.step();
  CHECK_THROWS_AS(y.backward(), GradError);
}

TEST_CASE("optim: bad settings and states are refused with their names") {
  Tensor p = zeros({2}).requires_grad_();
  CHECK(refusal<ValueError>([&] { optim::AdamW opt({p}, {.lr = -1}); }) == "AdamW: lr = -1.000000 is out of range");
  CHECK(refusal<ValueError>([&] { optim::Adam opt({p}, {.beta1 = 1}); }) == "Adam: beta1 = 1.000000 is out of range");
  CHECK(refusal<ValueError>([&] { optim::SGD opt(std::vector<Tensor>{}); }) == "SGD: there are no parameters");
  CHECK(refusal<ValueError>([&] { optim::SGD opt({p, p}); }) == "SGD: the parameter [2] is given twice");
  CHECK(refusal<ValueError>([&] { optim::SGD opt({p, Tensor()}); }) == "SGD: parameter 1 is undefined");
  CHECK(refusal<ValueError>([&] { optim::SGD opt({zeros({2}, int64)}); }) == "SGD: the parameter [2] is int64");
  CHECK(refusal<ValueError>([&] { optim::SGD opt({2 * p}); }) ==
        "SGD: the parameter [2] is no leaf: it was recorded by mul");
  CHECK(refusal<ValueError>([&] {
          optim::SGD opt({zeros({2, 3}).detach(), transpose(zeros({2, 3}), 0, 1)});
        }) == "SGD: the parameter [3, 2] is not dense");
  const double nan = std::numeric_limits<double>::quiet_NaN();
  CHECK(refusal<ValueError>([&] { optim::SGD opt({p}, {.weight_decay = nan}); }) ==
        "SGD: weight_decay = nan is out of range");
  CHECK(refusal<ValueError>([&] { optim::cosine(10, 20); }) == "cosine: warmup = 20 is out of range");
  CHECK(refusal<ValueError>([&] { optim::linear(10, -1); }) == "linear: warmup = -1 is out of range");
  CHECK(refusal<ValueError>([&] { optim::clip_grad_norm({p}, 0); }) ==
        "clip_grad_norm: the limit 0.000000 must be positive");
  CHECK(refusal<ValueError>([&] { optim::clip_grad_value({p}, nan); }) ==
        "clip_grad_value: the limit nan must be positive");
}

}  // namespace attune::tests
