// A backward pass in words and numbers.
#include "autograd/trace/explain.h"

#include <doctest/doctest.h>

#include <stdexcept>

#include "autograd/autograd.h"
#include "autograd/trace/labels.h"

using namespace attune;

namespace {
bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }
}  // namespace

TEST_CASE("trace: explain tells a pass line by line") {
  const Tracing on;
  Tensor a = tensor(-4.0).requires_grad_();
  Tensor b = tensor(2.0).requires_grad_();
  const int line = __LINE__ + 1;
  Tensor d = a * b + a * 3;
  Tensor g = d * 2;
  g.backward();
  const std::string text = explain(g);
  const std::string at = "  explain.cpp:" + std::to_string(line);
  CHECK(contains(text, " d = add(a = -8, b = -12) = -20" + at + " | dy = 2 | da = dy = 2, to %"));
  CHECK(contains(text, "mul(a = -4, b = 2) = -8" + at + " | dy = 2 | da = b dy = 2 * 2 = 4, to a ("));
  CHECK(contains(text, " of 2, sum 10)"));
  CHECK(contains(text, "db = a dy = -4 * 2 = -8, to b\n"));
  CHECK(contains(text, "%0 a = -4  explain.cpp:"));
  CHECK(contains(text, " | grad = 10, of 2 contributions\n"));
  CHECK(contains(text, " g = mul(a = d = -20, b = 2) = -40"));
}

TEST_CASE("trace: explain says that a second pass adds to the first") {
  const Tracing on;
  Tensor x = tensor(3.0).requires_grad_();
  square(x).backward();
  Tensor y = x * 5;
  y.backward();
  CHECK(contains(explain(y), "grad = 11 = 6 from before + 5"));
}

TEST_CASE("trace: explain shows values as they were, and large ones by their norm") {
  Tensor w = name(ones({2, 2}).requires_grad_(), "w");
  Tensor loss;
  {
    const Tracing on;
    loss = sum(matmul(w, ones({2, 50})));
    loss.backward();
  }
  {
    const NoGrad off;
    w -= 10 * w.grad();
  }
  const std::string text = explain(loss);
  CHECK(contains(text, "%0 w = [[1, 1], [1, 1]]"));
  CHECK(contains(text, "[2, 50] norm 20"));
}

TEST_CASE("trace: explain says what is missing") {
  Tensor x = tensor(3.0).requires_grad_();
  Tensor y = square(x);
  y.backward();
  CHECK_THROWS_WITH_AS(explain(y), doctest::Contains("let a Tracing guard live"), ValueError);
  CHECK_THROWS_AS(explain(tensor(1.0)), GradError);
  CHECK_THROWS_AS(explain(Tensor()), GradError);
}

TEST_CASE("trace: explain tells a pass from a later one, hooks from sums, and early ends") {
  const Tracing on;
  const Tensor x = name(tensor(3.0).requires_grad_(), "x");
  const Tensor h = x * x, first = h * 2, second = h * 5;
  first.backward({.retain_graph = true});
  second.backward();
  CHECK(contains(explain(first), "a later backward pass has come by here since"));
  CHECK_FALSE(contains(explain(first), "no gradient reached it"));

  Tensor k = x * 2;
  k.register_hook([](const Tensor& g) { return g * 10; });
  k.retain_grad();
  const Tensor loss = k * 3;
  loss.backward();
  CHECK(contains(explain(loss), "dy = 30 after its hook, from 3"));
  CHECK(contains(explain(loss), " | grad = 30"));

  Tensor broken = x * 2;
  broken.register_hook([](const Tensor&) -> Tensor { throw std::runtime_error("no"); });
  const Tensor end = broken * 1;
  CHECK_THROWS(end.backward());
  CHECK(contains(explain(end), "the pass ended before its step"));
}

TEST_CASE("trace: constants are shown as they were, though their memory was filled again") {
  const Tracing on;
  const Tensor w = tensor({1, 1}).requires_grad_();
  Tensor batch = tensor({2, 2});
  const Tensor y = sum(w * batch);
  y.backward();
  batch += 100;
  CHECK(contains(explain(y), "b = [2, 2]"));
}
