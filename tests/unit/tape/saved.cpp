// Changes in place: of saved tensors they are noticed, on recorded tensors they are refused.

#include <doctest/doctest.h>

#include "tests/unit/plain.h"

namespace attune::tests {

TEST_CASE("tape: an in-place change of a saved tensor is refused, with both lines") {
  Tensor x = leaf({1, 2});
  const int recorded = __LINE__ + 1;
  const Tensor y = sum(x * x);
  int changed = 0;
  SUBCASE("directly") {
    const NoGrad off;
    changed = __LINE__ + 1;
    fill_(x, 5);
  }
  SUBCASE("through a view") {
    const NoGrad off;
    Tensor view = select(x.detach(), 0, 1);
    changed = __LINE__ + 1;
    mul_(view, 2);
  }
  SUBCASE("through its memory") {
    const NoGrad off;
    changed = __LINE__ + 1;
    x.mutable_data<double>()[0] = 9;
  }
  std::string what;
  try {
    y.backward();
  } catch (const GradError& e) {
    what = e.what();
  }
  CHECK(what == "mul: a tensor [2] that it saved for backward was changed in place\n  recorded at saved.cpp:" +
                    std::to_string(recorded) + "\n  changed at saved.cpp:" + std::to_string(changed));
}

TEST_CASE("tape: in-place changes are refused on recorded tensors, leaves and overlapping memory") {
  Tensor x = leaf({1, 2});
  Tensor y = x * 2;
  CHECK(refusal<GradError>([&] { fill_(y, 0); }).find("fill_: a recorded tensor (from mul at saved.cpp:") == 0);
  CHECK(refusal<GradError>([&] { add_(x, 1); }) ==
        "add_: a leaf that requires a gradient is changed in place only under NoGrad");
  Tensor wide = expand(zeros({1}), {3});
  CHECK(refusal<ShapeError>([&] { fill_(wide, 1); }) ==
        "fill_: the memory of [3] overlaps itself (it was expanded); change a clone");
  CHECK(values(x) == std::vector<double>{1, 2});
}

}  // namespace attune::tests
