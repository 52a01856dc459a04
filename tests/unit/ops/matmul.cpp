// Matrix products against plain loops: broadcasting, vectors, strides, zero sizes, gradients.
#include <array>

#include "autograd/runtime/memory.h"
#include "tests/unit/plain.h"

using namespace attune;
using namespace attune::tests;

namespace {

/// Small integers, so that every product and sum is exact in float32 too.
Tensor integers(const Shape& shape, DType dtype = float64, unsigned seed = 1) {
  std::mt19937 random(seed);
  Values v(static_cast<std::size_t>(numel(shape)));
  for (double& e : v) e = static_cast<double>(random() % 7) - 3;
  return tensor(v, shape, dtype);
}

Tensor reals(const Shape& shape, unsigned seed, DType dtype = float64) {
  Generator g(seed);
  return randn(shape, dtype, g);
}

/// One multiplication of a product: y[at_y] += a[at_a] b[at_b].
using Term = std::function<void(const Dims& at_y, const Dims& at_a, const Dims& at_b)>;

/// The place in a broadcast operand's leading axes, followed by its own two.
Dims place(const Shape& shape, const Dims& batch, std::int64_t row, std::int64_t column) {
  Dims at;
  const int lead = shape.rank() - 2;
  for (int i = 0; i < lead; ++i) at.push_back(shape[i] == 1 ? 0 : batch[batch.rank() - lead + i]);
  at.push_back(row);
  at.push_back(column);
  return at;
}

/// Visits the terms of a [.., m, k] times b [.., k, n]; returns the result's shape.
Shape each_term(const Shape& a, const Shape& b, const Term& term) {
  Shape la = a, lb = b, batch;
  la.resize(a.rank() - 2);
  lb.resize(b.rank() - 2);
  REQUIRE(broadcast(la, lb, batch));
  const std::int64_t m = a[a.rank() - 2], k = a.back(), n = b.back();
  for_indices(batch, [&](const Dims& at) {
    for (std::int64_t i = 0; i < m; ++i)
      for (std::int64_t j = 0; j < n; ++j)
        for (std::int64_t p = 0; p < k; ++p) {
          Dims y = at;
          y.push_back(i);
          y.push_back(j);
          term(y, place(a, at, i, p), place(b, at, p, j));
        }
  });
  batch.push_back(m);
  batch.push_back(n);
  return batch;
}

struct Product {
  Plain y, da, db;
};

/// a b, and with the cotangent dy its two gradients, all in the operands' shapes.
Product by_loops(const Plain& a, const Plain& b, const Plain* dy = nullptr) {
  const Shape shape = each_term(a.shape, b.shape, [](auto&&...) {});
  Product r{Plain(shape), Plain(a.shape), Plain(b.shape)};
  each_term(a.shape, b.shape, [&](const Dims& y, const Dims& i, const Dims& j) {
    r.y[y] += a[i] * b[j];
    if (!dy) return;
    r.da[i] += (*dy)[y] * b[j];
    r.db[j] += (*dy)[y] * a[i];
  });
  return r;
}

struct Case {
  Shape a, b, y;
};

const std::vector<Case> cases = {
    {{2, 3}, {3, 4}, {2, 4}},
    {{1, 1}, {1, 1}, {1, 1}},
    {{5, 1}, {1, 4}, {5, 4}},
    {{1, 6}, {6, 1}, {1, 1}},
    {{1, 3}, {3, 4}, {1, 4}},
    {{4, 3}, {3, 1}, {4, 1}},
    {{2, 4, 3}, {3, 2}, {2, 4, 2}},
    {{3, 2}, {2, 2, 4}, {2, 3, 4}},
    {{2, 3, 2}, {2, 2, 3}, {2, 3, 3}},
    {{1, 3, 2}, {4, 2, 1}, {4, 3, 1}},
    {{2, 1, 2, 3}, {3, 3, 2}, {2, 3, 2, 2}},
    {{2, 1, 1, 2, 3}, {1, 3, 1, 3, 2}, {2, 3, 1, 2, 2}},
    {{1, 2, 1, 1, 1, 2, 2}, {2, 1, 1, 1, 3, 2, 1}, {2, 2, 1, 1, 3, 2, 1}},
    {{0, 3}, {3, 2}, {0, 2}},
    {{2, 3}, {3, 0}, {2, 0}},
    {{2, 0}, {0, 3}, {2, 3}},
    {{0, 0}, {0, 0}, {0, 0}},
    {{0, 2, 3}, {3, 2}, {0, 2, 2}},
    {{2, 4, 0}, {0, 3}, {2, 4, 3}},
    {{0, 2, 3}, {1, 3, 2}, {0, 2, 2}},
    {{3, 2, 0}, {3, 0, 2}, {3, 2, 2}},
};

/// The gradients of <f(a, b), dy>.
Tensors gradients(const Tensor& a, const Tensor& b, const Tensor& dy) {
  const Tensor x = a.detach().requires_grad_(), w = b.detach().requires_grad_();
  return grad({matmul(x, w)}, {x, w}, {.cotangents = {dy}});
}

}  // namespace

TEST_CASE("matmul: values and gradients in every layout of both sides and of the cotangent") {
  for (const Case& c : cases)
    for (DType dtype : {float64, float32}) {
      const Tensor a0 = integers(c.a, dtype, 1), b0 = integers(c.b, dtype, 2), dy0 = integers(c.y, dtype, 3);
      const Plain dy_plain(dy0);
      const Product expected = by_loops(Plain(a0), Plain(b0), &dy_plain);
      REQUIRE(expected.y.shape == c.y);
      const Tensors dys = layouts(dy0);
      std::size_t turn = 0;
      for (const Tensor& a : layouts(a0))
        for (const Tensor& b : layouts(b0)) {
          const Tensor& dy = dys[turn++ % dys.size()];
          INFO(c.a.str(), " x ", c.b.str(), ", strides ", a.strides().str(), b.strides().str(), dy.strides().str());
          const Tensor y = matmul(a, b);
          REQUIRE(y.dtype() == dtype);
          REQUIRE(y.is_contiguous());
          REQUIRE(same(y, expected.y));
          const Tensors d = gradients(a, b, dy);
          REQUIRE(same(d[0], expected.da));
          REQUIRE(same(d[1], expected.db));
        }
    }
}

TEST_CASE("matmul: a vector is a row on the left, a column on the right, and its axis goes") {
  const Shape k{3};
  for (const Shape& s : std::vector<Shape>{{3, 2}, {2, 3, 4}, {2, 2, 3, 1}, {3, 0}, {0, 3, 2}}) {
    const Tensor v = integers(k), b = integers(s, float64, 5);
    const Product p = by_loops(Plain(reshape(v, {1, 3})), Plain(b));
    const Tensor y = matmul(v, b);
    REQUIRE(y.rank() == s.rank() - 1);
    CHECK(same(y, y.shape(), p.y.v));
    const Tensor bt = transpose(b), yt = matmul(bt, v);
    REQUIRE(yt.rank() == s.rank() - 1);
    CHECK(same(yt, y));
  }
  const Tensor u = tensor({1, 2, 3}, float64).requires_grad_(), v = tensor({4, -5, 6}, float64).requires_grad_();
  const Tensor dot = matmul(u, v);
  CHECK(dot.shape() == Shape{});
  CHECK(dot.item() == 12);
  const Tensors d = grad({dot}, {u, v});
  CHECK(same(d[0], {3}, {4, -5, 6}));
  CHECK(same(d[1], {3}, {1, 2, 3}));
  CHECK(matmul(zeros({0}), zeros({0})).item() == 0);
}

TEST_CASE("matmul: sizes on both sides of every change of method") {
  const std::vector<std::array<std::int64_t, 3>> sizes = {{8, 8, 8},     {9, 8, 8},      {1, 700, 33},   {700, 1, 33},
                                                          {33, 17, 129}, {600, 3, 70},   {2, 1100, 65},  {3, 2, 5000},
                                                          {1, 1, 9000},  {70, 66, 4200}, {130, 140, 150}};
  for (const auto& size : sizes)
    for (DType dtype : {float32, float64}) {
      const std::int64_t m = size[0], n = size[1], k = size[2];
      INFO(m, " x ", n, " over ", k);
      const Tensor a = integers({m, k}, dtype, 1), b = integers({k, n}, dtype, 2);
      const Plain expected = by_loops(Plain(a), Plain(b)).y;
      CHECK(same(matmul(a, b), expected));
      CHECK(same(matmul(transpose(contiguous(transpose(a))), transpose(contiguous(transpose(b)))), expected));
      CHECK(same(matmul(unsqueeze(a, 0), unsqueeze(b, 0)), unsqueeze(matmul(a, b), 0)));
    }
}

TEST_CASE("matmul: views that BLAS cannot read are copied, others are read where they lie") {
  const Tensor row = integers({1, 4}), column = integers({4, 1}, float64, 2), cube = integers({3, 4, 5}, float64, 3);
  const std::vector<std::pair<Tensor, Tensor>> pairs = {
      {expand(row, {3, 4}), expand(column, {4, 2})},                                 // strides of 0
      {expand(column, {4, 5}), expand(integers({1, 2}), {5, 2})},                    // in the other axis
      {flip(integers({3, 4}), {0, 1}), flip(integers({4, 2}), {0})},                 // reversed
      {slice(integers({6, 9}), 1, 0, to_end, 3), slice(integers({8, 2}), 0, 2, 5)},  // no axis dense; a part
      {permute(cube, {2, 0, 1}), permute(cube, {2, 1, 0})},                          // a batch along the dense axis
      {select(cube, 2, 1), transpose(select(cube, 2, 4))},
      {expand(integers({2, 3}), {4, 2, 3}), expand(integers({1, 3, 2}), {4, 3, 2})},  // one matrix as a batch
      {slice(cube, 1, 1, 2), slice(integers({5, 7}), 1, 3, 4)},  // single rows and columns of wide storage
  };
  for (const auto& pair : pairs) {
    const Tensor &a = pair.first, &b = pair.second;
    INFO(a.shape().str(), " at ", a.strides().str(), " x ", b.shape().str(), " at ", b.strides().str());
    CHECK(same(matmul(a, b), by_loops(Plain(a), Plain(b)).y));
  }
  // A transposed operand costs no copy: nothing but the result is allocated.
  const Tensor big = integers({256, 512}, float32), other = integers({256, 512}, float32, 2);
  matmul(transpose(big), other);
  const std::int64_t live = memory_stats().live_bytes;
  reset_peak_memory();
  const Tensor y = matmul(transpose(big), other);
  CHECK(memory_stats().peak_bytes - live < 512 * 512 * 4 + 256 * 512 * 4);
}

TEST_CASE("matmul: a sum over nothing is zero, whatever the memory held") {
  for (int i = 0; i < 4; ++i) full({64, 64}, not_a_number);
  CHECK(all(eq(matmul(zeros({64, 0}), zeros({0, 64})), 0)));
  for (int i = 0; i < 4; ++i) full({4, 32, 32}, not_a_number);
  CHECK(all(eq(matmul(zeros({4, 32, 0}), zeros({4, 0, 32})), 0)));
}

TEST_CASE("matmul: NaN and infinity stay in their rows and columns") {
  for (std::int64_t n : {4, 40}) {
    Tensor a = ones({n, n}, float64);
    a.mutable_data<double>()[n + 1] = not_a_number;
    a.mutable_data<double>()[2 * n] = inf;
    const Plain y(matmul(a, ones({n, n}, float64)));
    for_indices(y.shape, [&](const Dims& at) {
      if (at[0] == 1)
        CHECK(std::isnan(y[at]));
      else
        CHECK(y[at] == (at[0] == 2 ? inf : static_cast<double>(n)));
    });
  }
}

TEST_CASE("matmul: one tensor on both sides, and third derivatives") {
  const Tensor x = integers({3, 3}).requires_grad_();
  const Plain dy(Shape{3, 3}, 1);
  const Product p = by_loops(Plain(x), Plain(x), &dy);
  Plain both = p.da;
  for (std::size_t i = 0; i < both.v.size(); ++i) both.v[i] += p.db.v[i];
  CHECK(same(gradient([](const Tensor& t) { return matmul(t, t); }, x), both));
  CHECK(gradcheck([](const Tensors& t) { return Tensors{matmul(t[0], transpose(t[0]))}; },
                  {reals({2, 3}, 1).requires_grad_()}) == "");

  const Tensor s = full({1, 1}, 1.5, float64).requires_grad_();
  Tensor d = matmul(matmul(s, s), matmul(s, s));
  for (int order = 0; order < 3; ++order) d = grad({d}, {s}, {.create_graph = true})[0];
  CHECK(d.item() == doctest::Approx(24 * 1.5));
}

TEST_CASE("matmul: keeps only what the wanted gradients need") {
  Tensor a = reals({2, 3}, 1).requires_grad_(), b = reals({3, 2}, 2);
  {
    const Tensor y = sum(matmul(a, b));
    const NoGrad off;
    mul_(a, 2);  // da takes b alone
    y.backward();
    CHECK(a.grad().defined());
  }
  const Tensor y = sum(matmul(a, b));
  mul_(b, 2);
  CHECK(thrown([&] { y.backward(); }).find("GradError: matmul: a tensor [3, 2] that it saved") == 0);
}

TEST_CASE("matmul: wrong calls") {
  const Tensor m = zeros({2, 3});
  CHECK(thrown([&] {
          matmul(zeros({8, 256}), zeros({128, 64}));
        }) == "ShapeError: matmul: inner sizes differ: [8, 256] x [128, 64] (256 != 128)");
  CHECK(thrown([&] { matmul(m, zeros({2})); }) == "ShapeError: matmul: inner sizes differ: [2, 3] x [2] (3 != 2)");
  CHECK(thrown([&] { matmul(zeros({2}), m.detach()); }) == "");
  CHECK(thrown([&] { matmul(zeros({3}), m); }) == "ShapeError: matmul: inner sizes differ: [3] x [2, 3] (3 != 2)");
  CHECK(thrown([&] {
          matmul(zeros({2, 1, 3}), zeros({3, 3, 1}));
        }) == "ShapeError: matmul: leading axes do not broadcast: [2, 1, 3] x [3, 3, 1]");
  CHECK(thrown([&] { matmul(zeros({}), m); }) ==
        "ShapeError: matmul: needs at least one axis on both sides: [] x [2, 3]");
  CHECK(thrown([&] {
          matmul(m, zeros({3, 2}, float64));
        }) == "DTypeError: matmul: dtypes differ: float32 [2, 3] and float64 [3, 2]");
  CHECK(thrown([&] {
          matmul(zeros({2, 3}, int64), m);
        }) == "DTypeError: matmul: needs float32 or float64, got int64 [2, 3]");
  CHECK(thrown([&] { matmul({}, m); }) == "ValueError: matmul: an input is undefined");
  CHECK(thrown([&] { matmul(m, {}); }) == "ValueError: matmul: an input is undefined");
}
