// What every optimiser promises: groups, accumulated gradients, refused settings.

#include <doctest/doctest.h>

#include <cmath>
#include <limits>

#include "autograd/tensor/internal/tensor_impl.h"
#include "optim/optim.h"
#include "tests/unit/plain.h"

namespace attune::tests {
namespace {

/// An exception's text with its call site.
std::string whole_message(const std::function<void()>& f) {
  try {
    f();
  } catch (const Error& e) {
    return e.what();
  }
  return "";
}

}  // namespace

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

TEST_CASE("optim: errors of schedules name their line") {
  const int line = __LINE__ + 1;
  CHECK(whole_message([] { optim::warmup(-1); }) ==
        "warmup: steps = -1 is out of range\n  at optimizer.cpp:" + std::to_string(line));
  for (const auto& f : std::vector<std::function<void()>>{
           [] { optim::cosine(0); }, [] { optim::linear(2, 3); }, [] { optim::inverse_sqrt(0); },
           [] { optim::noam(0, 1); }, [] { optim::step_decay(0, 1); }, [] { optim::step_decay(1, not_a_number); },
           [] { optim::cosine(10, 1, -1); }, [] { optim::linear(10, 1, not_a_number); }})
    CHECK(whole_message(f).find("is out of range\n  at optimizer.cpp:") != std::string::npos);
}

TEST_CASE("optim: a step in which nothing had a gradient is refused, or let pass") {
  Tensor p = tensor({1}, float64).requires_grad_();
  optim::AdamW opt({p});
  const std::string expected =
      "AdamW: no parameter has a gradient: there was no backward() since the last step, or it did not reach the "
      "tensors that the optimiser was given";
  CHECK(refusal<GradError>([&] { opt.step(); }) == expected);
  CHECK(opt.steps() == 0);
  opt.step({.refuse_empty = false});
  CHECK(opt.steps() == 1);
  sum(p * p).backward();
  opt.step();
  CHECK(refusal<GradError>([&] { opt.step(); }) == expected);  // cleared by the step before
}

TEST_CASE("optim: a gradient that is not finite is refused by its parameter's name, and changes nothing") {
  for (const double bad : {not_a_number, inf, -inf})
    for (const DType dtype : {float32, float64})
      for (const std::int64_t at : {0, 7, 40'000, 99'999}) {
        Tensor fine = ones({3}).requires_grad_(), large = ones({100'000}, dtype).requires_grad_();
        fine.set_grad(ones({3}));
        Tensor g = zeros({100'000}, dtype);
        Tensor one = slice(g, 0, at, at + 1);
        fill_(one, bad);
        large.set_grad(g);
        optim::Adam opt({{"fine", fine}, {"large", large}});
        CHECK(refusal<ValueError>([&] { opt.step(); }) ==
              "Adam: the gradient of large [100000] is not finite: element " + std::to_string(at) + " is " +
                  std::to_string(bad) + "; nothing was updated");
        CHECK(opt.steps() == 0);
        CHECK(values(fine)[0] == 1);
        CHECK(fine.grad().defined());
        opt.step({.refuse_nonfinite = false});
        CHECK(std::isnan(values(large)[static_cast<std::size_t>(at)]));
      }
  // Large ones are fine.
  for (const DType dtype : {float32, float64}) {
    Tensor p = ones({9}, dtype).requires_grad_();
    p.set_grad(full({9}, dtype == float32 ? 3e38 : 1.7e308, dtype));
    optim::SGD opt({p}, {.lr = 1e-300});
    opt.step();
    CHECK(opt.steps() == 1);
  }
}

TEST_CASE("optim: parameters converted in place keep their optimiser, whose state follows") {
  Tensor p = tensor({1, 2}).requires_grad_(), q = tensor({1, 2}, float64).requires_grad_();
  optim::Adam opt({p}, {.lr = 0.1}), whole({q}, {.lr = 0.1});
  const auto step = [](Tensor& x, optim::Optimizer& o, double g) {
    x.set_grad(full({2}, g, x.dtype()));
    o.step();
  };
  step(p, opt, 1);
  step(q, whole, 1);
  // As a module converts its parameters: the handle stays, its elements are others.
  const Tensor wide = to(p.detach(), float64);
  TensorImpl &own = *p.impl(), &other = *wide.impl();
  own.dtype = other.dtype;
  own.storage = other.storage;
  own.data = other.data;
  step(p, opt, 3);
  step(q, whole, 3);
  CHECK(opt.state_dict().at("0.exp_avg").dtype() == float64);
  CHECK(opt.state_dict().at("0.step").item() == 2);
  for (std::size_t i = 0; i < 2; ++i) CHECK(values(p)[i] == doctest::Approx(values(q)[i]).epsilon(1e-6));
}

}  // namespace attune::tests
