// The stepper: what was taken back is bit for bit as before, on random tapes.

#include "autograd/trace/stepper.h"

#include <doctest/doctest.h>

#include <cstring>
#include <random>

#include "tests/unit/plain.h"

namespace attune::tests {
namespace {

/// A random program on tensors of one dtype: shared subexpressions, broadcasting, operations with several outputs,
/// results that keep their gradients, gradients that were there before.
struct RandomProgram {
  Tensors handles;  // whose grad() is looked at
  Tensor loss;

  explicit RandomProgram(unsigned seed) : random_(seed), dtype_(seed % 2 ? float32 : float64) {
    const int leaves = 1 + pick(4);
    for (int i = 0; i < leaves; ++i) {
      static const std::vector<Shape> shapes{{}, {3}, {2, 3}, {2, 1}, {1, 3}, {1}};
      const Shape& shape = shapes[static_cast<std::size_t>(pick(static_cast<int>(shapes.size())))];
      Tensor x = to(tensor(numbers(shape), shape, float64), dtype_).requires_grad_();
      if (pick(3) == 0) x.set_grad(to(tensor(numbers(shape), shape, float64), dtype_));
      handles.push_back(x);
      pool_.push_back(x);
    }
    const int operations = 1 + pick(20);
    for (int i = 0; i < operations; ++i) operation();
    loss = sum(pool_.back());
    for (int i = pick(3); i > 0; --i) loss = loss + sum(any());
  }

 private:
  int pick(int n) { return std::uniform_int_distribution<int>(0, n - 1)(random_); }
  Values numbers(const Shape& shape) {
    Values v(static_cast<std::size_t>(numel(shape)));
    for (double& each : v) each = std::uniform_real_distribution<double>(-1.5, 1.5)(random_);
    return v;
  }
  const Tensor& any() { return pool_[static_cast<std::size_t>(pick(static_cast<int>(pool_.size())))]; }

  void operation() {
    const Tensor a = any();
    Tensor b = any(), y;
    if (Shape joint; !broadcast(a.shape(), b.shape(), joint)) b = a;
    switch (pick(9)) {
      case 0: y = a + b; break;
      case 1: y = a * b; break;
      case 2: y = a - 2 * b; break;
      case 3: y = tanh(a); break;
      case 4: y = a * a; break;
      case 5: y = a.rank() > 0 ? sum(a, {-1}, true) : exp(0.1 * a); break;
      case 6: y = maximum(a, b); break;
      case 7:
        if (a.rank() == 0 || a.size(0) < 2) return;
        for (const Tensor& part : unbind(a, 0)) keep(part);  // some parts get no user, and no gradient
        return;
      default:
        if (a.rank() == 0 || a.size(-1) < 3) return;
        for (const Tensor& part : split(a, {2, a.size(-1) - 2}, -1)) keep(part);
        return;
    }
    keep(y);
  }
  void keep(Tensor y) {
    if (pick(4) == 0) {
      y.retain_grad();
      handles.push_back(y);
    }
    pool_.push_back(y);
  }

  std::mt19937 random_;
  DType dtype_;
  Tensors pool_;
};

/// The bits of every gradient; no bytes where there is none.
std::vector<std::string> bits(const Tensors& handles) {
  std::vector<std::string> all;
  for (const Tensor& x : handles) {
    all.emplace_back();
    if (!x.grad().defined()) continue;
    const Tensor g = contiguous(x.grad());
    all.back() = "g";
    all.back().append(static_cast<const char*>(g.raw()), static_cast<std::size_t>(g.numel()) * size_of(g.dtype()));
  }
  return all;
}

}  // namespace

TEST_CASE("stepper: forward N and back N restores every gradient bit for bit, on 1,000 random tapes") {
  std::size_t steps = 0;
  for (unsigned seed = 0; seed < 1000; ++seed) {
    CAPTURE(seed);
    const RandomProgram program(seed);
    std::vector<std::vector<std::string>> history{bits(program.handles)};
    Stepper s(program.loss);
    std::mt19937 random(seed);
    const std::size_t most = s.tape().size(), wanted = 1 + random() % most;
    while (s.taken() < wanted && s.forward()) history.push_back(bits(program.handles));
    steps += s.taken();
    for (std::size_t k = s.taken(); k-- > 0;) {
      REQUIRE(s.back());
      REQUIRE(bits(program.handles) == history[k]);
    }
    CHECK_FALSE(s.back());
    // Steps that come back are the same steps; those that follow end where a plain pass ends.
    for (std::size_t k = 1; k < history.size(); ++k) {
      REQUIRE(s.forward());
      REQUIRE(bits(program.handles) == history[k]);
    }
    s.finish();
    const RandomProgram twin(seed);
    twin.loss.backward();
    REQUIRE(bits(program.handles) == bits(twin.handles));
  }
  CHECK(steps > 5000);
}

TEST_CASE("stepper: a second pass adds to the gradients of the first, and is taken back without them") {
  const Tensor x = leaf({1, 2, 3});
  const Tensor y = sum(x * x);
  y.backward({.retain_graph = true});
  const auto once = bits({x});
  Stepper s(y);
  s.finish();
  CHECK(values(x.grad()) == Values{4, 8, 12});
  while (s.back()) {
  }
  CHECK(bits({x}) == once);
  CHECK(values(x.grad()) == Values{2, 4, 6});
}

TEST_CASE("stepper: knows which steps were taken and which comes next") {
  const Tensor x = leaf({1, 2});
  const Tensor y = exp(x), z = sum(y);
  Stepper s(z);
  CHECK(s.next() == z.node());
  CHECK(s.last() == nullptr);
  CHECK(s.step_of(y.node()) == -1);
  REQUIRE(s.forward());
  REQUIRE(s.forward());
  CHECK(s.last() == y.node());
  CHECK(s.next() == x.node());
  CHECK(s.step_of(y.node()) == 1);
  CHECK(s.taken() == 2);
  REQUIRE(s.back());
  CHECK(s.last() == z.node());
  CHECK(s.next() == y.node());
  CHECK(s.known() == 2);
  s.finish();
  CHECK(s.taken() == 3);
  CHECK(s.next() == nullptr);
  CHECK_FALSE(s.forward());
}

TEST_CASE("stepper: a step that throws leaves the gradients as they are") {
  const Tensor x = leaf({1, 2});
  const Tensor y = sum(exp(x));
  y.backward();
  const auto before = bits({x});
  Stepper s(y);  // the graph was freed
  CHECK_THROWS_AS(s.finish(), GradError);
  CHECK(bits({x}) == before);
  CHECK(
      refusal<GradError>([] { Stepper(tensor({1.0})); }).starts_with("backward: the tensor [1] requires no gradient"));
}

}  // namespace attune::tests
