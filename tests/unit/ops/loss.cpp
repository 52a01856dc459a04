// Losses against plain loops: cross-entropy with ignored targets, smoothing and extreme logits; squared error;
// binary cross-entropy.
#include "tests/unit/plain.h"

using namespace attune;
using namespace attune::tests;

namespace {

Tensor reals(const Shape& shape, unsigned seed, DType dtype = float64) {
  Generator g(seed);
  return randn(shape, dtype, g);
}

constexpr std::int64_t ignored = -100;

/// Targets for logits [.., classes]; every `every`-th one is ignored (0: none).
std::vector<std::int64_t> targets_for(const Shape& logits, std::int64_t every) {
  std::vector<std::int64_t> t;
  const std::int64_t classes = logits.back();
  Shape shape = logits;
  shape.resize(logits.rank() - 1);
  for (std::int64_t i = 0; i < numel(shape); ++i)
    t.push_back((every != 0 && i % every == every - 1) || classes == 0 ? ignored : (5 * i + 1) % classes);
  return t;
}

struct Expected {
  Values loss;  ///< a row each
  Values dx;    ///< for a cotangent of 1 on every row
  double count = 0;
};

Expected by_loops(const Tensor& logits, const std::vector<std::int64_t>& target, double smoothing,
                  std::int64_t ignore = ignored) {
  const std::size_t classes = static_cast<std::size_t>(logits.shape().back());
  const Values x = logits.to_vector<double>();
  Expected e;
  for (std::size_t r = 0; r < target.size(); ++r) {
    const bool counts = target[r] != ignore;
    e.count += counts;
    double top = -inf, total = 0, loss = 0;
    for (std::size_t j = 0; j < classes; ++j) top = std::max(top, x[r * classes + j]);
    for (std::size_t j = 0; j < classes; ++j) total += std::exp(x[r * classes + j] - top);
    for (std::size_t j = 0; j < classes; ++j) {
      const double log_p = x[r * classes + j] - top - std::log(total);
      const double share =
          smoothing / static_cast<double>(classes) + (static_cast<std::int64_t>(j) == target[r] ? 1 - smoothing : 0);
      if (share != 0) loss -= share * log_p;
      e.dx.push_back(counts ? std::exp(log_p) - share : 0);
    }
    e.loss.push_back(counts ? loss : 0);
  }
  return e;
}

Shape without_last(Shape shape) {
  shape.resize(shape.rank() - 1);
  return shape;
}

}  // namespace

TEST_CASE("cross_entropy: values and gradients in every layout, reduction and smoothing") {
  for (const Shape& shape :
       std::vector<Shape>{{3}, {4, 5}, {1, 1}, {2, 3, 4}, {2, 1, 2, 3}, {0, 3}, {2, 0, 3}, {3, 0}, {70, 37}})
    for (DType dtype : {float64, float32})
      for (std::int64_t every : {0, 3})
        for (double smoothing : {0.0, 0.2, 1.0}) {
          const double tolerance = dtype == float64 ? 1e-12 : 1e-5;
          const Tensor x0 = to(2 * reals(shape, 1), dtype);
          const std::vector<std::int64_t> t = targets_for(shape, every);
          const Expected e = by_loops(x0, t, smoothing);
          const Tensor target = index_tensor(t, without_last(shape));
          for (const Tensor& x : layouts(x0))
            for (const Tensor& at : {layouts(target).back(), to(target, int32)}) {
              INFO(shape.str(), " ", name_of(dtype), " at ", x.strides().str(), ", smoothing ", smoothing);
              const auto loss = [&](Reduction r) {
                return [&, r](const Tensor& in) {
                  return cross_entropy(in, at, {.label_smoothing = smoothing, .reduction = r});
                };
              };
              double sum = 0;
              for (double l : e.loss) sum += l;
              const double mean = sum / std::max(e.count, 1.0);
              Plain rows(without_last(shape)), dx(shape);
              rows.v = e.loss;
              REQUIRE(close(loss(Reduction::none)(x), rows, tolerance));
              REQUIRE(loss(Reduction::sum)(x).item() == doctest::Approx(sum).epsilon(tolerance).scale(1));
              REQUIRE(loss(Reduction::mean)(x).item() == doctest::Approx(mean).epsilon(tolerance).scale(1));
              REQUIRE(loss(Reduction::mean)(x).shape() == Shape{});
              REQUIRE(loss(Reduction::mean)(x).dtype() == dtype);
              dx.v = e.dx;
              REQUIRE(close(gradient(loss(Reduction::sum), x), dx, tolerance));
              for (double& d : dx.v) d /= std::max(e.count, 1.0);
              REQUIRE(close(gradient(loss(Reduction::mean), x), dx, tolerance));
              const Tensor dy = reals(rows.shape, 7, dtype);
              const Values weight = dy.to_vector<double>();
              for (std::size_t i = 0; i < dx.v.size(); ++i)
                dx.v[i] = e.dx[i] * weight[i / static_cast<std::size_t>(shape.back())];
              REQUIRE(close(gradient(loss(Reduction::none), x, layouts(dy).back()), dx, tolerance));
            }
        }
}

TEST_CASE("cross_entropy: fused and composed agree in value and up to the third derivative") {
  const std::vector<std::int64_t> t{2, 0, ignored, 3, 1, 1};
  const Tensor target = index_tensor(t, {2, 3});
  const Tensor counts = tensor({1, 1, 0, 1, 1, 1}, {2, 3}, float64), at = index_tensor({2, 0, 0, 3, 1, 1}, {2, 3, 1});
  for (double smoothing : {0.0, 0.3}) {
    const Tensor x = reals({2, 3, 4}, 1).requires_grad_(), dy = reals({2, 3}, 2).requires_grad_();
    const auto orders = [&](const Tensor& rows) {
      Tensors all{rows};
      Tensor next = sum(square(rows) * dy);
      for (int order = 0; order < 3; ++order) {
        const Tensors d = grad({next}, {x, dy}, {.create_graph = true, .allow_unused = true});
        next = scalar(0, float64);
        for (const Tensor& g : d)
          if (g.defined()) {
            all.push_back(g);
            next = next + sum(square(g) * 0.5);
          }
      }
      return all;
    };
    const Tensor logs = x - log(sum(exp(x), {-1}, true));
    const Tensor share = -squeeze(gather(logs, -1, at), -1) * (1 - smoothing) - smoothing * mean(logs, {-1});
    const Tensors fused =
        orders(cross_entropy(x, target, {.label_smoothing = smoothing, .reduction = Reduction::none}));
    const Tensors composed = orders(share * counts);
    REQUIRE(fused.size() == composed.size());
    for (std::size_t i = 0; i < fused.size(); ++i) {
      INFO("result ", i);
      CHECK(close(fused[i], Plain(composed[i]), 1e-10));
    }
  }
}

TEST_CASE("cross_entropy: ignored targets count neither in the loss nor in the mean") {
  const Tensor x = reals({3, 4}, 1);
  const double first = cross_entropy(select(x, 0, 0), index_tensor({2}, Shape{})).item();
  CHECK(cross_entropy(x, index_tensor({2, -100, -100})).item() == doctest::Approx(first));
  // Any value may be the ignored one, a class or none.
  for (std::int64_t other : {std::int64_t{1}, std::int64_t{-1}, std::int64_t{255}, lowest, highest})
    CHECK(cross_entropy(x, index_tensor({2, other, other}), {.ignore_index = other}).item() == doctest::Approx(first));
  // What the ignored rows hold does not matter.
  const Tensor poisoned = cat({slice(x, 0, 0, 1), full({1, 4}, not_a_number, float64), full({1, 4}, inf, float64)});
  const auto loss = [](const Tensor& t) { return cross_entropy(t, index_tensor({2, -100, -100})); };
  CHECK(loss(poisoned).item() == doctest::Approx(first));
  const Tensor dx = gradient(loss, poisoned);
  CHECK(same(slice(dx, 0, 1), Plain(Shape{2, 4})));
  CHECK(close(slice(dx, 0, 0, 1), Plain(slice(gradient(loss, x), 0, 0, 1))));
}

TEST_CASE("cross_entropy: a mean over no targets is 0, with gradient 0") {
  for (const Shape& shape : std::vector<Shape>{{2, 3}, {0, 3}, {2, 0}, {0, 0}}) {
    const Tensor target = full({shape[0]}, ignored, int64);
    for (Reduction r : {Reduction::mean, Reduction::sum}) {
      const auto loss = [&](const Tensor& x) { return cross_entropy(x, target, {.reduction = r}); };
      CHECK(loss(zeros(shape)).item() == 0);
      CHECK(same(gradient(loss, ones(shape)), Plain(shape)));
    }
  }
}

TEST_CASE("cross_entropy: extreme logits") {
  for (DType dtype : {float64, float32}) {
    const auto loss = [&](const Values& v, std::int64_t t, double smoothing = 0) {
      return cross_entropy(tensor(v, {static_cast<std::int64_t>(v.size())}, dtype), index_tensor({t}, Shape{}),
                           {.label_smoothing = smoothing})
          .item();
    };
    CHECK(loss({1e4, 0}, 0) == 0);
    CHECK(loss({1e4, 0}, 1) == 1e4);
    CHECK(loss({1e30, 1e30}, 1) == doctest::Approx(std::log(2)));
    CHECK(loss({-1e30, -1e30, -1e30}, 2) == doctest::Approx(std::log(3)));
    CHECK(loss({1e4, 1e4 + 1}, 1) == doctest::Approx(std::log1p(std::exp(-1))).epsilon(1e-6));
    CHECK(loss({-inf, 0, 0}, 1) == doctest::Approx(std::log(2)));  // a class that is ruled out
    CHECK(loss({-inf, 0, 0}, 0) == inf);
    CHECK(std::isnan(loss({0, not_a_number}, 0)));
    // Confident and right: the gradient at the target keeps its sign and the others their digits.
    const Tensor x = tensor({20, 0}, dtype);
    const Plain dx(gradient([](const Tensor& t) { return cross_entropy(t, index_tensor({0}, Shape{})); }, x));
    CHECK(dx.v[1] == doctest::Approx(1 / (1 + std::exp(20))).epsilon(1e-5));
  }
  const Tensor masked = tensor({-inf, 1, 2, -inf, -inf, -inf}, {2, 3}, float64);
  const auto rows = [](const Tensor& t) {
    return cross_entropy(t, index_tensor({1, 0}), {.reduction = Reduction::none});
  };
  CHECK(same(select(rows(masked), 0, 1), {}, {inf}));
  const double p = 1 / (1 + std::exp(1));
  CHECK(close(gradient(rows, masked), Plain(tensor({0, p - 1, 1 - p, 0, 0, 0}, {2, 3}, float64))));
}

TEST_CASE("cross_entropy: targets changed in place after the forward pass are refused") {
  const Tensor x = reals({2, 3}, 1).requires_grad_();
  Tensor target = index_tensor({0, 2});
  const Tensor loss = cross_entropy(x, target);
  fill_(target, 1);
  CHECK(thrown([&] { loss.backward(); }).find("GradError: cross_entropy: a tensor [2] that it saved") == 0);
}

TEST_CASE("cross_entropy: wrong calls") {
  const Tensor x = zeros({2, 10});
  CHECK(thrown([&] {
          cross_entropy(x, index_tensor({3, 12}));
        }) == "IndexError: cross_entropy: target 12 is out of range for 10 classes");
  CHECK(thrown([&] {
          cross_entropy(x, index_tensor({3, 10}));
        }) == "IndexError: cross_entropy: target 10 is out of range for 10 classes");
  CHECK(thrown([&] {
          cross_entropy(x, index_tensor({-1, 3}));
        }) == "IndexError: cross_entropy: target -1 is out of range for 10 classes");
  CHECK(thrown([&] {
          cross_entropy(x, index_tensor({3, -100}), {.ignore_index = 0});
        }) == "IndexError: cross_entropy: target -100 is out of range for 10 classes");
  CHECK(thrown([&] {
          cross_entropy(zeros({1, 0}), index_tensor({0}));
        }) == "IndexError: cross_entropy: target 0 is out of range for 0 classes");
  CHECK(thrown([&] {
          cross_entropy(x, index_tensor({1, 2, 3}));
        }) == "ShapeError: cross_entropy: target [3] does not fit logits [2, 10], which are [..., classes]");
  CHECK(thrown([&] { cross_entropy(scalar(1), index_tensor({0}, Shape{})); }) ==
        "ShapeError: cross_entropy: logits [] are not [..., classes]");
  CHECK(
      thrown([&] { cross_entropy(x, zeros({2}, x.dtype())); }) ==
      "ShapeError: cross_entropy: target [2] is float32, and so the probability of each class, which has the shape of "
      "the logits [2, 10]; classes are int64");
  CHECK(thrown([&] {
          cross_entropy(zeros({2, 10}, int64), index_tensor({1, 2}));
        }) == "DTypeError: cross_entropy: needs float32 or float64, got int64 [2, 10]");
  CHECK(thrown([&] { cross_entropy(x, {}); }) == "ValueError: cross_entropy: an input is undefined");
  CHECK(thrown([&] {
          cross_entropy(x, index_tensor({1, 2}), {.label_smoothing = 1.5});
        }) == "ValueError: cross_entropy: label_smoothing = 1.5 is not in [0, 1]");
  CHECK(thrown([&] {
          cross_entropy(x, index_tensor({1, 2}), {.label_smoothing = not_a_number});
        }) == "ValueError: cross_entropy: label_smoothing = nan is not in [0, 1]");
}

TEST_CASE("mse_loss: values, reductions and gradients of both sides") {
  for (DType dtype : {float64, float32}) {
    const Tensor x = tensor({1, 2, 3, 4}, {2, 2}, dtype).requires_grad_(),
                 y = tensor({0, 4, 3, 1}, {2, 2}, dtype).requires_grad_();
    CHECK(same(mse_loss(x, y, Reduction::none), {2, 2}, {1, 4, 0, 9}));
    CHECK(mse_loss(x, y, Reduction::sum).item() == 14);
    const Tensor loss = mse_loss(x, transpose(contiguous(transpose(y))));
    CHECK(loss.item() == 3.5);
    const Tensors d = grad({loss}, {x, y});
    CHECK(same(d[0], {2, 2}, {0.5, -1, 0, 1.5}));
    CHECK(same(d[1], {2, 2}, {-0.5, 1, 0, -1.5}));
  }
  CHECK(mse_loss(zeros({0}), zeros({0}), Reduction::sum).item() == 0);
  CHECK(thrown([] { mse_loss(zeros({2}), zeros({2, 1})); }) == "ShapeError: mse_loss: shapes differ: [2] and [2, 1]");
  CHECK(thrown([] { mse_loss(zeros({2}), zeros({2}, float64)); }) ==
        "DTypeError: mse_loss: dtypes differ: float32 [2] and float64 [2]");
}

TEST_CASE("binary_cross_entropy_with_logits: values and gradients keep their digits at any logit") {
  for (DType dtype : {float64, float32})
    for (double x : {-200.0, -30.0, -5.0, -0.5, 0.0, 0.5, 5.0, 30.0, 200.0})
      for (double t : {0.0, 0.25, 1.0}) {
        INFO(name_of(dtype), ", logit ", x, ", target ", t);
        const auto log1p_exp = [](double v) { return std::max(v, 0.0) + std::log1p(std::exp(-std::abs(v))); };
        const double expected = t * log1p_exp(-x) + (1 - t) * log1p_exp(x);
        const double slope = (1 - t) / (1 + std::exp(-x)) - t / (1 + std::exp(x));
        const auto agrees = [&](double found, double wanted) {
          return std::abs(found - wanted) <= (dtype == float64 ? 1e-14 : 1e-6) * std::abs(wanted) + 1e-37;
        };
        const Tensor target = full({1}, t, dtype);
        const auto loss = [&](const Tensor& in) { return binary_cross_entropy_with_logits(in, target); };
        CHECK(agrees(loss(full({1}, x, dtype)).item(), expected));
        CHECK(agrees(gradient(loss, full({1}, x, dtype)).item(), slope));
      }
  const Tensor x = tensor({0, 2, -1, 3}, {2, 2}, float64), t = tensor({0.5, 1, 0, 0}, {2, 2}, float64);
  const Tensor rows = binary_cross_entropy_with_logits(x, t, {.reduction = Reduction::none});
  CHECK(rows.shape() == x.shape());
  CHECK(binary_cross_entropy_with_logits(x, t, {.reduction = Reduction::sum}).item() ==
        doctest::Approx(sum(rows).item()));
  CHECK(binary_cross_entropy_with_logits(x, t).item() == doctest::Approx(mean(rows).item()));
  CHECK(gradcheck([](const Tensors& in) { return Tensors{binary_cross_entropy_with_logits(in[0], in[1])}; },
                  {clone(x).requires_grad_(), clone(t).requires_grad_()}) == "");
  CHECK(thrown([&] { binary_cross_entropy_with_logits(x, zeros({2}, float64)); }) ==
        "ShapeError: binary_cross_entropy_with_logits: shapes differ: [2, 2] and [2]");
}

TEST_CASE("nll_loss: class weights that cancel are no weights of zero") {
  const Tensor x = tensor(std::vector<double>{-1, -2, -3, -4}, {2, 2}, float64), target = index_tensor({0, 1});
  const auto mean_with = [&](std::vector<double> w) {
    return nll_loss(x, target, {.weight = tensor(w, {2}, float64)}).item();
  };
  CHECK(std::isinf(mean_with({1, -1})));
  CHECK(mean_with({0, 0}) == 0);
  CHECK(mean_with({1, 3}) == 13.0 / 4);
}
