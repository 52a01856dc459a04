// The first NaN or infinity, named where it was made.

#include <doctest/doctest.h>

#include <cmath>

#include "nn/nn.h"
#include "tests/unit/plain.h"

namespace attune::tests {

TEST_CASE("anomaly mode names the first operation that made a NaN or infinity, forward and backward") {
  const DetectAnomaly guard;
  const Tensor x = leaf({1, -1});
  CHECK(refusal<AnomalyError>([&] { log(x); }) ==
        "log: NaN in the forward pass, at element 1 of [2]; operand 0 [2] is -1 there");
  const Tensor zero = leaf({0, 1});
  const int line = __LINE__ + 1;
  const Tensor y = sqrt(zero);
  try {
    sum(y).backward();
    FAIL("no anomaly");
  } catch (const AnomalyError& e) {
    CHECK(
        std::string(e.what()).find(
            "sqrt: infinity in the backward pass, in the gradient of input 0, at element 0 of [2]; operand 0 [2] is 0 "
            "there; the loss is 1\n") != std::string::npos);
    CHECK(e.where().line == line);
  }
}

TEST_CASE("anomaly mode searches sums of gradients, in the name and at the line of what they are for") {
  const DetectAnomaly guard;
  const Tensor x = leaf({-2});
  const auto failure = [](const auto& backward) {
    try {
      backward();
    } catch (const AnomalyError& e) {
      return std::string(e.what());
    }
    return std::string("no anomaly");
  };
  const double huge = 1e308;
  const int line = __LINE__ + 1;
  const Tensor y = exp(x);
  const std::string at = "\n  at anomaly.cpp:" + std::to_string(line);
  for (const bool create_graph : {false, true})
    CHECK(failure([&] {
            (y * huge + y * huge + 1).backward({.gradient = leaf({1}).detach(), .create_graph = create_graph});
          }) ==
          "exp: infinity in the backward pass, in the sum of the gradients that reach it, at element 0 of [1]; operand "
          "0 [1] is -2 "
          "there" +
              at);
  // Three of them: the second sum is made in place.
  CHECK(failure([&] { sum(y * (huge / 2) + y * (huge / 2) + y * huge).backward({.retain_graph = true}); }) ==
        "exp: infinity in the backward pass, in the sum of the gradients that reach it, at element 0 of [1]; operand 0 "
        "[1] is -2 there; the loss is 2.70671e+307" +
            at);
  const int leaf_line = __LINE__ + 1;
  const Tensor w = tensor({1.0}, float64).requires_grad_();
  sum(w * huge).backward();
  CHECK(failure([&] { sum(w * huge).backward(); }) ==
        "leaf: infinity in the backward pass, in the sum of this pass's gradient and earlier ones, at element 0 of "
        "[1]; the loss is 1e+308\n  at anomaly.cpp:" +
            std::to_string(leaf_line));
  CHECK(failure([&] {
          exp(x).backward({.gradient = tensor({NAN}, float64)});
        }).find("exp: NaN in the backward pass, in the cotangent that was given, at element 0 of [1]") == 0);
  Tensor z = exp(x);
  z.register_hook([](const Tensor& g) { return g * INFINITY; });
  CHECK(failure([&] {
          sum(z).backward();
        }).find("exp: infinity in the backward pass, in the gradient that a hook returned, at element 0 of [1]") == 0);
}

TEST_CASE("anomaly mode names the module and the parameters") {
  struct Scorer : nn::Module {
    nn::Parameter& weight = parameter("weight", tensor({1, -2}, float64));
    Tensor operator()(const Tensor& x, Here here = Here::current()) {
      const nn::Scope scope(*this, "Scope", here);
      return log(x * weight);
    }
  };
  struct Net : nn::Module {
    Scorer& scorer = child<Scorer>("scorer");
    Tensor operator()(const Tensor& x, Here here = Here::current()) {
      const nn::Scope scope(*this, "Scope", here);
      return scorer(x);
    }
  };
  Net net;
  const DetectAnomaly guard;
  const Tensor x = tensor({3, 3}, float64);
  CHECK(refusal<AnomalyError>([&] { net(x); }) ==
        "scorer: log: NaN in the forward pass, at element 1 of [2]; operand 0 [2] is -6 there");
  const std::string forward = refusal<AnomalyError>([&] { sqrt(net.scorer.weight); });
  CHECK(forward == "sqrt: NaN in the forward pass, at element 1 of [2]; operand 0 (scorer.weight) [2] is -2 there");
}

TEST_CASE("anomaly mode names module and parameters in a backward pass too") {
  struct Root : nn::Module {
    nn::Parameter& weight = parameter("weight", tensor({4, 0}, float64));
    Tensor operator()(Here here = Here::current()) {
      const nn::Scope scope(*this, "Scope", here);
      return sqrt(weight);
    }
  };
  struct Net : nn::Module {
    Root& root = child<Root>("root");
  };
  Net net;
  const DetectAnomaly guard;
  CHECK(refusal<AnomalyError>([&] { sum(net.root()).backward(); }) ==
        "root: sqrt: infinity in the backward pass, in the gradient of input 0, at element 1 of [2]; operand 0 "
        "(root.weight) [2] is 0 there; the loss is 2");
  net.root.weight = tensor({1e-300, 1e-300}, float64);
  const double huge = 1e308;
  sum(net.root.weight * huge).backward();
  CHECK(refusal<AnomalyError>([&] {
          sum(net.root.weight * huge).backward();
        }).find("leaf root.weight: infinity in the backward pass, in the sum of this pass's gradient") == 0);
}

TEST_CASE("anomaly mode passes the infinities of a mask and finds the ones that are made") {
  const DetectAnomaly guard;
  const Tensor x = tensor({1, 2, 3, 4}, {2, 2}).requires_grad_();
  const Tensor mask = triu(ones({2, 2}, boolean), 1);
  sum(square(softmax(masked_fill(x, mask, -std::numeric_limits<double>::infinity())))).backward();
  CHECK(refusal<AnomalyError>([&] { exp(x * 1000); }).find("exp: infinity in the forward pass") == 0);
}

TEST_CASE("anomaly mode shows the operands of what it finds") {
  const DetectAnomaly guard;
  const Tensor x = tensor({1, 2, 3, 4, 5, 6}, {2, 3}, float64).requires_grad_(), row = tensor({1, 0, 2}, float64);
  CHECK(refusal<AnomalyError>([&] { x / row; }) ==
        "div: infinity in the forward pass, at element 1 of [2, 3]; operand 0 [2, 3] is 2 there; operand 1 [3] is 0 "
        "there");
  const Tensor large = full({3, 2}, 1e308, float64);
  CHECK(
      refusal<AnomalyError>([&] { matmul(x, large); }) ==
      "matmul: infinity in the forward pass, at element 0 of [2, 2]; operand 0 [2, 3] lies between 1 and 6; operand 1 "
      "[3, 2] lies between 1e+308 and 1e+308");
}

}  // namespace attune::tests
