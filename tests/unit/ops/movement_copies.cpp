// Movement into fresh storage, and splitting, against plain index arithmetic.
#include "tests/unit/plain.h"

using namespace attune;
using namespace attune::tests;

TEST_CASE("contiguous is the tensor itself where it is dense; clone never is") {
  for_inputs([](const Tensor& x, const Plain& p) {
    const Tensor y = contiguous(x), z = clone(x);
    CHECK(y.is_contiguous());
    CHECK(y.same_storage(x) == x.is_contiguous());
    CHECK(z.is_contiguous());
    CHECK_FALSE(z.same_storage(x));
    CHECK(same(y, p));
    CHECK(same(z, p));
    CHECK(z.dtype() == x.dtype());
  });
  const Tensor leaf = zeros({2, 2}).requires_grad_();
  CHECK(contiguous(leaf).is_leaf());
  CHECK(contiguous(transpose(leaf)).node()->name() == std::string("contiguous"));
}

TEST_CASE("cat and split undo each other") {
  for_inputs([](const Tensor& x, const Plain& p) {
    for (int axis = 0; axis < x.rank(); ++axis) {
      const std::int64_t n = x.size(axis);
      const Tensors pieces = split(x, {n / 3, 0, n - n / 3}, axis);
      REQUIRE(pieces.size() == 3);
      for (const Tensor& piece : pieces) CHECK(piece.same_storage(x));
      CHECK(pieces[1].size(axis) == 0);
      for_indices(pieces[2].shape(), [&](const Dims& at) {
        Dims from = at;
        from[axis] += n / 3;
        REQUIRE(Plain(pieces[2])[at] == p[from]);
      });
      const Tensor y = cat(pieces, axis - x.rank());
      CHECK(y.dtype() == x.dtype());
      CHECK(same(y, p));
      CHECK_FALSE(y.same_storage(x));
    }
  });
  const Tensor a = shuffled({2, 3}), b = transpose(shuffled({3, 2}));
  const Tensor y = cat({a, b, a}, 1);
  for_indices(y.shape(), [&](const Dims& at) {
    REQUIRE(Plain(y)[at] == Plain(at[1] / 3 == 1 ? b : a)[{at[0], at[1] % 3}]);
  });
  CHECK(thrown([&] { cat({}); }) == "ValueError: cat: needs at least one tensor");
  CHECK(thrown([&] {
          cat({a, zeros({3, 3}, float64)}, 1);
        }) == "ShapeError: cat: sizes differ outside of axis 1: [2, 3] and [3, 3]");
  CHECK(thrown([&] {
          cat({a, zeros({3}, float64)});
        }) == "ShapeError: cat: sizes differ outside of axis 0: [2, 3] and [3]");
  CHECK(thrown([&] { cat({a, zeros({2, 3})}); }).rfind("DTypeError: cat: dtypes differ", 0) == 0);
  CHECK(thrown([&] { cat({scalar(1)}); }) == "IndexError: cat: axis 0 is out of range for []");
  CHECK(thrown([&] { split(a, {1, 1}, 1); }) == "ShapeError: split: sizes [1, 1] do not add up to axis 1 of [2, 3]");
  CHECK(thrown([&] { split(a, {4, -1}, 1); }) == "ShapeError: split: sizes [4, -1] do not add up to axis 1 of [2, 3]");
  CHECK(thrown([&] { split(a, {highest, highest, 5}, 1); }).rfind("ShapeError: split: sizes", 0) == 0);

  // A list that starts from an empty tensor; two axes or more cannot be confused with one.
  const Tensor none = zeros({0}).requires_grad_(), x = ones({2, 3}).requires_grad_();
  const Tensor joined = cat({none, x, none, x}, 1);
  CHECK(joined.shape() == Shape{2, 6});
  CHECK(grad({sum(joined)}, {x})[0].to_vector<double>() == std::vector<double>(6, 2));
}

TEST_CASE("the gradient of a split is the pieces' gradients joined, zeros for unused ones") {
  const Tensor x = shuffled({5, 2});
  const auto f = [](const Tensor& t) {
    const Tensors p = split(t, {2, 1, 2});
    return 2 * sum(p[0]) + sum(square(p[2]));
  };
  Plain expected({5, 2});
  for_indices(x.shape(), [&](const Dims& at) { expected[at] = at[0] < 2 ? 2 : at[0] == 2 ? 0 : 2 * Plain(x)[at]; });
  CHECK(same(gradient(f, x), expected));
}

TEST_CASE("stack and unbind undo each other") {
  for_inputs([](const Tensor& x, const Plain& p) {
    for (int axis = 0; axis < x.rank(); ++axis) {
      const Tensors pieces = unbind(x, axis);
      REQUIRE(pieces.size() == static_cast<std::size_t>(x.size(axis)));
      for (std::size_t i = 0; i < pieces.size(); ++i) {
        CHECK(pieces[i].same_storage(x));
        CHECK(same(pieces[i], select(x, axis, static_cast<std::int64_t>(i))));
      }
      if (!pieces.empty()) CHECK(same(stack(pieces, axis - x.rank()), p));
    }
  });
  CHECK(stack({scalar(1), scalar(2)}).to_vector<double>() == Values{1, 2});
  CHECK(stack({zeros({2, 0}), zeros({2, 0})}, -1).shape() == Shape{2, 0, 2});
  CHECK(thrown([] { stack({}); }) == "ValueError: stack: needs at least one tensor");
  CHECK(thrown([] { stack({zeros({2}), zeros({1})}); }) == "ShapeError: stack: shapes differ: [2] and [1]");
}

TEST_CASE("split and unbind are one node, whose backward pass joins once") {
  const Tensor x = shuffled({50, 2}).requires_grad_();
  const Tensors rows = unbind(x), halves = split(x, {20, 30});
  for (const Tensor& row : rows) CHECK(row.node() == rows[0].node());
  CHECK(halves[0].node() == halves[1].node());
  const Tensor y = stack(rows) * cat(halves);
  CHECK(Tape::of(y).size() == 6);  // the leaf, unbind, stack, split, cat, mul
  CHECK(same(gradient([](const Tensor& t) { return stack(unbind(t, 1)) * transpose(t); }, x), Plain(2 * x.detach())));
}

TEST_CASE("chunk: pieces of one size, the last one smaller") {
  const auto sizes = [](std::int64_t axis_size, std::int64_t n) {
    std::vector<std::int64_t> s;
    for (const Tensor& t : chunk(zeros({axis_size}), n)) s.push_back(t.numel());
    return s;
  };
  CHECK(sizes(7, 3) == std::vector<std::int64_t>{3, 3, 1});
  CHECK(sizes(5, 4) == std::vector<std::int64_t>{2, 2, 1});
  CHECK(sizes(6, 3) == std::vector<std::int64_t>{2, 2, 2});
  CHECK(sizes(2, 3) == std::vector<std::int64_t>{1, 1});
  CHECK(sizes(0, 2) == std::vector<std::int64_t>{0, 0});
  CHECK(thrown([] { chunk(zeros({2}), 0); }) == "ValueError: chunk: n = 0 must be at least 1");
}

TEST_CASE("flip reverses axes") {
  for_inputs([](const Tensor& x, const Plain& p) {
    for (unsigned mask = 0; mask < (1u << x.rank()); ++mask) {
      Dims axes;
      for (int i = 0; i < x.rank(); ++i)
        if (mask & (1u << i)) axes.push_back(i % 2 ? i : i - x.rank());
      const Tensor y = flip(x, axes);
      CHECK(y.is_contiguous());
      for_indices(x.shape(), [&](const Dims& at) {
        Dims from = at;
        for (int i = 0; i < x.rank(); ++i)
          if (mask & (1u << i)) from[i] = x.shape()[i] - 1 - at[i];
        REQUIRE(Plain(y)[at] == p[from]);
      });
    }
  });
  CHECK(thrown([] { flip(zeros({2, 3}), {0, -2}); }).find("flip: axes [0, -2] repeat an axis") != std::string::npos);
  CHECK(thrown([] { flip(zeros({1, 1}), {0, 0}); }).find("flip: axes [0, 0] repeat an axis") != std::string::npos);
}

TEST_CASE("roll moves along an axis, by any 64-bit shift") {
  for_inputs([](const Tensor& x, const Plain& p) {
    for (int axis = 0; axis < x.rank(); ++axis)
      for (std::int64_t shift :
           {std::int64_t{0}, std::int64_t{1}, std::int64_t{-1}, std::int64_t{7}, std::int64_t{-8}, lowest, highest}) {
        const Tensor y = roll(x, shift, axis);
        CHECK_FALSE(y.same_storage(x));
        for_indices(x.shape(), [&](const Dims& at) {
          const std::int64_t n = x.shape()[axis];
          Dims to_place = at;
          to_place[axis] = (at[axis] + (shift % n + n)) % n;
          REQUIRE(Plain(y)[to_place] == p[at]);
        });
      }
  });
  CHECK(same(gradient([](const Tensor& t) { return roll(t, 2, 0); }, zeros({5}), tensor({1, 2, 3, 4, 5})), {5},
             {3, 4, 5, 1, 2}));
}

TEST_CASE("pad adds and cuts") {
  for_inputs([](const Tensor& x, const Plain& p) {
    for (int axis = 0; axis < x.rank(); ++axis)
      for (std::int64_t before = -2; before <= 2; ++before)
        for (std::int64_t after = -2; after <= 2; ++after) {
          const std::int64_t n = x.size(axis), size = n + before + after;
          if (size < 0 || before < -n || after < -n) continue;
          const Tensor y = pad(x, axis, before, after, 1);
          REQUIRE(y.size(axis) == size);
          CHECK(y.dtype() == x.dtype());
          for_indices(y.shape(), [&](const Dims& at) {
            Dims from = at;
            from[axis] -= before;
            const bool inside = from[axis] >= std::max<std::int64_t>(0, -before) &&
                                from[axis] < n + std::min<std::int64_t>(after, 0) && from[axis] >= 0;
            REQUIRE(Plain(y)[at] == (inside ? p[from] : 1));
          });
        }
  });
  const Tensor x = shuffled({4});
  CHECK(same(gradient([](const Tensor& t) { return pad(t, 0, 2, -1, 3); }, x, tensor({1, 2, 3, 4, 5}, float64)), {4},
             {3, 4, 5, 0}));
  CHECK(same(gradient([](const Tensor& t) { return pad(t, 0, -4, 3); }, x), {4}, {0, 0, 0, 0}));
  CHECK(pad(x, 0, 1, 0, -inf).to_vector<double>()[0] == -inf);
  for (auto [before, after] : {std::pair{std::int64_t{-5}, std::int64_t{9}},
                               {9, -5},
                               {-3, -2},
                               {lowest, highest},
                               {highest, lowest},
                               {highest, 1},
                               {1, highest},
                               {lowest, lowest}})
    CHECK(thrown([&, b = before, a = after] { pad(x, 0, b, a); }).find("pad: before = ") != std::string::npos);
}

TEST_CASE("repeat tiles") {
  for_inputs([](const Tensor& x, const Plain& p) {
    for (std::int64_t c : {0, 1, 3}) {
      Dims counts{2};
      for (int i = 0; i < x.rank(); ++i) counts.push_back(i % 2 ? 2 : c);
      const Tensor y = repeat(x, counts);
      CHECK_FALSE(y.same_storage(x));
      REQUIRE(y.rank() == x.rank() + 1);
      REQUIRE(y.size(0) == 2);
      for_indices(y.shape(), [&](const Dims& at) {
        Dims from = at;
        from.erase(0);
        for (int i = 0; i < x.rank(); ++i) from[i] %= x.shape()[i];
        REQUIRE(Plain(y)[at] == p[from]);
      });
    }
  });
  CHECK(repeat(zeros({1, 2, 1, 1, 1, 1, 1, 2}), {2, 1, 1, 1, 3, 1, 1, 2}).shape() == Shape{2, 2, 1, 1, 3, 1, 1, 4});
  CHECK(same(gradient([](const Tensor& t) { return repeat(t, {2, 3}); }, shuffled({2})), {2}, {6, 6}));
  CHECK(thrown([] { repeat(zeros({2, 2}), {2}); }) == "ShapeError: repeat: counts [2] have fewer axes than [2, 2]");
  CHECK(thrown([] { repeat(zeros({2}), {-1}); }) == "ValueError: repeat: negative count in [-1]");
}

TEST_CASE("tril and triu keep a triangle") {
  for (const Shape& shape : {Shape{3, 3}, Shape{2, 4}, Shape{4, 2}, Shape{2, 3, 3}, Shape{0, 3}, Shape{3, 0}})
    for (DType dtype : {float64, int32, boolean})
      for (const Tensor& x : layouts(to(shuffled(shape) + 100, dtype)))
        for (std::int64_t d : {std::int64_t{0}, std::int64_t{1}, std::int64_t{-1}, std::int64_t{5}, lowest, highest}) {
          const Plain p(x), low(tril(x, d)), up(triu(x, d));
          REQUIRE(low.shape == shape);
          for_indices(shape, [&](const Dims& at) {
            const std::int64_t column = at[shape.rank() - 1], row = at[shape.rank() - 2];
            REQUIRE(low[at] == (column - row <= d ? p[at] : 0));
            REQUIRE(up[at] == (column - row >= d ? p[at] : 0));
          });
        }
  const Tensor with_nan = full({2, 2}, not_a_number);
  CHECK(tril(with_nan).to_vector<double>()[1] == 0);
  CHECK(thrown([] { tril(zeros({3})); }) == "ShapeError: tril: needs at least 2 axes, got [3]");
}
