// Views against plain index arithmetic, over dense and strided inputs of every dtype.
#include "tests/unit/plain.h"

using namespace attune;
using namespace attune::tests;

TEST_CASE("reshape reads row-major order, as a view where strides allow it") {
  for_inputs([](const Tensor& x, const Plain& p) {
    std::vector<Shape> targets{{x.numel()}, {1, x.numel(), 1}, {x.numel(), 1}};
    if (x.numel() % 6 == 0 && x.numel() > 0)
      targets = {{x.numel()}, {6, -1}, {-1, 2}, {x.numel() / 6, 3, 2}, {2, 1, 3, -1}};
    for (const Shape& target : targets) {
      const Tensor y = reshape(x, target);
      CHECK(y.to_vector<double>() == p.v);
      if (x.is_contiguous()) CHECK(y.same_storage(x));
    }
    CHECK(same(reshape(x, x.shape()), p));
    CHECK(reshape(x, x.shape()).same_storage(x));
  });
  const Tensor x = transpose(shuffled({4, 6}));  // [6, 4], strides [1, 6]
  CHECK(reshape(x, {2, 3, 4}).same_storage(x));
  CHECK(reshape(x, {2, 3, 4}).strides() == Strides{3, 1, 6});
  CHECK(reshape(x, {6, 2, 2}).same_storage(x));
  CHECK(reshape(x, {3, 8}).is_contiguous());
  CHECK_FALSE(reshape(x, {3, 8}).same_storage(x));
  CHECK(reshape(slice(shuffled({4, 6}), 1, 0, 3), {2, 2, 3, 1}).strides() == Strides{12, 6, 1, 1});
  CHECK(reshape(zeros({0, 3}), {5, 0}).shape() == Shape{5, 0});
  CHECK(reshape(zeros({0, 3}), {-1, 3}).shape() == Shape{0, 3});
  CHECK(reshape(zeros({2, 3}), {-1}).shape() == Shape{6});
  CHECK(reshape(zeros({1, 1}), {}).shape() == Shape{});
}

TEST_CASE("reshape refuses sizes that do not fit") {
  const Tensor x = zeros({2, 3});
  CHECK(thrown([&] { reshape(x, {4}); }) == "ShapeError: reshape: cannot reshape [2, 3] into [4]");
  CHECK(thrown([&] { reshape(x, {4, -1}); }) == "ShapeError: reshape: cannot reshape [2, 3] into [4, -1]");
  CHECK(thrown([&] { reshape(x, {-1, -1}); }) == "ShapeError: reshape: only one size can be -1: [-1, -1]");
  CHECK(thrown([&] { reshape(x, {-2, -3}); }) == "ShapeError: reshape: negative size in [-2, -3]");
  CHECK(thrown([&] { reshape(zeros({0}), {0, -1}); }) == "ShapeError: reshape: cannot reshape [0] into [0, -1]");
  CHECK(thrown([&] {
          reshape(x, {highest, highest});
        }) ==
        "ShapeError: reshape: the number of elements of [9223372036854775807, 9223372036854775807] overflows 64 bits");
  CHECK(thrown([&] { reshape(Tensor(), {1}); }) == "ValueError: reshape: an input is undefined");
}

TEST_CASE("flatten merges a range of axes") {
  const Tensor x = shuffled({2, 3, 4});
  CHECK(flatten(x).shape() == Shape{24});
  CHECK(flatten(x, 1).shape() == Shape{2, 12});
  CHECK(flatten(x, 0, 1).shape() == Shape{6, 4});
  CHECK(flatten(x, 0, -2).shape() == Shape{6, 4});
  CHECK(flatten(x, 1, 1).shape() == Shape{2, 3, 4});
  CHECK(flatten(zeros({})).shape() == Shape{1});
  CHECK(flatten(zeros({2, 0})).shape() == Shape{0});
  CHECK(flatten(transpose(x), 1).to_vector<double>() == transpose(x).to_vector<double>());
  CHECK(thrown([&] { flatten(x, 2, 1); }).rfind("IndexError: flatten: axes 2 to 1 of [2, 3, 4]", 0) == 0);
}

TEST_CASE("permute and transpose move axes without a copy") {
  for_inputs([](const Tensor& x, const Plain& p) {
    Dims axes;
    for (int i = 0; i < x.rank(); ++i) axes.push_back((i + 1) % x.rank());
    const Tensor y = permute(x, axes);
    CHECK(y.same_storage(x));
    for_indices(y.shape(), [&](const Dims& at) {
      Dims from = at;
      for (int i = 0; i < x.rank(); ++i) from[static_cast<int>(axes[i])] = at[i];
      REQUIRE(Plain(y)[at] == p[from]);
    });
    if (x.rank() < 2) return;
    const Tensor t = transpose(x);
    CHECK(t.same_storage(x));
    for_indices(t.shape(), [&](const Dims& at) {
      Dims from = at;
      std::swap(from[x.rank() - 1], from[x.rank() - 2]);
      REQUIRE(Plain(t)[at] == p[from]);
    });
  });
  const Tensor x = zeros({2, 3, 4});
  CHECK(permute(x, {-1, 0, -2}).shape() == Shape{4, 2, 3});
  CHECK(transpose(x, 0, -1).shape() == Shape{4, 3, 2});
  CHECK(transpose(x, 1, 1).shape() == Shape{2, 3, 4});
  CHECK(thrown([&] {
          permute(x, {0, 1});
        }) == "ShapeError: permute: axes [0, 1] do not name each axis of [2, 3, 4] once");
  CHECK(thrown([&] {
          permute(x, {0, 1, -2});
        }) == "ShapeError: permute: axes [0, 1, -2] do not name each axis of [2, 3, 4] once");
  CHECK(thrown([&] { permute(x, {0, 1, 3}); }) == "IndexError: permute: axis 3 is out of range for [2, 3, 4]");
  CHECK(thrown([&] { transpose(zeros({3})); }) == "IndexError: transpose: axis -2 is out of range for [3]");
}

TEST_CASE("expand repeats without a copy") {
  const Tensor x = shuffled({2, 1, 3});
  const Tensor y = expand(x, {4, -1, 5, 3});
  CHECK(y.shape() == Shape{4, 2, 5, 3});
  CHECK(y.same_storage(x));
  for_indices(y.shape(), [&](const Dims& at) { REQUIRE(Plain(y)[at] == Plain(x)[{at[1], 0, at[3]}]); });
  CHECK(expand(x, {2, 0, 3}).shape() == Shape{2, 0, 3});
  CHECK(expand(scalar(4), {2, 2}).to_vector<double>() == Values{4, 4, 4, 4});
  CHECK(same(gradient([](const Tensor& t) { return expand(t, {4, 2, 5, 3}); }, x), full({2, 1, 3}, 20, float64)));
  CHECK(same(gradient([](const Tensor& t) { return expand(t, {2, 0, 3}); }, x), zeros({2, 1, 3}, float64)));
  CHECK(thrown([&] { expand(x, {2, 3}); }) == "ShapeError: expand: cannot expand [2, 1, 3] to [2, 3]");
  CHECK(thrown([&] { expand(x, {2, 2, 4}); }) == "ShapeError: expand: cannot expand [2, 1, 3] to [2, 2, 4]");
  CHECK(thrown([&] { expand(x, {-1, 2, 1, 3}); }) == "ShapeError: expand: cannot expand [2, 1, 3] to [-1, 2, 1, 3]");
  CHECK(thrown([&] { expand(x, {1, 1, 3}); }) == "ShapeError: expand: cannot expand [2, 1, 3] to [1, 1, 3]");
}

TEST_CASE("squeeze and unsqueeze") {
  for_inputs([](const Tensor& x, const Plain& p) {
    for (int axis = -x.rank() - 1; axis <= x.rank(); ++axis) {
      const Tensor y = unsqueeze(x, axis);
      CHECK(y.same_storage(x));
      CHECK(y.size(axis) == 1);
      CHECK(same(squeeze(y, axis), p));
    }
  });
  CHECK(thrown([] { squeeze(zeros({2, 3}), 1); }) == "ShapeError: squeeze: axis 1 of [2, 3] has size 3, not 1");
  CHECK(thrown([] { unsqueeze(zeros({2}), 2); }).rfind("IndexError: unsqueeze: axis 2", 0) == 0);
  CHECK(thrown([] { squeeze(scalar(1), 0); }).rfind("IndexError: squeeze: axis 0", 0) == 0);
  CHECK(thrown([] { unsqueeze(zeros(Shape(std::vector<std::int64_t>(max_rank, 1))), 0); }).rfind("ShapeError: ", 0) ==
        0);
}

TEST_CASE("slice follows Python's bounds, for any 64-bit bound and step") {
  const std::int64_t bounds[] = {lowest, -7, -5, -3, -1, 0, 1, 2, 4, 5, 6, highest};
  const std::int64_t steps[] = {1, 2, 3, 5, 7, highest};
  const Tensor whole = shuffled({2, 5, 3});
  for (const Tensor& x : layouts(whole))
    for (std::int64_t start : bounds)
      for (std::int64_t stop : bounds)
        for (std::int64_t step : steps) {
          const auto clamped = [](std::int64_t b) { return std::clamp<std::int64_t>(b < 0 ? b + 5 : b, 0, 5); };
          std::vector<std::int64_t> kept;
          for (std::int64_t i = clamped(start); i < clamped(stop); i += std::min<std::int64_t>(step, 5))
            kept.push_back(i);
          INFO(start, ":", stop, ":", step);
          const Tensor y = slice(x, 1, start, stop, step);
          REQUIRE(y.shape() == Shape{2, static_cast<std::int64_t>(kept.size()), 3});
          REQUIRE(y.same_storage(x));
          for_indices(y.shape(), [&](const Dims& at) {
            REQUIRE(Plain(y)[at] == Plain(x)[{at[0], kept[static_cast<std::size_t>(at[1])], at[2]}]);
          });
          Plain expected({2, 5, 3});
          for_indices(y.shape(), [&](const Dims& at) {
            expected[{at[0], kept[static_cast<std::size_t>(at[1])], at[2]}] = static_cast<double>(at[1] + 1);
          });
          const Tensor dy = expand(unsqueeze(arange(y.size(1), float64) + 1, 1), y.shape());
          REQUIRE(same(gradient([&](const Tensor& t) { return slice(t, -2, start, stop, step); }, x, dy), expected));
        }
  CHECK(slice(zeros({0}), 0, 0).shape() == Shape{0});
  CHECK(slice(zeros({4}), 0, 1).shape() == Shape{3});
  CHECK(slice(expand(zeros({1}), {9}), 0, 1, to_end, 4).shape() == Shape{2});
  CHECK(thrown([&] { slice(whole, 0, 0, 1, 0); }) == "ValueError: slice: step = 0 must be at least 1");
  CHECK(thrown([&] { slice(whole, 0, 0, 1, lowest); }).rfind("ValueError: slice: step = -9223372036854775808", 0) == 0);
  CHECK(thrown([&] { slice(whole, 3, 0, 1); }) == "IndexError: slice: axis 3 is out of range for [2, 5, 3]");
}

TEST_CASE("slice_scatter puts elements among zeros") {
  const Tensor x = shuffled({2, 3});
  const Plain y(slice_scatter(x, {2, 8}, 1, 1, 3));
  for_indices(y.shape, [&](const Dims& at) { REQUIRE(y[at] == (at[1] % 3 == 1 ? Plain(x)[{at[0], at[1] / 3}] : 0)); });
  CHECK(same(slice_scatter(zeros({2, 0}), {2, 4}, 1, 4, highest), zeros({2, 4})));
  CHECK(slice_scatter(ones({1}), {3}, 0, 2, highest).to_vector<double>() == Values{0, 0, 1});
  CHECK(same(gradient([](const Tensor& t) { return slice_scatter(t, {9}, 0, 2, 3); }, zeros({2}), arange(9, float32)),
             {2}, {2, 5}));
  CHECK(thrown([&] { slice_scatter(x, {2, 7}, 1, 0, 3); }) == "");
  CHECK(thrown([&] {
          slice_scatter(x, {2, 7}, 1, 2, 3);
        }) == "ShapeError: slice_scatter: [2, 3] does not fit into [2, 7] from 2 in steps of 3 along axis 1");
  for (std::int64_t start : {lowest, highest, std::int64_t{-1}, std::int64_t{8}})
    CHECK(thrown([&] { slice_scatter(x, {2, 7}, 1, start, 1); }).rfind("ShapeError: slice_scatter", 0) == 0);
  CHECK(thrown([&] { slice_scatter(x, {2, 7}, 1, 0, highest); }).rfind("ShapeError: slice_scatter", 0) == 0);
  CHECK(thrown([&] { slice_scatter(x, {3, 7}, 1, 0); }).rfind("ShapeError: slice_scatter", 0) == 0);
}

TEST_CASE("select takes one position and drops the axis") {
  for_inputs([](const Tensor& x, const Plain& p) {
    for (int axis = 0; axis < x.rank(); ++axis)
      for (std::int64_t i = -x.size(axis); i < x.size(axis); ++i) {
        const Tensor y = select(x, axis - x.rank(), i);
        CHECK(y.same_storage(x));
        for_indices(y.shape(), [&](const Dims& at) {
          Dims from = at;
          from.insert(axis, i < 0 ? i + x.size(axis) : i);
          REQUIRE(Plain(y)[at] == p[from]);
        });
      }
  });
  const Tensor x = zeros({2, 3}), nothing = zeros({0});
  CHECK(thrown([&] { select(x, 1, 3); }) == "IndexError: select: index 3 is out of range for axis 1 of [2, 3]");
  CHECK(thrown([&] { select(x, 1, -4); }) == "IndexError: select: index -4 is out of range for axis 1 of [2, 3]");
  for (std::int64_t i : {lowest, highest}) CHECK(thrown([&] { select(x, 1, i); }).rfind("IndexError", 0) == 0);
  CHECK(thrown([&] { select(nothing, 0, 0); }) == "IndexError: select: index 0 is out of range for axis 0 of [0]");
  CHECK(same(gradient([](const Tensor& t) { return select(t, 0, -1); }, shuffled({2, 3})), {2, 3}, {0, 0, 0, 1, 1, 1}));
}

TEST_CASE("views change with their base, and the tape notices") {
  Tensor base = zeros({2, 3});
  const Tensor row = select(base, 0, 1);
  fill_(base, 4);
  CHECK(row.to_vector<double>() == Values{4, 4, 4});
  const Tensor leaf = ones({3}).requires_grad_();
  const Tensor y = sum(leaf * row);
  fill_(base, 5);
  CHECK(thrown([&] { y.backward(); }).rfind("GradError: ", 0) == 0);
}
