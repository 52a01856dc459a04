// Softmax and its logarithm against plain loops: every axis and layout, extreme logits, masked rows, gradients
// of all orders.
#include "tests/unit/plain.h"

using namespace attune;
using namespace attune::tests;

namespace {

Tensor reals(const Shape& shape, unsigned seed, DType dtype = float64) {
  Generator g(seed);
  return randn(shape, dtype, g);
}

/// visit(index at 0 along the axis, size): once a row.
void each_row(const Shape& shape, std::int64_t axis, const std::function<void(Dims at, std::int64_t n)>& visit) {
  Shape heads = shape;
  heads[axis] = 1;
  if (shape[axis] != 0) for_indices(heads, [&](const Dims& at) { visit(at, shape[axis]); });
}

/// f(row) -> row, over the rows of one or two arrays.
using Rowwise = std::function<Values(const Values& x, const Values& other)>;
Plain by_rows(const Plain& x, const Plain& other, std::int64_t axis, const Rowwise& f) {
  Plain y(x.shape);
  each_row(x.shape, axis, [&](Dims at, std::int64_t n) {
    Values a, b;
    for (at[axis] = 0; at[axis] < n; ++at[axis]) {
      a.push_back(x[at]);
      b.push_back(other[at]);
    }
    const Values r = f(a, b);
    for (at[axis] = 0; at[axis] < n; ++at[axis]) y[at] = r[static_cast<std::size_t>(at[axis])];
  });
  return y;
}

Values softmax_of(const Values& x, const Values& = {}) {
  const double top = *std::max_element(x.begin(), x.end());
  Values y;
  double total = 0;
  for (double v : x) total += std::exp(v - top);
  for (double v : x) y.push_back(std::exp(v - top) / total);
  return y;
}
Values log_softmax_of(const Values& x, const Values& = {}) {
  const double top = *std::max_element(x.begin(), x.end());
  Values y;
  double total = 0;
  for (double v : x) total += std::exp(v - top);
  for (double v : x) y.push_back(v - top - std::log(total));
  return y;
}
Values softmax_grad_of(const Values& y, const Values& dy) {
  double dot = 0;
  for (std::size_t i = 0; i < y.size(); ++i) dot += y[i] * dy[i];
  Values dx;
  for (std::size_t i = 0; i < y.size(); ++i) dx.push_back(y[i] * (dy[i] - dot));
  return dx;
}
Values log_softmax_grad_of(const Values& y, const Values& dy) {
  double total = 0;
  for (double v : dy) total += v;
  Values dx;
  for (std::size_t i = 0; i < y.size(); ++i) dx.push_back(dy[i] - std::exp(y[i]) * total);
  return dx;
}

using Softmax = Tensor (*)(const Tensor&, std::int64_t, Here);
using Grad = Tensor (*)(const Tensor&, const Tensor&, std::int64_t, Here);
struct Member {
  Softmax f;
  Grad grad;
  Rowwise plain, plain_grad;
  std::function<Tensor(const Tensor&, std::int64_t)> composed;  ///< of finite logits, without any fused kernel
};
const std::vector<Member> members = {
    {softmax, softmax_grad, softmax_of, softmax_grad_of,
     [](const Tensor& x, std::int64_t axis) { return exp(x) / sum(exp(x), {axis}, true); }},
    {log_softmax, log_softmax_grad, log_softmax_of, log_softmax_grad_of,
     [](const Tensor& x, std::int64_t axis) { return x - log(sum(exp(x), {axis}, true)); }},
};

const std::vector<Shape> shapes = {{1}, {5}, {0}, {3, 4}, {4, 1}, {3, 0}, {0, 3}, {2, 3, 4}, {2, 1, 3, 2}, {2, 37}};

}  // namespace

TEST_CASE("softmax family: values and gradients along every axis, in every layout") {
  for (const Member& m : members)
    for (const Shape& shape : shapes)
      for (DType dtype : {float64, float32}) {
        const double tolerance = dtype == float64 ? 1e-13 : 2e-6;
        const Tensor x0 = to(3 * reals(shape, 1), dtype), dy0 = reals(shape, 2, dtype);
        const Tensors dys = layouts(dy0);
        for (std::int64_t axis = 0; axis < shape.rank(); ++axis) {
          const Plain y = by_rows(Plain(x0), Plain(x0), axis, m.plain);
          const Plain dx = by_rows(y, Plain(dy0), axis, m.plain_grad);
          std::size_t turn = 0;
          for (const Tensor& x : layouts(x0)) {
            const Tensor& dy = dys[++turn % dys.size()];
            INFO(shape.str(), " ", name_of(dtype), " at ", x.strides().str(), ", axis ", axis);
            const Tensor found = m.f(x, axis, {});
            REQUIRE(found.dtype() == dtype);
            REQUIRE(found.is_contiguous());
            REQUIRE(close(found, y, tolerance));
            REQUIRE(same(m.f(x, axis - shape.rank(), {}), found));
            REQUIRE(close(gradient([&](const Tensor& t) { return m.f(t, axis, {}); }, x, dy), dx, 4 * tolerance));
            REQUIRE(close(m.grad(found, dy, axis, {}), dx, 4 * tolerance));
          }
        }
      }
}

TEST_CASE("softmax family: rank 0 is a row of one") {
  CHECK(same(softmax(scalar(7)), {}, {1}));
  CHECK(same(log_softmax(scalar(7), 0), {}, {0}));
  CHECK(gradient([](const Tensor& t) { return softmax(t); }, scalar(7)).item() == 0);
  CHECK(gradient([](const Tensor& t) { return log_softmax(t); }, scalar(7)).item() == 0);
}

TEST_CASE("softmax family: derivatives up to the third are those of the composition") {
  for (const Member& m : members)
    for (std::int64_t axis : {0, 1, 2}) {
      const Tensor x = reals({2, 3, 4}, 1).requires_grad_(), u = reals({2, 3, 4}, 2), v = reals({2, 3, 4}, 3);
      const auto orders = [&](const Tensor& y) {
        Tensors all{y};
        Tensor next = sum(square(y) * u);
        for (int order = 0; order < 3; ++order) {
          all.push_back(grad({next}, {x}, {.create_graph = true})[0]);
          next = sum(square(all.back()) * v);
        }
        return all;
      };
      const Tensors fused = orders(m.f(x, axis, {})), composed = orders(m.composed(x, axis));
      for (std::size_t i = 0; i < fused.size(); ++i) {
        INFO("order ", i, ", axis ", axis);
        CHECK(close(fused[i], Plain(composed[i]), 1e-10));
      }
    }
}

TEST_CASE("softmax family: the fused backward passes are differentiable in both arguments along any axis") {
  for (const Member& m : members)
    for (std::int64_t axis : {0, 1, -1})
      CHECK(gradcheck([&](const Tensors& in) { return Tensors{m.grad(in[0], in[1], axis, {})}; },
                      {reals({2, 3, 2}, 1).requires_grad_(), reals({2, 3, 2}, 2).requires_grad_()}) == "");
}

TEST_CASE("softmax family: large logits neither overflow nor lose digits") {
  for (DType dtype : {float64, float32})
    for (double shift : {0.0, 1e4, -1e4, 1e30, -1e30}) {
      INFO(name_of(dtype), ", shift ", shift);
      const Values steps = std::abs(shift) < 1e5 ? Values{0, 1, 2, -1} : Values{0, 0, 0, 0};
      Values v = steps;
      for (double& e : v) e += shift;
      const Tensor x = tensor(v, {4}, dtype);
      const double tolerance = dtype == float64 ? 1e-12 : 2e-6;
      Plain expected(Shape{4});
      expected.v = softmax_of(steps);
      CHECK(close(softmax(x), expected, tolerance));
      expected.v = log_softmax_of(steps);
      CHECK(close(log_softmax(x), expected, tolerance));
    }
  // The logarithm of a probability that is no longer a number of its own.
  CHECK(same(log_softmax(tensor({0, -1000})), {2}, {0, -1000}));
  CHECK(same(softmax(tensor({0, -1000})), {2}, {1, 0}));
  CHECK(same(log_softmax(tensor({3e38, -3e38})), {2}, {0, -inf}));
  CHECK(close(softmax(tensor({1e-30, 0})), Plain(tensor({0.5, 0.5})), 1e-7));
  // A long row's probabilities still add up to one.
  CHECK(sum(to(softmax(reals({1 << 17}, 1, float32)), float64)).item() == doctest::Approx(1).epsilon(1e-6));
}

TEST_CASE("softmax family: masked elements have probability and gradient 0") {
  for (std::int64_t axis : {0, 1}) {
    const auto lay = [&](const Tensor& t) { return axis == 1 ? t : transpose(t); };
    const Tensor x = lay(tensor({1, -inf, 2, -inf, 0.5, -inf}, {2, 3}, float64));
    const Tensor dy = lay(tensor({1, 5, 3, 7, -1, 9}, {2, 3}, float64));
    const Tensor y = softmax(x, axis), logs = log_softmax(x, axis);
    const double p = std::exp(1) / (std::exp(1) + std::exp(2)), q = 1 - p;
    CHECK(close(y, Plain(lay(tensor({p, 0, q, 0, 1, 0}, {2, 3}, float64)))));
    CHECK(close(logs, Plain(lay(tensor({std::log(p), -inf, std::log(q), -inf, 0, -inf}, {2, 3}, float64)))));
    const double dot = p * 1 + q * 3;
    CHECK(close(gradient([&](const Tensor& t) { return softmax(t, axis); }, x, dy),
                Plain(lay(tensor({p * (1 - dot), 0, q * (3 - dot), 0, 0, 0}, {2, 3}, float64)))));
    const Tensor read = lay(tensor({1, 0, 3, 0, -1, 0}, {2, 3}, float64));  // nobody reads the masked logarithms
    CHECK(close(gradient([&](const Tensor& t) { return log_softmax(t, axis); }, x, read),
                Plain(lay(tensor({1 - 4 * p, 0, 3 - 4 * q, 0, 0, 0}, {2, 3}, float64)))));
  }
}

TEST_CASE("softmax family: a row of -inf gives zeros (or -inf) and gradients of 0 in every order") {
  for (DType dtype : {float64, float32})
    for (std::int64_t axis : {0, 1}) {
      const auto lay = [&](const Tensor& t) { return axis == 1 ? t : transpose(t); };
      const Tensor x = lay(tensor({-inf, -inf, 1, 2}, {2, 2}, dtype)).detach().requires_grad_();
      const auto dead = [&](const Tensor& t) { return Plain(select(lay(t.detach()), 0, 0)); };
      for (const Member& m : members) {
        const bool log = m.f == log_softmax;
        INFO(name_of(dtype), ", axis ", axis, log ? ", logarithm" : "");
        const Tensor y = m.f(x, axis, {});
        CHECK(same(dead(y), Plain(tensor({log ? -inf : 0, log ? -inf : 0}, dtype))));
        const Tensor dy = ones_like(x).requires_grad_();
        const Tensor dx = grad({y}, {x}, {.cotangents = {dy * 3}, .create_graph = true})[0];
        CHECK(same(dead(dx), Plain(zeros({2}))));
        const Tensors d2 = grad({dx}, {x, dy}, {.cotangents = {reals({2, 2}, 5, dtype)}, .create_graph = true});
        for (const Tensor& d : d2) CHECK(same(dead(d), Plain(zeros({2}))));
        const Tensors d3 = grad({d2[0]}, {x, dy}, {.cotangents = {reals({2, 2}, 6, dtype)}});
        for (const Tensor& d : d3) {
          CHECK(same(dead(d), Plain(zeros({2}))));
          CHECK_FALSE(any(ne(d, d)));
        }
      }
    }
}

TEST_CASE("softmax family: a NaN makes its whole row NaN and leaves the others alone") {
  for (DType dtype : {float64, float32})
    for (std::int64_t n : {3, 50})
      for (std::int64_t place : {std::int64_t{0}, n - 1})
        for (const Member& m : members) {
          const Tensor clean = reals({2, n}, 1, dtype);
          Tensor x = clone(clean);
          Tensor at = select(select(x, 0, 0), 0, place);
          fill_(at, not_a_number);
          for (const Tensor& y : {m.f(x, 1, {}), transpose(m.f(transpose(x), 0, {}))}) {
            for (double v : select(y, 0, 0).to_vector<double>()) CHECK(std::isnan(v));
            CHECK(same(select(y, 0, 1), select(m.f(clean, 1, {}), 0, 1)));
          }
        }
}

TEST_CASE("softmax family: a result changed in place is refused by the backward pass") {
  for (const Member& m : members) {
    const Tensor x = reals({2, 3}, 1).requires_grad_();
    Tensor y = m.f(x, 1, {});
    Tensor view = y.detach();
    fill_(view, 0);
    CHECK(thrown([&] { sum(y).backward(); }).find("GradError: ") == 0);
  }
}

TEST_CASE("softmax family: wrong calls") {
  const Tensor x = zeros({2, 3});
  CHECK(thrown([&] { softmax(x, 2); }) == "IndexError: softmax: axis 2 is out of range for [2, 3]");
  CHECK(thrown([&] { log_softmax(x, -3); }) == "IndexError: log_softmax: axis -3 is out of range for [2, 3]");
  CHECK(thrown([&] { softmax(scalar(1), 1); }) == "IndexError: softmax: axis 1 is out of range for []");
  CHECK(thrown([&] { softmax(zeros({2}, int64)); }) == "DTypeError: softmax: needs float32 or float64, got int64 [2]");
  CHECK(thrown([&] { log_softmax({}); }) == "ValueError: log_softmax: an input is undefined");
  CHECK(thrown([&] { softmax_grad(x, zeros({3})); }) == "ShapeError: softmax_grad: dy [3] differs from y [2, 3]");
  CHECK(thrown([&] {
          log_softmax_grad(x, zeros({2, 3}, float64));
        }) == "DTypeError: log_softmax_grad: dtypes differ: float32 [2, 3] and float64 [2, 3]");
  CHECK(thrown([&] { softmax_grad(x, x, 2); }) == "IndexError: softmax_grad: axis 2 is out of range for [2, 3]");
}
