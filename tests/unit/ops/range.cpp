// Squares, sums and products that leave a dtype's range on the way, and long sums over repeated indices.

#include "optim/clip.h"
#include "optim/optimizers.h"
#include "tests/unit/plain.h"

using namespace attune;
using namespace attune::tests;

namespace {

struct Scale {
  DType dtype;
  double size;
};
const std::vector<Scale> scales{{DType::float32, 1e30},  {DType::float32, 1e-30},  {DType::float32, 1},
                                {DType::float64, 1e200}, {DType::float64, 1e-200}, {DType::float64, 1e300}};

/// |a - b| <= tolerance |b| for every element.
bool near(const Tensor& a, const Tensor& b, double tolerance = 1e-5) {
  const Plain x(a), y(b);
  if (x.shape != y.shape) return false;
  for (std::size_t i = 0; i < x.v.size(); ++i)
    if (!(std::abs(x.v[i] - y.v[i]) <= tolerance * std::abs(y.v[i]))) return false;
  return true;
}

/// f at s x in s's dtype against f at x in float64; f(s x) = s^degree f(x), its gradient s^(degree - 1) times.
void check_scaling(const char* what, const std::function<Tensor(const Tensor&)>& f, const Tensor& x, int degree,
                   double tolerance = 1e-5) {
  for (const Scale& s : scales) {
    INFO(what, " ", name_of(s.dtype), " ", s.size);
    const Tensor small = x.detach().requires_grad_(), in = to(x * s.size, s.dtype).detach().requires_grad_();
    const Tensor y = f(small), z = f(in);
    CHECK(near(to(z, float64), y * (degree == 1 ? s.size : 1), tolerance));
    const Tensor dy = shuffled(y.shape(), float64, 5) + 0.5;
    const Tensor g = grad({y}, {small}, {.cotangents = {dy}})[0];
    const Tensor found = to(grad({z}, {in}, {.cotangents = {to(dy, s.dtype)}})[0], float64);
    if (degree == 0) {
      CHECK(difference(found * s.size, g) < 1e-4 * amax(abs(g)).item());
    } else {
      CHECK(difference(found, g) < 1e-4 * amax(abs(g)).item());
    }
  }
}

}  // namespace

TEST_CASE("range: norms, deviations and normalised rows of any size") {
  const Tensor x = shuffled({3, 5}) + 0.25;
  for (const Dims& axes : {Dims{}, Dims{0}, Dims{1}, Dims{0, 1}}) {
    check_scaling(
        "norm", [&](const Tensor& v) { return norm(v, axes); }, x, 1);
    check_scaling(
        "vector_norm", [&](const Tensor& v) { return vector_norm(v, 2, axes, true); }, x, 1);
    check_scaling(
        "std_dev", [&](const Tensor& v) { return std_dev(v, axes); }, x, 1);
    check_scaling(
        "std_dev", [&](const Tensor& v) { return std_dev(v, axes, 0, true); }, x, 1);
    check_scaling(
        "mean", [&](const Tensor& v) { return mean(v, axes); }, x, 1);
  }
  for (const std::int64_t axis : {0, 1}) {
    check_scaling(
        "normalize", [&](const Tensor& v) { return normalize(v, 2, axis, 0); }, x, 0);
    check_scaling(
        "cosine_similarity",
        [&](const Tensor& v) {
          return cosine_similarity(v, v * shuffled({3, 5}, v.dtype(), 2), axis, 0);
        },
        x, 0);
  }
  check_scaling(
      "layer_norm", [](const Tensor& v) { return layer_norm(v, {}, {}, 0); }, x, 0);
  check_scaling(
      "rms_norm", [](const Tensor& v) { return rms_norm(v, {}, 0); }, x, 0);
  check_scaling(
      "atan2", [](const Tensor& v) { return atan2(v, flip(v, {0})); }, x, 0);
  check_scaling(
      "hypot", [](const Tensor& v) { return hypot(v, flip(v, {0})); }, x, 1);
  // The weight's gradient, and eps as usual beside large rows.
  for (const bool layer : {true, false}) {
    const auto weight_grad = [&](double size, DType t) {
      const Tensor w = ones({5}, t).requires_grad_(), in = to(x * size, t);
      return to(grad({sum(square(layer ? layer_norm(in, w) : rms_norm(in, w)))}, {w})[0], float64);
    };
    CHECK(near(weight_grad(1e30, float32), weight_grad(1e9, float64)));
    CHECK(near(weight_grad(1e200, float64), weight_grad(1e9, float64)));
  }
}

TEST_CASE("range: examples") {
  CHECK(norm(full({4}, 1e30)).item() == doctest::Approx(2e30));
  CHECK(norm(full({4}, 1e-30)).item() == doctest::Approx(2e-30));
  CHECK(norm(full({4}, 3e-320, float64)).item() > 0);
  CHECK(std::isinf(norm(tensor({1, inf})).item()));
  CHECK(std::isnan(norm(tensor({1, not_a_number})).item()));
  CHECK(mean(full({8}, 3e38)).item() == doctest::Approx(3e38));
  CHECK(mean(full({3, 8}, 1.5e308, float64), {1}).to_vector<double>()[2] == doctest::Approx(1.5e308));
  CHECK(std::isinf(mean(tensor({1, inf})).item()));
  CHECK(std::isnan(mean(tensor({inf, -inf})).item()));
  CHECK(var(cat({full({8}, 1.5e19), full({8}, -1.5e19)}, 0), {}, 0).item() == doctest::Approx(2.25e38));
  CHECK(std_dev(cat({full({2}, 1e38), full({2}, 3e38)}, 0), {}, 0).item() == doctest::Approx(1e38));
  CHECK(std_dev(full({4}, 7), {}).item() == 0);
  CHECK(gaussian_nll_loss(full({1}, 1e25), zeros({1}), full({1}, 1e30)).item() == doctest::Approx(5e19));
  const Tensor rows = full({1, 4}, 1e30);
  CHECK(near(lsh_attention(full({1, 2, 1, 4}, 1e30), ones({1, 2, 1, 4}), {}, {}), ones({1, 2, 1, 4})));
  CHECK(near(rms_norm(rows), ones({1, 4})));
  CHECK(near(layer_norm(tensor({3e38, -3e38})), tensor({1, -1})));
}

TEST_CASE("range: second derivatives of normalised rows") {
  for (const bool layer : {true, false}) {
    const auto penalty = [&](double size, DType t) {
      const Tensor x = to(size * (shuffled({2, 4}) + 0.25), t).detach().requires_grad_();
      const Tensor y = layer ? layer_norm(x, {}, {}, 0) : rms_norm(x, {}, 0);
      const Tensor g = grad({sum(y * to(shuffled({2, 4}, float64, 3), t))}, {x}, {.create_graph = true})[0];
      return to(grad({sum(g * size * to(shuffled({2, 4}, float64, 4), t))}, {x})[0], float64) * size;
    };
    const Tensor usual = penalty(1, float64);
    CHECK(difference(penalty(1e25, float32), usual) < 1e-4 * amax(abs(usual)).item());
    CHECK(difference(penalty(1e-25, float32), usual) < 1e-4 * amax(abs(usual)).item());
  }
}

TEST_CASE("range: clipping and Adafactor") {
  for (const Scale& s : scales) {
    INFO(name_of(s.dtype), " ", s.size);
    Tensor p = zeros({4}, s.dtype).requires_grad_(), q = zeros({5}, s.dtype).requires_grad_();
    p.set_grad(full({4}, s.size, s.dtype));
    q.set_grad(full({5}, s.size, s.dtype));
    CHECK(optim::clip_grad_norm({p, q}, s.size) == doctest::Approx(3 * s.size));
    CHECK(near(q.grad(), full({5}, s.size / 3, s.dtype)));
  }
  for (const Scale& s : scales) {
    if (s.size < 1) continue;  // its square is nothing beside eps1
    for (const Shape& shape : {Shape{6}, Shape{3, 2}}) {
      Tensor p = full(shape, s.size, s.dtype).requires_grad_();
      const Tensor before = clone(p.detach());
      optim::Adafactor opt({p});
      p.set_grad(full(shape, s.size, s.dtype));
      opt.step();
      const Tensor moved = abs(p.detach() - before) / abs(before);
      CHECK(amin(moved).item() > 0);  // a step relative to the parameter's size, not none, nor NaN
      CHECK(amax(moved).item() < 0.1);
    }
  }
}

TEST_CASE("range: products with zeros, small and large factors") {
  for (const DType t : {DType::float32, DType::float64}) {
    const double large = t == float32 ? 1e30 : 1e200, small = 1 / large;
    const auto of = [&](const Values& v) { return tensor(v, {static_cast<std::int64_t>(v.size())}, t); };
    CHECK(prod(of({large, large, 0})).item() == 0);
    CHECK(prod(of({0, large, large, large})).item() == 0);
    CHECK(prod(of({large, large, small, small})).item() == doctest::Approx(1));
    CHECK(prod(of({small, small, large, large, -3})).item() == doctest::Approx(-3));
    CHECK(std::isinf(prod(of({large, large})).item()));
    CHECK(prod(of({small, small})).item() == 0);
    CHECK(std::isnan(prod(of({inf, 0})).item()));
    CHECK(close(cumprod(of({0, large, large, 2}), 0), Plain(of({0, 0, 0, 0}))));
    CHECK(near(cumprod(of({small, small, 1, large, large}), 0), of({small, 0, 0, small, 1})));
    const Tensor x = of({0, large, large, 2}).requires_grad_();
    const Values g = values(grad({prod(x)}, {x})[0]);
    CHECK(std::isinf(g[0]));
    CHECK((g[1] == 0 && g[2] == 0 && g[3] == 0));
    const Tensor y = of({large, large, small, small}).requires_grad_();
    CHECK(near(grad({prod(y)}, {y})[0], of({small, small, large, large})));
  }
}

TEST_CASE("range: long sums over repeated indices") {
  const std::int64_t k = 17'000'000;
  const Tensor zero = zeros({k}, int64), one = ones({k});
  CHECK(segment_sum(one, zero, 1).item() == static_cast<double>(k));
  CHECK(index_add(zeros({3}), 0, zero, one).to_vector<double>()[0] == static_cast<double>(k));
  CHECK(scatter_add(zeros({3}), 0, zero, one).to_vector<double>()[0] == static_cast<double>(k));
  const Tensor x = zeros({2}).requires_grad_();
  CHECK(values(grad({sum(gather(x, 0, zero))}, {x})[0])[0] == static_cast<double>(k));
  CHECK(values(grad({sum(index_select(x, 0, zero))}, {x})[0])[0] == static_cast<double>(k));
}

TEST_CASE("range: running sums") {
  for (const DType t : {DType::float32, DType::float64})
    for (const std::int64_t d : {1, 3}) {
      const std::int64_t n = 1'000'000;
      const Tensor x = full({n, d}, 0.1, t), y = select(cumsum(x, 0), 0, n - 1);
      const double exact = static_cast<double>(n) * values(select(x, 0, 0))[0];
      CHECK(near(to(y, float64), full({d}, exact, float64), t == float32 ? 1e-7 : 1e-15));
    }
  CHECK(same(cumsum(tensor({1, inf, 2}, float64), 0), tensor({1, inf, inf}, float64)));
}

TEST_CASE("range: long sums are as accurate as sum, at any thread count") {
  const std::int64_t k = 200'000;
  for (const DType t : {DType::float32, DType::float64})
    for (const std::int64_t d : {1, 4, 20})
      for (const std::int64_t n : {std::int64_t{1}, std::int64_t{5}, 20 * k / d}) {
        const std::int64_t rows = k / d;
        INFO(name_of(t), " ", d, " ", n);
        const Tensor at = zeros({rows}, int64) + std::min<std::int64_t>(n - 1, 3), source = full({rows, d}, 0.1, t);
        const double tolerance = t == float32 ? 1e-6 : 1e-14,
                     exact = static_cast<double>(rows) * static_cast<double>(source.to_vector<double>()[0]);
        std::vector<Tensors> found;
        for (const int threads : {1, 2, 3}) {
          const int usual = num_threads();
          set_num_threads(threads);
          const Tensor table = zeros({n, d}, t).requires_grad_();
          const Tensor rows_index = expand(unsqueeze(at, 1), {rows, d});
          found.push_back({grad({sum(embedding(table, at) * source)}, {table})[0], segment_sum(source, at, n),
                           index_add(zeros({n, d}, t), 0, at, source),
                           scatter_add(zeros({n, d}, t), 0, rows_index, source),
                           index_put(zeros({n, d}, t), {at}, source, true)});
          set_num_threads(usual);
        }
        for (const Tensors& ys : found)
          for (std::size_t i = 0; i < ys.size(); ++i) {
            INFO(i);
            CHECK(same(ys[i], found[0][i]));
            const Tensor row = select(ys[i], 0, std::min<std::int64_t>(n - 1, 3));
            CHECK(near(to(row, float64), full({d}, exact, float64), tolerance));
          }
      }
}

TEST_CASE("range: the gradients of a norm's weight over many rows") {
  for (const std::int64_t d : {2, 40}) {
    const std::int64_t rows = 2'000'000 / d;
    const Tensor w = ones({d}).requires_grad_(), b = zeros({d}).requires_grad_(), x = full({rows, d}, 0.1);
    const Tensor y = layer_norm(x * tensor(Values(static_cast<std::size_t>(d), 1), {d}), w, b);
    const Tensors g = grad({sum(y * 0.1)}, {w, b});
    CHECK(near(g[1], full({d}, 0.1 * static_cast<double>(rows)), 1e-6));
  }
}
