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

TEST_CASE("tensor: from_memory and empty refuse what is not there, at the line that asks") {
  float numbers[6] = {1, 2, 3, 4, 5, 6};
  bool released = false;
  {
    const Tensor x = from_memory(numbers, sizeof numbers, {2, 3}, float32, [&] { released = true; });
    CHECK(x[1][0].item() == 4);
    CHECK(x.data<float>() == numbers);
  }
  CHECK(released);
  // `call` leaves its line.
  const auto check = [](const std::string& message, const auto& call) {
    int line = 0;
    try {
      call(line);
      FAIL_CHECK("not refused: " << message);
    } catch (const Error& e) {
      CHECK(std::string(e.what()).starts_with(message));
      CHECK(e.where().line == line);
    }
  };
  CHECK(from_memory(nullptr, 0, {0, 3}, float32, nullptr).numel() == 0);
  check("from_memory: the memory is null; [2, 3] float32 needs 24 bytes\n", [&](int& line) {
    line = __LINE__, from_memory(nullptr, 24, {2, 3}, float32, nullptr);
  });
  check("from_memory: [2, 3] float32 does not fit in 20 bytes\n", [&](int& line) {
    line = __LINE__, from_memory(numbers, 20, {2, 3}, float32, nullptr);
  });
  check("from_memory: the memory is not aligned for float32: its address is no multiple of 4\n", [&](int& line) {
    line = __LINE__, from_memory(reinterpret_cast<char*>(numbers) + 2, 20, {2}, float32, nullptr);
  });
  check("from_memory: [] float32 does not fit in -1 bytes\n",
        [&](int& line) { line = __LINE__, from_memory(nullptr, -1, {}, float32, nullptr); });
  check("empty: shape: negative size in [2, -1]", [&](int& line) { line = __LINE__, empty({2, -1}); });
}

}  // namespace attune::tests
