// Recomputation in the backward pass.

#include <doctest/doctest.h>

#include <cmath>

#include "tests/unit/plain.h"

namespace attune::tests {

TEST_CASE("checkpoint gives the same gradients from less memory, with the same random numbers") {
  const Tensor x = randn({64, 64}, float64).requires_grad_(), w = randn({64, 64}, float64).requires_grad_();
  const auto block = [](const Tensors& in) { return Tensors{dropout(tanh(matmul(tanh(in[0]), in[1])), 0.5)}; };
  manual_seed(5);
  const Tensors plain = grad({sum(block({x, w})[0])}, {x, w});
  manual_seed(5);
  const std::int64_t before = memory_stats().live_bytes;
  const Tensor y = sum(checkpoint(block, {x, w})[0]);
  CHECK(memory_stats().live_bytes - before < 2 * 64 * 64 * 8);
  const RandomKey state = default_generator().state();
  const Tensors again = grad({y}, {x, w});
  CHECK(default_generator().state().counter == state.counter);
  CHECK(values(plain[0]) == values(again[0]));
  CHECK(values(plain[1]) == values(again[1]));
  // A parameter that is used but not named must not silently go without a gradient.
  const Tensor z = sum(checkpoint([&](const Tensors& in) { return Tensors{matmul(in[0], w)}; }, {x})[0]);
  CHECK(refusal<GradError>([&] { z.backward(); }) ==
        "checkpoint: the function uses a tensor [64, 64] that requires a gradient and is not among the inputs");
}

TEST_CASE("checkpoint refuses what is not listed, in recorded sweeps and for recorded tensors too") {
  const Tensor x = leaf({0.5, 2}), w = leaf({3, 4}), h = x * 2, v = w * 2;
  const std::string unlisted =
      "checkpoint: the function uses a tensor [2] that requires a gradient and is not among the inputs";
  const auto use = [](const Tensor& other, const Tensor& input) {
    return sum(checkpoint([=](const Tensors& in) { return Tensors{in[0] * in[0] * other}; }, {input})[0]);
  };
  for (const bool create_graph : {false, true}) {
    const BackwardOptions options{.retain_graph = true, .create_graph = create_graph};
    CHECK(refusal<GradError>([&] { use(w, x).backward(options); }) == unlisted);
    CHECK(refusal<GradError>([&] { use(w, h).backward(options); }) == unlisted);
    CHECK(refusal<GradError>([&] { use(v, x).backward(options); }) == unlisted);
    CHECK(refusal<GradError>([&] { use(h, x).backward(options); }) == unlisted);  // computed from an input outside
  }
}

TEST_CASE("second derivatives through checkpoint, where one input depends on another") {
  const auto f = [](const Tensors& in) {
    const Tensor x = tanh(in[0]);
    return checkpoint([](const Tensors& c) { return Tensors{c[0] * c[0] * c[1]}; }, {x, in[0]});
  };
  CHECK(gradcheck(f, {leaf({0.3, -1.2})}) == "");
}

TEST_CASE("a recomputed block draws the same numbers from any generator") {
  Generator own(5);
  const Tensor x = ones({64}).requires_grad_();
  const Tensor y = checkpoint([&](const Tensors& in) { return Tensors{dropout(in[0], 0.5, own)}; }, {x})[0];
  const RandomKey after = own.state();
  sum(y).backward();
  CHECK(x.grad().to_vector<double>() == y.to_vector<double>());
  CHECK(own.state().counter == after.counter);
}

TEST_CASE("checkpoint refuses a function that computes something else the second time") {
  const Tensor x = randn({32, 8}, float64).requires_grad_();
  for (const bool create_graph : {false, true}) {
    double factor = 2;
    const auto f = [&](const Tensors& in) { return Tensors{in[0] * in[0] * factor}; };
    const Tensor y = sum(checkpoint(f, {x})[0]);
    factor = 3;
    CHECK(refusal<GradError>([&] { y.backward({.create_graph = create_graph}); })
              .find("checkpoint: the function computes something else when it runs again for the backward pass: result "
                    "0 [32, 8] differs by ") == 0);
  }
  int results = 1;
  const Tensor y =
      checkpoint([&](const Tensors& in) { return Tensors(static_cast<std::size_t>(results++), in[0] * 2); }, {x})[0];
  CHECK(refusal<GradError>([&] { sum(y).backward(); }).find("2 results where there were 1") != std::string::npos);
  double factor = 1;
  const Tensor spoilt = sum(checkpoint([&](const Tensors& in) { return Tensors{in[0] * factor}; }, {x})[0]);
  factor = NAN;
  CHECK(refusal<GradError>([&] { spoilt.backward(); }).find("is not finite where it was, or was not") !=
        std::string::npos);
  // Infinities and NaN that were there are no change.
  const Tensor z = leaf({-1, 0, 1});
  sum(checkpoint([](const Tensors& in) { return Tensors{log(in[0])}; }, {z})[0]).backward();
  CHECK(z.grad().to_vector<double>()[2] == 1);
}

TEST_CASE("a gradient penalty inside of functions that are differentiated") {
  const auto penalty = [](const Tensors& in) {
    const Tensor dx = grad({sum(tanh(in[0] * in[1]))}, {in[0]}, {.create_graph = true})[0];
    return Tensors{sum(square(dx)), in[0] * 2};
  };
  const Tensor x = leaf({0.3, -1.2}), w = leaf({0.7, 0.4});
  CHECK(gradcheck(penalty, {x, w}, {.second_order = true}) == "");
  const Tensors plain = grad({penalty({x, w})[0]}, {x, w});
  const Tensors again = grad({checkpoint(penalty, {x, w})[0]}, {x, w});
  CHECK(values(plain[0]) == values(again[0]));
  CHECK(values(plain[1]) == values(again[1]));
  // Inputs that were recorded, too.
  const Tensors through = grad({checkpoint(penalty, {x * 1.0, w * 1.0})[0]}, {x, w});
  CHECK(values(plain[0]) == values(through[0]));
  CHECK(gradcheck([&](const Tensors& in) { return checkpoint(penalty, in); }, {x, w}) == "");
  const NoGrad off;
  CHECK(checkpoint([](const Tensors& in) { return Tensors{in[0] * 2}; }, {x})[0].node() == nullptr);
}

}  // namespace attune::tests
