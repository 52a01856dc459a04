// Reductions against plain loops, over every set of axes of dense and strided inputs.
#include "tests/unit/plain.h"

using namespace attune;
using namespace attune::tests;

namespace {

const std::vector<Shape> shapes = {{}, {1}, {7}, {0}, {3, 4}, {3, 1}, {2, 0}, {2, 3, 4}, {2, 1, 3, 2}, {3, 0, 2}};

/// The elements of x that each element of the result is made of.
struct Groups {
  Shape kept, dropped;
  std::vector<Values> members;
};

Groups groups_of(const Plain& x, unsigned axes) {
  Groups g;
  for (int i = 0; i < x.shape.rank(); ++i) {
    g.kept.push_back(axes & (1u << i) ? 1 : x.shape[i]);
    if (!(axes & (1u << i))) g.dropped.push_back(x.shape[i]);
  }
  g.members.resize(static_cast<std::size_t>(numel(g.kept)));
  for_indices(x.shape, [&](const Dims& at) {
    std::int64_t to = 0;
    for (int i = 0; i < x.shape.rank(); ++i)
      if (!(axes & (1u << i))) to = to * x.shape[i] + at[i];
    g.members[static_cast<std::size_t>(to)].push_back(x[at]);
  });
  return g;
}

using Reduction = std::function<Tensor(const Tensor&, const Dims&, bool)>;

/// f against `reference` for all layouts of x, all sets of axes, with and without keep_axes.
void check_reduction(const Tensor& x, const Reduction& f, const std::function<double(const Values&)>& reference,
                     double tolerance, bool empty_too = true) {
  for (const Tensor& view : layouts(x))
    for (unsigned axes = 0; axes < (1u << x.rank()); ++axes) {
      const unsigned mask = axes == 0 ? (1u << x.rank()) - 1 : axes;  // no axes means all
      Dims list;
      for (int i = x.rank() - 1; i >= 0; --i)
        if (axes & (1u << i)) list.push_back(i % 2 ? i - x.rank() : i);
      const Groups g = groups_of(Plain(x), mask);
      if (!empty_too && x.numel() == 0) continue;
      INFO("x ", x.shape().str(), " ", name_of(x.dtype()), ", strides ", view.strides().str(), ", axes ", list.str());
      for (bool keep : {false, true}) {
        const Tensor y = f(view, list, keep);
        Plain expected(keep ? g.kept : g.dropped);
        for (std::size_t i = 0; i < expected.v.size(); ++i) expected.v[i] = reference(g.members[i]);
        REQUIRE(y.is_contiguous());
        REQUIRE_FALSE(y.same_storage(view));
        REQUIRE(close(y, expected, tolerance));
      }
    }
}

double total(const Values& v) {
  double s = 0;
  for (double x : v) s += x;
  return s;
}
double product(const Values& v) {
  double s = 1;
  for (double x : v) s *= x;
  return s;
}
double variance(const Values& v, double correction) {
  const double n = static_cast<double>(v.size()), m = total(v) / n;
  double s = 0;
  for (double x : v) s += (x - m) * (x - m);
  return s / std::max(n - correction, 0.0);
}

/// The same numbers folded onto few values, so that there are ties.
Tensor with_ties(const Tensor& x) { return to(to(to(x, float64) / 3, int64), x.dtype()); }

}  // namespace

TEST_CASE("sum, mean and prod over every set of axes") {
  for (const Shape& shape : shapes) {
    for (DType dtype : {float64, float32, int64, int32}) {
      const double tolerance = dtype == float32 ? 1e-6 : 1e-14;
      const Tensor x = shuffled(shape, dtype);
      check_reduction(
          x, [](const Tensor& t, const Dims& a, bool k) { return sum(t, a, k); }, total, tolerance);
      const Tensor small = clamp(to(x, float64), -1, 2);
      check_reduction(
          to(small, dtype), [](const Tensor& t, const Dims& a, bool k) { return prod(t, a, k); }, product, tolerance);
      if (!is_floating(dtype)) continue;
      check_reduction(
          x, [](const Tensor& t, const Dims& a, bool k) { return mean(t, a, k); },
          [](const Values& v) { return total(v) / static_cast<double>(v.size()); }, tolerance);
    }
  }
  CHECK(sum(shuffled({3}, int32)).dtype() == int64);
  CHECK(sum(shuffled({3}, int64)).dtype() == int64);
  CHECK(sum(full({3}, 2147483647, int32)).item() == 3 * 2147483647.0);
  CHECK(sum(tensor({1, 0, 1, 1}, boolean)).item() == 3);
  CHECK(std::isnan(mean(zeros({0})).item()));
  CHECK(prod(zeros({0})).item() == 1);
  CHECK(thrown([] { mean(shuffled({3}, int64)); }) == "DTypeError: mean: needs float32 or float64, got int64 [3]");
  CHECK(thrown([] { prod(full({2}, 1, boolean)); }) == "DTypeError: prod: needs numbers, got bool [2]");
  CHECK(thrown([] { sum(zeros({2, 3}), {2}); }) == "IndexError: sum: axis 2 is out of range for [2, 3]");
  CHECK(thrown([] { sum(zeros({2, 3}), {1, -1}); }) == "ShapeError: sum: axes [1, -1] repeat an axis");
  CHECK(thrown([] { sum(Tensor()); }) == "ValueError: sum: an input is undefined");
}

TEST_CASE("a long float32 sum stays exact to a millionth, and the number of threads changes no bit") {
  const std::int64_t n = 3000000;
  const Tensor x = full({n}, 0.1), y = sum(x);
  CHECK(std::abs(y.item() / (static_cast<double>(n) * static_cast<double>(0.1f)) - 1) < 1e-6);
  const Tensor a = sin(to(arange(600000), float32));
  const int threads = num_threads();
  const Tensor first = sum(reshape(a, {100, 60, 100}), {0, 2});
  set_num_threads(threads == 1 ? 3 : 1);
  CHECK(same(first, sum(reshape(a, {100, 60, 100}), {0, 2})));
  set_num_threads(threads);
}

TEST_CASE("amax and amin over every set of axes; NaN wins") {
  for (const Shape& shape : shapes)
    for (DType dtype : {float64, float32, int64, int32}) {
      const Tensor x = shuffled(shape, dtype);
      check_reduction(
          x, [](const Tensor& t, const Dims& a, bool k) { return amax(t, a, k); },
          [](const Values& v) { return *std::max_element(v.begin(), v.end()); }, 0, false);
      check_reduction(
          x, [](const Tensor& t, const Dims& a, bool k) { return amin(t, a, k); },
          [](const Values& v) { return *std::min_element(v.begin(), v.end()); }, 0, false);
    }
  CHECK(std::isnan(amax(tensor({1, not_a_number, inf})).item()));
  CHECK(std::isnan(amin(tensor({1, not_a_number, -inf})).item()));
  CHECK(amax(full({5}, -inf)).item() == -inf);
  CHECK(amin(full({5}, inf)).item() == inf);
  CHECK(amax(zeros({0, 3}), {1}).shape() == Shape{0});
  CHECK(thrown([] { amax(zeros({0})); }) == "ShapeError: amax: nothing to choose from along axes [0] of [0]");
  CHECK(thrown([] {
          amin(zeros({2, 0}), {1});
        }) == "ShapeError: amin: nothing to choose from along axes [1] of [2, 0]");
  CHECK(thrown([] { amax(full({2}, 1, boolean)); }) == "DTypeError: amax: needs numbers, got bool [2]");
}

TEST_CASE("ties share the gradient of amax and amin") {
  const Tensor x = tensor({1, 3, 3, -2, -2, -2}, {2, 3}, float64);
  const Tensor dy = tensor({6, 9}, float64);
  CHECK(same(gradient([](const Tensor& t) { return amax(t, {1}); }, x, dy), {2, 3}, {0, 3, 3, 3, 3, 3}));
  CHECK(same(gradient([](const Tensor& t) { return amin(t, {-1}); }, x, dy), {2, 3}, {6, 0, 0, 3, 3, 3}));
  CHECK(same(gradient([](const Tensor& t) { return amin(t); }, x, scalar(6, float64)), {2, 3}, {0, 0, 0, 2, 2, 2}));
}

TEST_CASE("argmax and argmin give the first position") {
  for (const Shape& shape : shapes)
    for (DType dtype : {float64, float32, int64, int32})
      for (const Tensor& x : layouts(with_ties(shuffled(shape, dtype))))
        for (int axis = 0; axis < x.rank(); ++axis) {
          if (x.numel() == 0) continue;
          const Plain p(x), high(argmax(x, axis - x.rank(), true)), low(argmin(x, axis, true));
          for_indices(high.shape, [&](const Dims& at) {
            Dims i = at, best = at, worst = at;
            for (i[axis] = 1; i[axis] < x.size(axis); ++i[axis]) {
              if (p[i] > p[best]) best = i;
              if (p[i] < p[worst]) worst = i;
            }
            REQUIRE(high[at] == static_cast<double>(best[axis]));
            REQUIRE(low[at] == static_cast<double>(worst[axis]));
          });
          CHECK(same(argmax(x, axis), squeeze(argmax(x, axis, true), axis)));
        }
  CHECK(argmax(tensor({1, 5, 5, 2})).item() == 1);
  CHECK(argmin(tensor({3, 1, 1, 2})).item() == 1);
  CHECK(argmax(tensor({3, not_a_number, inf, not_a_number})).item() == 1);
  CHECK(argmax(scalar(3)).item() == 0);
  CHECK(argmax(zeros({3, 0}), 0).shape() == Shape{0});
  CHECK(argmax(zeros({3}).requires_grad_()).dtype() == int64);
  CHECK_FALSE(argmax(zeros({3}).requires_grad_()).requires_grad());
  CHECK(thrown([] {
          argmax(zeros({3, 0}), 1);
        }) == "ShapeError: argmax: nothing to choose from along axis 1 of [3, 0]");
  CHECK(thrown([] { argmin(zeros({3}), 1); }) == "IndexError: argmin: axis 1 is out of range for [3]");
}

TEST_CASE("var, std_dev and norm over every set of axes") {
  for (const Shape& shape : shapes)
    for (double correction : {0.0, 1.0, 2.5}) {
      const Tensor x = shuffled(shape) / 8;
      check_reduction(
          x, [&](const Tensor& t, const Dims& a, bool k) { return var(t, a, correction, k); },
          [&](const Values& v) { return variance(v, correction); }, 1e-13);
      check_reduction(
          x, [&](const Tensor& t, const Dims& a, bool k) { return std_dev(t, a, correction, k); },
          [&](const Values& v) { return std::sqrt(variance(v, correction)); }, 1e-13);
      check_reduction(
          x, [&](const Tensor& t, const Dims& a, bool k) { return norm(t, a, k); },
          [&](const Values& v) {
            double s = 0;
            for (double e : v) s += e * e;
            return std::sqrt(s);
          },
          1e-13);
    }
  // Two passes: a large mean does not cancel.
  CHECK(var(tensor({10000, 10001, 10002})).item() == doctest::Approx(1));
  CHECK(std::isnan(var(zeros({1})).item()));
  CHECK(thrown([] { var(shuffled({3}, int32)); }) == "DTypeError: var: needs float32 or float64, got int32 [3]");
}

TEST_CASE("std_dev and norm have gradient 0 at 0") {
  const Tensor flat = full({2, 3}, 5, float64);
  CHECK(same(gradient([](const Tensor& t) { return std_dev(t, {1}); }, flat), zeros({2, 3}, float64)));
  CHECK(same(gradient([](const Tensor& t) { return norm(t, {1}); }, 0 * flat), zeros({2, 3}, float64)));
  // Second derivatives too, and the rows that are not 0 next to one that is.
  const Tensor x = tensor({0, 0, 3, 4}, {2, 2}, float64);
  CHECK(close(gradient([](const Tensor& t) { return norm(t, {1}); }, x),
              Plain(tensor({0, 0, 0.6, 0.8}, {2, 2}, float64))));
  Tensor leaf = clone(x).requires_grad_();
  const Tensor g = grad({sum(norm(leaf, {1}))}, {leaf}, {.create_graph = true})[0];
  for (double v : grad({sum(square(g))}, {leaf})[0].to_vector<double>()) CHECK(std::abs(v) < 1e-12);
}

TEST_CASE("logsumexp is stable, and its gradient is a softmax") {
  for (const Shape& shape : shapes)
    check_reduction(
        shuffled(shape), [](const Tensor& t, const Dims& a, bool k) { return logsumexp(t, a, k); },
        [](const Values& v) {
          double s = 0;
          for (double e : v) s += std::exp(e);
          return std::log(s);
        },
        1e-13);
  CHECK(logsumexp(tensor({1000, 1000})).item() == doctest::Approx(1000 + std::log(2.0)));
  CHECK(logsumexp(tensor({-1000, -1000})).item() == doctest::Approx(-1000 + std::log(2.0)));
  CHECK(logsumexp(tensor({1, inf})).item() == inf);
  CHECK(std::isnan(logsumexp(tensor({1, not_a_number})).item()));
  CHECK(logsumexp(zeros({0})).item() == -inf);
  CHECK(same(logsumexp(zeros({2, 0}), {1}), {2}, {-inf, -inf}));
  const Tensor x = tensor({-inf, -inf, -inf, 0}, {2, 2}, float64);
  CHECK(same(logsumexp(x, {1}), {2}, {-inf, 0}));
  CHECK(same(gradient([](const Tensor& t) { return logsumexp(t, {1}); }, x), {2, 2}, {0, 0, 0, 1}));
  CHECK(close(gradient(
                  [](const Tensor& t) {
                    return logsumexp(t, {0, 2});
                  },
                  shuffled({2, 3, 2})),
              [&] {
                Plain e(shuffled({2, 3, 2})), y(e.shape);
                for_indices(e.shape, [&](const Dims& at) {
                  double s = 0;
                  for (std::int64_t i : {0, 1})
                    for (std::int64_t k : {0, 1}) s += std::exp(e[{i, at[1], k}]);
                  y[at] = std::exp(e[at]) / s;
                });
                return y;
              }()));
}

TEST_CASE("the gradient of prod is right with zeros, to second order") {
  const auto f = [](const Tensor& t) { return prod(t); };
  CHECK(same(gradient(f, tensor({2, 0, 3, 4}, float64)), {4}, {0, 24, 0, 0}));
  CHECK(same(gradient(f, tensor({2, 0, 0, 4}, float64)), {4}, {0, 0, 0, 0}));
  CHECK(same(gradient(f, tensor({2, 5, 3}, float64)), {3}, {15, 6, 10}));
  CHECK(same(gradient(f, tensor({7}, float64)), {1}, {1}));
  CHECK(same(gradient(f, scalar(7, float64)), Shape{}, {1}));
  CHECK(same(gradient(f, zeros({0}, float64)), {0}, {}));
  const auto over_axes = [](const Tensor& t) { return prod(t, {0, 2}); };
  const Tensor x = tensor({1, 2, 3, 4, 0, 6, 7, 8, 9, 10, 11, 12}, {2, 3, 2}, float64);
  Plain expected({2, 3, 2}, 1);
  for_indices(expected.shape, [&](const Dims& at) {
    for_indices({2, 2}, [&](const Dims& o) {
      if (o[0] != at[0] || o[1] != at[2]) expected[at] *= Plain(x)[{o[0], at[1], o[1]}];
    });
  });
  CHECK(same(gradient(over_axes, x), expected));
  // The Hessian of x y z w at (2, 0, 3, 4): products of the other two.
  Tensor leaf = tensor({2, 0, 3, 4}, float64).requires_grad_();
  const Tensor g = grad({prod(leaf)}, {leaf}, {.create_graph = true})[0];
  const double h[4][4] = {{0, 12, 0, 0}, {12, 0, 8, 6}, {0, 8, 0, 0}, {0, 6, 0, 0}};
  for (int i = 0; i < 4; ++i)
    CHECK(same(grad({select(g, 0, i)}, {leaf}, {.retain_graph = true})[0], {4}, Values(h[i], h[i] + 4)));
}

TEST_CASE("cumsum runs along an axis") {
  for (const Shape& shape : shapes)
    for (DType dtype : {float64, float32, int64, int32})
      for (const Tensor& x : layouts(shuffled(shape, dtype)))
        for (int axis = 0; axis < x.rank(); ++axis) {
          Plain p(x);
          for_indices(p.shape, [&](const Dims& at) {
            Dims before = at;
            if (--before[axis] >= 0) p[at] += p[before];
          });
          const Tensor y = cumsum(x, axis - x.rank());
          CHECK(y.dtype() == dtype);
          REQUIRE(same(y, p));
        }
  CHECK(cumsum(scalar(3), 0).item() == 3);
  CHECK(same(gradient([](const Tensor& t) { return cumsum(t, 0); }, zeros({4}), tensor({1, 2, 3, 4})), {4},
             {10, 9, 7, 4}));
  CHECK(same(gradient([](const Tensor& t) { return cumsum(t, -1); }, scalar(2), scalar(5)), Shape{}, {5}));
  CHECK(thrown([] { cumsum(zeros({2}), 1); }) == "IndexError: cumsum: axis 1 is out of range for [2]");
  CHECK(thrown([] { cumsum(full({2}, 1, boolean), 0); }) == "DTypeError: cumsum: needs numbers, got bool [2]");
}

TEST_CASE("all and any") {
  CHECK(all(full({2, 3}, 1, boolean)));
  CHECK_FALSE(all(tensor({1, 1, 0}, boolean)));
  CHECK(any(tensor({0, 0, 1}, boolean)));
  CHECK_FALSE(any(zeros({2, 3}, boolean)));
  CHECK(all(zeros({0}, boolean)));
  CHECK_FALSE(any(zeros({0}, boolean)));
  CHECK(all(slice(tensor({1, 0, 1, 0}, boolean), 0, 0, to_end, 2)));
  CHECK_FALSE(any(slice(tensor({1, 0, 1, 0}, boolean), 0, 1, to_end, 2)));
  CHECK(thrown([] { all(zeros({2})); }) == "DTypeError: all: needs bool, got float32 [2]");
}

TEST_CASE("sum_to undoes broadcasting") {
  const Shape whole{2, 3, 4};
  for (const Shape& to : {Shape{}, Shape{1}, Shape{4}, Shape{3, 1}, Shape{3, 4}, Shape{1, 3, 1}, Shape{2, 1, 4},
                          Shape{2, 1, 1}, Shape{1, 1, 1}, Shape{2, 3, 4}})
    for (const Tensor& x : layouts(shuffled(whole))) {
      Plain expected(to);
      for_indices(whole, [&](const Dims& at) {
        Dims place;
        for (int i = 0; i < to.rank(); ++i) place.push_back(to[i] == 1 ? 0 : at[i + 3 - to.rank()]);
        expected[place] += Plain(x)[at];
      });
      REQUIRE(same(sum_to(x, to), expected));
    }
  CHECK(same(sum_to(zeros({0, 3}), {1, 3}), zeros({1, 3})));
  CHECK(thrown([] { sum_to(zeros({2, 3}), {2}); }) == "ShapeError: sum_to: [2] does not broadcast to [2, 3]");
  CHECK(thrown([] { sum_to(zeros({3}), {2, 3}); }) == "ShapeError: sum_to: [2, 3] does not broadcast to [3]");
}
