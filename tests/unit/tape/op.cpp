// Operations as a user writes them: recorded, named and checked as the library's own.

#include <doctest/doctest.h>

#include "autograd/tape/grad.h"
#include "autograd/tape/op.h"
#include "tests/unit/plain.h"

namespace attune::tests {
namespace {

/// An operation as a user would write it.
Tensor cube(const Tensor& x, Here here = Here::current()) {
  const Op op{"cube", here};
  op.check_floating(x);
  const auto value = [&] {
    const NoGrad off;
    return x * x * x;
  };
  return op.record(value(), of<cube>(x), "dx = 3 x^2 dy",
                   [x = Saved(x)](const Tensor& dy) { return 3 * square(x) * dy; });
}

Tensor negated_gradient(const Tensor& x, Here here = Here::current()) {
  const Op op{"negated_gradient", here};
  return op.record(x, of<negated_gradient>(x), "dx = -dy", [](const Tensor& dy) { return -dy; });
}

}  // namespace

TEST_CASE("tape: operations of users are like the library's own") {
  const Tensor x = leaf({0.5, -2});
  CHECK(gradcheck([](const Tensors& in) { return Tensors{cube(in[0])}; }, {x}) == "");
  const int line = __LINE__ + 1;
  const std::string what = refusal<DTypeError>([] { cube(zeros({2}, int32)); });
  CHECK(what == "cube: needs float32 or float64, got int32 [2]");
  try {
    cube(zeros({2}, int32));
  } catch (const DTypeError& e) {
    CHECK(e.where().line == line + 3);
  }
}

TEST_CASE("tape: a wrong gradient is found, and said where") {
  const auto wrong = [](const Tensors& in) {
    const Op op{"wrong", Here::current()};
    const auto value = [&] {
      const NoGrad off;
      return 2 * in[0];
    };
    return Tensors{op.record(value(), of<cube>(in[0]), "", [](const Tensor& dy) { return 3 * dy; })};
  };
  const std::string what = gradcheck(wrong, {tensor({1.0}, float64).requires_grad_()});
  CHECK(what.find("gradcheck: input 0 [1], element 0: the gradient is ") == 0);
  CHECK(what.find("(wrong at op.cpp:") != std::string::npos);
}

TEST_CASE("an operation may return its input: the input keeps its place on the tape") {
  const Tensor x = tensor({1, 2}).requires_grad_();
  const Tensor y = negated_gradient(x);
  CHECK(x.is_leaf());
  CHECK_FALSE(y.is_leaf());
  const Tensor h = x * 2;
  const Tensor z = negated_gradient(h);
  CHECK(std::string(h.node()->name()) == "mul");
  sum(z + h).backward();
  CHECK(x.grad().to_vector<double>() == std::vector<double>{0, 0});
}

}  // namespace attune::tests
