// Comparisons, masks and changes in place, written with operators.

#include "tests/unit/plain.h"

namespace attune::tests {

TEST_CASE("operators: comparisons of tensors and numbers") {
  const Tensor x = tensor({1, 2, 3}), y = tensor({3, 2, 1});
  CHECK(same(x == y, eq(x, y)));
  CHECK(same(x != y, ne(x, y)));
  CHECK(same(x < y, lt(x, y)));
  CHECK(same(x <= y, le(x, y)));
  CHECK(same(x > y, gt(x, y)));
  CHECK(same(x >= y, ge(x, y)));
  CHECK(same(x == 2, tensor({false, true, false}, boolean)));
  CHECK(same(2 != x, tensor({true, false, true}, boolean)));
  CHECK(same(x > 1.5, tensor({false, true, true}, boolean)));
  CHECK(same(1.5 > x, tensor({true, false, false}, boolean)));
  CHECK(same(x <= 2, tensor({true, true, false}, boolean)));
  CHECK(same(2 >= x, x <= 2));
  CHECK(same(unsqueeze(x, 1) < y, lt(unsqueeze(x, 1), y)));
  CHECK((x == y).dtype() == boolean);
  CHECK_FALSE((leaf({1}) > 0).requires_grad());
  CHECK(all(x == x));
  CHECK(any(x > 2));
  enum { padding, start };
  CHECK(same(index_tensor({0, 1, 0}) == padding, tensor({true, false, true}, boolean)));
  CHECK(same(index_tensor({0, 1, 0}) == start, tensor({false, true, false}, boolean)));
  const int line = __LINE__ + 2;
  try {
    static_cast<void>(x == zeros({2}));
    CHECK(false);
  } catch (const ShapeError& e) {
    CHECK(e.where().line == line);
  }
  CHECK(refusal<DTypeError>([&] { static_cast<void>(index_tensor({1}) > 0.5); }) ==
        "gt: the scalar 0.5 does not fit the dtype int64 of [1]");
}

TEST_CASE("operators: logic of masks") {
  const Tensor a = tensor({true, true, false, false}, boolean), b = tensor({true, false, true, false}, boolean);
  CHECK(same(!a, logical_not(a)));
  CHECK(same(a & b, logical_and(a, b)));
  CHECK(same(a | b, logical_or(a, b)));
  CHECK(same(a ^ b, tensor({false, true, true, false}, boolean)));
  CHECK(same(a & true, a));
  CHECK(same(false | a, a));
  const Tensor x = tensor({-1, 0, 1, 2});
  CHECK(same((x > -1) & !(x == 1), tensor({false, true, false, true}, boolean)));
  CHECK(refusal<DTypeError>([&] { static_cast<void>(x & x); }) == "&: needs bool masks, got float32 [4]");
  CHECK(refusal<DTypeError>([&] { static_cast<void>(index_tensor({1}) | 1); }) == "|: needs bool masks, got int64 [1]");
  CHECK(refusal<DTypeError>([&] { static_cast<void>(x ^ 2); }) == "^: needs bool masks, got float32 [4]");
  CHECK(refusal<DTypeError>([&] { static_cast<void>(!x); }) == "!: needs bool masks, got float32 [4]");
  Tensor m = clone(a);
  m |= b;
  CHECK(same(m, a | b));
  m &= !b;
  CHECK(same(m, a & !b));
}

TEST_CASE("operators: changes in place are seen by every handle and view") {
  Tensor x = tensor({{1, 2, 3}, {4, 5, 6}});
  const Tensor handle = x, row = x[1];
  x += 1;
  CHECK(same(handle, {2, 3}, {2, 3, 4, 5, 6, 7}));
  CHECK(same(row, {3}, {5, 6, 7}));
  x -= tensor({1, 1, 1});
  CHECK(same(handle, {2, 3}, {1, 2, 3, 4, 5, 6}));
  x *= tensor({{2}, {3}});
  CHECK(same(handle, {2, 3}, {2, 4, 6, 12, 15, 18}));
  x /= 2.0;
  CHECK(same(handle, {2, 3}, {1, 2, 3, 6, 7.5, 9}));
  x[0] += 10;
  x[1][2] -= 4;
  x[1][Slice{.start = 0, .stop = 2}] *= 2;
  CHECK(same(handle, {2, 3}, {11, 12, 13, 12, 15, 5}));
  x += x[0];
  CHECK(same(handle[0], {3}, {22, 24, 26}));
  Tensor i = index_tensor({7, -7});
  i /= 2;
  i -= lowest;
  CHECK(i.to_vector<std::int64_t>() == std::vector<std::int64_t>{lowest + 3, highest - 2});
  const std::uint32_t before = x.version();
  x *= 2;
  CHECK(x.version() > before);
}

TEST_CASE("operators: += on a recorded result is recorded, and other handles keep the old one") {
  Tensor a = leaf({2, 3});
  Tensor c = a * a;
  const Tensor old = c;
  c += c + 1;
  c -= a;
  c *= 2;
  c /= a;
  CHECK(same(old, {2}, {4, 9}));
  CHECK(same(c, {2}, {7, 32.0 / 3}));
  CHECK(std::string(c.node()->name()) == "div");
  sum(c).backward();  // 2 (2 a^2 + 1 - a) / a = 4 a + 2 / a - 2
  CHECK(a.grad().to_vector<double>()[0] == doctest::Approx(4 - 2 / 4.0));
  CHECK(a.grad().to_vector<double>()[1] == doctest::Approx(4 - 2 / 9.0));
  CHECK(refusal<ShapeError>([&] {
          c += zeros({3, 2}, float64);
        }) == "+=: the right side [3, 2] does not broadcast to [2]");
  CHECK_THROWS_AS(c[0] += 1, GradError);
}

TEST_CASE("operators: what the tape would lose is refused, with the way to write it") {
  Tensor w = leaf({1, 2}), total = zeros({2}, float64);
  const auto text = [](const auto& f) { return refusal<GradError>(f); };
  CHECK(text([&] { w += 1; }) ==
        "+=: [2] is a leaf that requires a gradient, which is changed in place only under NoGrad; write x = x + y");
  CHECK(text([&] { total -= w; }) ==
        "-=: the right side [2] is a leaf that requires a gradient, and a change in place is not recorded: its "
        "gradient would be lost; write x = x - y");
  Tensor y = w * 2;
  CHECK(text([&] { total /= y; }).starts_with("/=: the right side [2] is recorded by mul at operators.cpp:"));
  CHECK(text([&] { w[0] += 1; }).starts_with("+=: [] is recorded by select"));
  CHECK(text([&] { w[0] = 1; }).starts_with("x[...] =: [] is recorded by select"));
  CHECK(text([&] { total[0] = y[0]; }).starts_with("x[...] =: the right side [] is recorded by select"));
  {
    const NoGrad off;
    CHECK(text([&] { y *= 2; }).starts_with("*=: [2] is recorded by mul at operators.cpp:"));
    w -= 0.5 * w;  // a step by hand
    w[1] = 7;
    total += w;
  }
  CHECK(same(w, {2}, {0.5, 7}));
  CHECK(same(total, {2}, {0.5, 7}));
  CHECK(w.requires_grad());
  total += y.detach();
  CHECK(same(total, {2}, {2.5, 11}));
  CHECK(refusal<ShapeError>([&] {
          total += zeros({3, 2}, float64);
        }) == "+=: the right side [3, 2] does not broadcast to [2]");
  CHECK(refusal<DTypeError>([&] { total += zeros({2}); }).find("float32") != std::string::npos);
  CHECK(same(total, {2}, {2.5, 11}));
  CHECK(refusal<ShapeError>([&] {
          Tensor wide = expand(zeros({1}), {3});
          wide += 1;
        }).find("overlaps itself") != std::string::npos);
  Tensor none;
  CHECK(refusal<ValueError>([&] { none += 1; }).find("undefined") != std::string::npos);
}

}  // namespace attune::tests
