// x[...]: views, their gradients, and what is written through them.

#include "tests/unit/plain.h"

namespace attune::tests {

TEST_CASE("subscript: positions and slices of the first axis are views") {
  Tensor x = tensor({{1, 2, 3}, {4, 5, 6}});
  CHECK(same(x[0], {3}, {1, 2, 3}));
  CHECK(same(x[-1], {3}, {4, 5, 6}));
  CHECK(same(x[1][2], {}, {6}));
  CHECK(same(x[std::size_t{1}][-3], {}, {4}));
  CHECK(same(x[Slice{.start = 1}], {1, 3}, {4, 5, 6}));
  CHECK(same(x[0][Slice{.start = 0, .stop = {}, .step = 2}], {2}, {1, 3}));
  CHECK(x[0].same_storage(x));
  const Tensor fixed = x;
  CHECK(fixed[1][0].item() == 4);
  x[0] = 9;
  x[1] = tensor({7, 8, 9});
  x[1][0] = -1;
  CHECK(same(fixed, {2, 3}, {9, 9, 9, -1, 8, 9}));
  x[Slice{}] = x[0] - 1;
  CHECK(same(fixed, {2, 3}, {8, 8, 8, 8, 8, 8}));
  x = zeros({1});  // a named tensor becomes another handle
  CHECK(fixed.numel() == 6);
  CHECK(fixed[0][0].item() == 8);
}

TEST_CASE("subscript: recorded, as select and slice are") {
  const Tensor x = leaf({1, 2, 3, 4});
  (x[0] * x[-1] + sum(x[Slice{.start = 1, .stop = 3}])).backward();
  CHECK(same(x.grad(), {4}, {4, 1, 1, 1}));
  const Tensor y = tensor({{1, 2}, {3, 4}}, float64).requires_grad_();
  square(y[1][0]).backward();
  CHECK(same(y.grad(), {2, 2}, {0, 0, 6, 0}));
}

TEST_CASE("subscript: masks and index tensors pick copies, which are read only") {
  const Tensor x = tensor({{1, 2}, {3, 4}, {5, 6}});
  CHECK(same(x[x > 2], {4}, {3, 4, 5, 6}));
  CHECK(same(x[index_tensor({-1, 0})], {2, 2}, {5, 6, 1, 2}));
  CHECK(same(x[tensor({true, false, true}, boolean)], {2, 2}, {1, 2, 5, 6}));
  CHECK(same(x[x > 2][0], {}, {3}));
  using Picked = decltype(x[x > 2]);
  static_assert(!std::is_assignable_v<Picked, Tensor>);
  static_assert(!std::is_assignable_v<decltype(std::declval<Picked>()[0]), double>);
  static_assert(std::is_assignable_v<decltype(x[0]), Tensor>);
  static_assert(std::is_nothrow_move_assignable_v<Tensor> && std::is_nothrow_copy_assignable_v<Tensor>);
  static_assert(sizeof(Tensor) == sizeof(void*));
  const Tensor w = leaf({1, -1, 2});
  sum(w[w > 0]).backward();
  CHECK(same(w.grad(), {3}, {1, 0, 1}));
}

TEST_CASE("subscript: out of range is refused at its line") {
  const Tensor x = zeros({2, 3});
  CHECK(refusal<IndexError>([&] { x[2]; }) == "operator[]: index 2 is out of range for axis 0 of [2, 3]");
  CHECK(refusal<IndexError>([&] { x[0][-4]; }) == "operator[]: index -4 is out of range for axis 0 of [3]");
  CHECK(refusal<IndexError>([&] { x[0][0][0]; }) ==
        "operator[]: a tensor of rank 0 has no axis to index; item() is its value");
  CHECK(refusal<DTypeError>([&] { x[zeros({2})]; }).find("index") == 0);
  CHECK(refusal<ShapeError>([&] {
          zeros({2, 3})[0] = zeros({2});
        }) == "x[...] =: the right side [2] does not broadcast to [3]");
  const int line = __LINE__ + 2;
  try {
    x[5];
  } catch (const IndexError& e) {
    CHECK(e.where().line == line);
  }
}

}  // namespace attune::tests
