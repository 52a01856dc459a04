// The tensor as a handle: detached, without a gradient, undefined.

#include <doctest/doctest.h>

#include "tests/unit/plain.h"

namespace attune::tests {

TEST_CASE("tape: detach and requires_grad_") {
  Tensor x = leaf({1});
  CHECK_FALSE(x.detach().requires_grad());
  CHECK(x.detach().same_storage(x));
  Tensor y = x * 2;
  CHECK(refusal<GradError>([&] { y.requires_grad_(false); }).find("requires_grad_: the tensor was recorded by mul") ==
        0);
  Tensor i = zeros({2}, int64);
  CHECK(refusal<DTypeError>([&] { i.requires_grad_(); }) ==
        "requires_grad_: only floating tensors have gradients, not int64");
  CHECK(refusal<GradError>([&] { sum(x.detach()).backward(); }) ==
        "backward: the tensor [] requires no gradient (no input asked for one, or it was made under NoGrad)");
  CHECK(refusal<ShapeError>([&] {
          (leaf({1, 2}) * 2).backward();
        }) == "backward: needs a tensor of one element or a cotangent, got [2]");
}

TEST_CASE("tape: an undefined tensor is refused at the line that asks it") {
  Tensor none;
  const auto line_of = [](const auto& f) {
    try {
      f();
    } catch (const ValueError& e) {
      const std::string what = e.what();
      CHECK(what.find("tensor: undefined (default-constructed, or a gradient that was never computed)\n  at ") == 0);
      return e.where().line;
    }
    return 0;
  };
  const int line = __LINE__;
  CHECK(line_of([&] { none.data<float>(); }) == line + 1);
  CHECK(line_of([&] { none.mutable_data<float>(); }) == line + 2);
  CHECK(line_of([&] { none.item(); }) == line + 3);
  CHECK(line_of([&] { none.size(0); }) == line + 4);
  CHECK(line_of([&] { none.requires_grad_(); }) == line + 5);
  CHECK(line_of([&] { none.set_grad({}); }) == line + 6);
}

}  // namespace attune::tests
