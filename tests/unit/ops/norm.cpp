// Layer norm, RMS norm and normalize against plain loops, and against their compositions in every order.
#include "tests/unit/plain.h"

using namespace attune;
using namespace attune::tests;

namespace {

Tensor reals(const Shape& shape, unsigned seed, DType dtype = float64) {
  Generator g(seed);
  return randn(shape, dtype, g);
}

/// A row's normalised values, and how its gradient follows from g = weight * dy.
struct Row {
  Values xhat, dx;
};

Row layer_row(const Values& x, const Values& g, double eps) {
  const double n = static_cast<double>(x.size());
  double mean = 0, var = 0, g_mean = 0, along = 0;
  for (double v : x) mean += v / n;
  for (double v : x) var += (v - mean) * (v - mean) / n;
  const double rstd = 1 / std::sqrt(var + eps);
  Row r;
  for (double v : x) r.xhat.push_back((v - mean) * rstd);
  for (std::size_t i = 0; i < x.size(); ++i) {
    g_mean += g[i] / n;
    along += g[i] * r.xhat[i] / n;
  }
  for (std::size_t i = 0; i < x.size(); ++i) r.dx.push_back(rstd * (g[i] - g_mean - r.xhat[i] * along));
  return r;
}

Row rms_row(const Values& x, const Values& g, double eps) {
  const double n = static_cast<double>(x.size());
  double squares = 0, along = 0;
  for (double v : x) squares += v * v / n;
  const double scale = 1 / std::sqrt(squares + eps);
  Row r;
  for (double v : x) r.xhat.push_back(v * scale);
  for (std::size_t i = 0; i < x.size(); ++i) along += g[i] * r.xhat[i] / n;
  for (std::size_t i = 0; i < x.size(); ++i) r.dx.push_back(scale * (g[i] - r.xhat[i] * along));
  return r;
}

using Norm = Row (*)(const Values&, const Values&, double);

struct Expected {
  Plain y, dx, dw, db;
};

/// Rows over the last axes, those of `inner`; w and b may be undefined.
Expected by_loops(Norm row, const Tensor& x, const Shape& inner, const Tensor& w, const Tensor& b, const Tensor& dy,
                  double eps) {
  Expected e{Plain(x.shape()), Plain(x.shape()), Plain(inner), Plain(inner)};
  const Values xs = x.to_vector<double>(), dys = dy.to_vector<double>();
  const std::size_t n = static_cast<std::size_t>(numel(inner));
  const Values ws = w.defined() ? w.to_vector<double>() : Values(n, 1),
               bs = b.defined() ? b.to_vector<double>() : Values(n, 0);
  for (std::size_t at = 0; n != 0 && at < xs.size(); at += n) {
    Values in, g;
    for (std::size_t i = 0; i < n; ++i) {
      in.push_back(xs[at + i]);
      g.push_back(ws[i] * dys[at + i]);
    }
    const Row r = row(in, g, eps);
    for (std::size_t i = 0; i < n; ++i) {
      e.y.v[at + i] = r.xhat[i] * ws[i] + bs[i];
      e.dx.v[at + i] = r.dx[i];
      e.dw.v[i] += r.xhat[i] * dys[at + i];
      e.db.v[i] += dys[at + i];
    }
  }
  return e;
}

struct Case {
  Shape x, inner;
};
const std::vector<Case> cases = {
    {{4}, {4}},          {{3, 5}, {5}},    {{2, 3, 4}, {4}},       {{2, 3, 4}, {3, 4}}, {{2, 3, 4}, {2, 3, 4}},
    {{3, 1}, {1}},       {{0, 3}, {3}},    {{3, 0}, {0}},          {{2, 0, 3}, {3}},    {{2, 3, 0}, {3, 0}},
    {{0, 2, 3}, {2, 3}}, {{70, 33}, {33}}, {{2, 1, 2, 3}, {2, 3}},
};

Tensor composed_layer_norm(const Tensor& x, const Tensor& w, const Tensor& b, const Dims& axes, double eps) {
  const Tensor centred = x - mean(x, axes, true);
  Tensor y = centred / sqrt(mean(square(centred), axes, true) + eps);
  if (w.defined()) y = y * w;
  return b.defined() ? y + b : y;
}

/// The value and all gradients up to the third order of a function of some inputs.
Tensors orders(const Tensor& y, const Tensors& inputs, const Tensor& cotangent) {
  Tensors all{y};
  Tensor next = sum(square(y) * cotangent);
  for (int order = 0; order < 3; ++order) {
    const Tensors d = grad({next}, inputs, {.create_graph = true});
    all.insert(all.end(), d.begin(), d.end());
    next = scalar(0, float64);
    for (std::size_t i = 0; i < d.size(); ++i)
      next = next + sum(square(d[i]) * reals(d[i].shape(), static_cast<unsigned>(i) + 20)) * 0.1;
  }
  return all;
}

void check_same(const Tensors& a, const Tensors& b, double tolerance) {
  REQUIRE(a.size() == b.size());
  for (std::size_t i = 0; i < a.size(); ++i) {
    INFO("result ", i);
    CHECK(close(a[i], Plain(b[i]), tolerance));
  }
}

}  // namespace

TEST_CASE("layer_norm and rms_norm: values and gradients over any last axes, in every layout") {
  for (const Case& c : cases)
    for (DType dtype : {float64, float32})
      for (int given = 0; given < 4; ++given) {
        const bool one_axis = c.inner.rank() == 1;
        if (given == 0 && !one_axis) continue;  // without weight and bias it is the last axis
        const double tolerance = dtype == float64 ? 1e-11 : 2e-4;
        const Tensor x0 = reals(c.x, 1, dtype), dy0 = reals(c.x, 2, dtype);
        const Tensor w = given & 1 ? reals(c.inner, 3, dtype) : Tensor(),
                     b = given & 2 ? reals(c.inner, 4, dtype) : Tensor();
        const Expected layer = by_loops(layer_row, x0, c.inner, w, b, dy0, 1e-5),
                       rms = by_loops(rms_row, x0, c.inner, w, {}, dy0, 1e-6);
        const Tensors xs = layouts(x0), dys = layouts(dy0);
        for (std::size_t i = 0; i < xs.size(); ++i) {
          const Tensor x = xs[i].detach().requires_grad_(), dy = dys[(i + 1) % dys.size()];
          const auto leaf = [&](const Tensor& t) {
            return t.defined() ? layouts(t)[i].detach().requires_grad_() : Tensor();
          };
          const Tensor weight = leaf(w), bias = leaf(b);
          INFO(c.x.str(), " over ", c.inner.str(), " ", name_of(dtype), " at ", x.strides().str(), ", given ", given);
          const Tensor y = layer_norm(x, weight, bias);
          REQUIRE(y.dtype() == dtype);
          REQUIRE(y.is_contiguous());
          REQUIRE(close(y, layer.y, tolerance));
          y.backward({.gradient = dy});
          REQUIRE(close(x.grad(), layer.dx, tolerance));
          if (w.defined()) REQUIRE(close(weight.grad(), layer.dw, tolerance));
          if (b.defined()) REQUIRE(close(bias.grad(), layer.db, tolerance));
          if (!one_axis || b.defined()) continue;
          const Tensor x2 = xs[i].detach().requires_grad_(), w2 = leaf(w);
          const Tensor z = rms_norm(x2, w2);
          REQUIRE(close(z, rms.y, tolerance));
          z.backward({.gradient = dy});
          REQUIRE(close(x2.grad(), rms.dx, tolerance));
          if (w.defined()) REQUIRE(close(w2.grad(), rms.dw, tolerance));
        }
      }
}

TEST_CASE("layer_norm: fused and composed agree in value and up to the third derivative") {
  for (int given = 0; given < 4; ++given)
    for (const Shape& inner : std::vector<Shape>{{4}, {3, 4}}) {
      if (given == 0 && inner.rank() > 1) continue;
      INFO("given ", given, ", over ", inner.str());
      const Tensor x = reals({2, 3, 4}, 1).requires_grad_(), dy = reals({2, 3, 4}, 2);
      Tensors inputs{x};
      const auto leaf = [&](bool there, unsigned seed) {
        if (there) inputs.push_back(reals(inner, seed).requires_grad_());
        return there ? inputs.back() : Tensor();
      };
      const Tensor w = leaf(given & 1, 3), b = leaf(given & 2, 4);
      const Dims axes = inner.rank() == 1 ? Dims{-1} : Dims{-2, -1};
      check_same(orders(layer_norm(x, w, b, 0.1), inputs, dy),
                 orders(composed_layer_norm(x, w, b, axes, 0.1), inputs, dy), 1e-8);
    }
}

TEST_CASE("rms_norm: fused and composed agree in value and up to the third derivative") {
  for (bool weighted : {false, true}) {
    const Tensor x = reals({2, 3, 4}, 1).requires_grad_(), dy = reals({2, 3, 4}, 2);
    const Tensor w = weighted ? reals({4}, 3).requires_grad_() : Tensor();
    Tensors inputs{x};
    if (weighted) inputs.push_back(w);
    const Tensor y = x / sqrt(mean(square(x), {-1}, true) + 0.1);
    check_same(orders(rms_norm(x, w, 0.1), inputs, dy), orders(weighted ? y * w : y, inputs, dy), 1e-8);
  }
}

TEST_CASE("layer_norm: one tensor as input and weight gets the sum of both gradients") {
  const Tensor x = reals({4}, 1).requires_grad_();
  CHECK(gradcheck([](const Tensors& in) { return Tensors{layer_norm(in[0], in[0], in[0])}; }, {x}) == "");
  CHECK(gradcheck([](const Tensors& in) { return Tensors{rms_norm(in[0], in[0])}; }, {x}) == "");
}

TEST_CASE("layer_norm: gradients only where they are wanted") {
  const Tensor x = reals({3, 4}, 1), w = reals({4}, 2), b = reals({4}, 3), dy = reals({3, 4}, 4);
  Tensors complete;
  for (int which = 7; which > 0; --which) {
    const Tensor xs = x.detach().requires_grad_(which & 1), ws = w.detach().requires_grad_(which & 2),
                 bs = b.detach().requires_grad_(which & 4);
    layer_norm(xs, ws, bs).backward({.gradient = dy});
    const Tensors found{xs.grad(), ws.grad(), bs.grad()};
    if (which == 7) complete = found;
    for (unsigned i = 0; i < 3; ++i) {
      REQUIRE(found[i].defined() == static_cast<bool>(which & 1 << i));
      if (found[i].defined()) CHECK(same(found[i], complete[i]));
    }
  }
}

TEST_CASE("layer_norm: a large mean does not cancel, in value or gradient") {
  // Mean 1e4, spread 1e-3: E[x^2] - E[x]^2 would be noise. The inputs are what float32 makes of them.
  std::mt19937 random(1);
  Values v;
  for (int i = 0; i < 256; ++i) v.push_back(1e4 + 1e-3 * (static_cast<double>(random() % 2001) - 1000) / 500);
  const Tensor x = tensor(v, {2, 128}, float32), dy = reals({2, 128}, 3, float32);
  const Expected e = by_loops(layer_row, x, {128}, {}, {}, dy, 1e-12);
  CHECK(close(layer_norm(x, {}, {}, 1e-12), e.y, 1e-4));
  const Plain dx(gradient([](const Tensor& t) { return layer_norm(t, {}, {}, 1e-12); }, x, dy));
  double largest = 0;
  for (double d : e.dx.v) largest = std::max(largest, std::abs(d));
  for (std::size_t i = 0; i < dx.v.size(); ++i) CHECK(std::abs(dx.v[i] - e.dx.v[i]) < 1e-4 * largest);
}

TEST_CASE("layer_norm: a constant row is its bias, with a finite gradient") {
  for (DType dtype : {float64, float32}) {
    const Tensor x = full({2, 5}, 0.1, dtype), w = ones({5}, dtype), b = arange(5, dtype);
    const Tensor y = layer_norm(x, w, b);
    CHECK(close(y, Plain(expand(b, {2, 5})), 1e-4));
    const Tensor dx = gradient([&](const Tensor& t) { return layer_norm(t, w, b); }, x, reals({2, 5}, 1, dtype));
    CHECK(all(lt(abs(dx), 1e4)));
    CHECK(same(rms_norm(zeros({2, 5}, dtype), w), Plain(zeros({2, 5}))));
  }
}

TEST_CASE("layer_norm: a NaN stays in its row") {
  Tensor x = reals({3, 20}, 1, float32);
  x.mutable_data<float>()[25] = std::nanf("");
  for (const Tensor& y : {layer_norm(x), rms_norm(x)})
    for (std::int64_t row = 0; row < 3; ++row)
      for (double v : select(y, 0, row).to_vector<double>()) CHECK(std::isnan(v) == (row == 1));
}

TEST_CASE("layer_norm and rms_norm: an input changed in place is refused by the backward pass") {
  for (int which : {0, 1}) {
    Tensor x = reals({2, 3}, 1).requires_grad_();
    const Tensor y = sum(which ? rms_norm(x) : layer_norm(x));
    {
      const NoGrad off;
      mul_(x, 2);
    }
    CHECK(thrown([&] { y.backward(); }).find(which ? "GradError: rms_norm: a" : "GradError: layer_norm: a") == 0);
  }
}

TEST_CASE("normalize: rows of length 1 along any axis, zeros where there is no direction") {
  const Tensor x = tensor({3, 4, 0, 0, -5, 12}, {3, 2}, float64);
  CHECK(close(normalize(x), Plain(tensor({0.6, 0.8, 0, 0, -5.0 / 13, 12.0 / 13}, {3, 2}, float64))));
  CHECK(close(normalize(transpose(x), 2, 0), Plain(transpose(normalize(x)))));
  CHECK(close(normalize(x, 2, 1, 10), Plain(tensor({0.3, 0.4, 0, 0, -5.0 / 13, 12.0 / 13}, {3, 2}, float64))));
  CHECK(normalize(zeros({0, 3})).shape() == Shape{0, 3});
  CHECK(gradcheck(
            [](const Tensors& in) {
              return Tensors{normalize(in[0], 2, 0), normalize(in[0])};
            },
            {reals({3, 2}, 1).requires_grad_()}) == "");
  // At a row of zeros it is x / eps.
  CHECK(close(gradient([](const Tensor& t) { return normalize(t, 2, -1, 0.5); }, zeros({1, 2}, float64)),
              Plain(Shape{1, 2}, 2)));
}

TEST_CASE("layer_norm, rms_norm and normalize: wrong calls") {
  const Tensor x = zeros({2, 3});
  CHECK(thrown([&] { layer_norm(x, zeros({4})); }) ==
        "ShapeError: layer_norm: the weight [4] does not fit the last axes of x [2, 3]");
  CHECK(thrown([&] { layer_norm(x, {}, zeros({4})); }) ==
        "ShapeError: layer_norm: the bias [4] does not fit the last axes of x [2, 3]");
  CHECK(thrown([&] {
          layer_norm(x, zeros({1, 2, 3}));
        }) == "ShapeError: layer_norm: the weight [1, 2, 3] does not fit the last axes of x [2, 3]");
  CHECK(thrown([&] { layer_norm(x, zeros({})); }) ==
        "ShapeError: layer_norm: the weight [] does not fit the last axes of x [2, 3]");
  CHECK(thrown([&] {
          layer_norm(x, zeros({3}), zeros({2, 3}));
        }) == "ShapeError: layer_norm: the bias [2, 3] differs from the weight [3]");
  CHECK(thrown([&] { layer_norm(scalar(1)); }) == "ShapeError: layer_norm: needs at least one axis, got []");
  CHECK(thrown([&] { layer_norm(x, zeros({3}, float64)); }) ==
        "DTypeError: layer_norm: dtypes differ: float32 [2, 3] and float64 [3]");
  CHECK(thrown([&] { layer_norm(zeros({3}, int64)); }) ==
        "DTypeError: layer_norm: needs float32 or float64, got int64 [3]");
  CHECK(thrown([&] { layer_norm({}); }) == "ValueError: layer_norm: an input is undefined");
  CHECK(thrown([&] {
          rms_norm(x, zeros({2, 3}));
        }) == "ShapeError: rms_norm: the weight [2, 3] does not fit the last axis of x [2, 3]");
  CHECK(thrown([&] { rms_norm(scalar(1)); }) == "ShapeError: rms_norm: needs at least one axis, got []");
  CHECK(thrown([&] { normalize(x, 2, 2); }) == "IndexError: normalize: axis 2 is out of range for [2, 3]");
}
