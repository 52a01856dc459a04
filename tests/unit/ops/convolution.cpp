// conv1d by loops and by a composition of slices and products, in every order.

#include <cstring>

#include "tests/unit/nn_checks.h"

using namespace attune;
using namespace attune::tests;

namespace {

struct Case {
  Shape x, w;
  Conv1dCall o;
};

const std::vector<Case> cases = {
    {{2, 3, 9}, {4, 3, 3}, {.padding = 1}},
    {{2, 4, 11}, {6, 2, 3}, {.stride = 2, .dilation = 2, .groups = 2}},
    {{1, 1, 1}, {1, 1, 1}, {}},
    {{3, 2, 5}, {3, 2, 5}, {}},
    {{2, 2, 3}, {3, 2, 2}, {.padding = 5}},
    {{2, 2, 2}, {3, 2, 3}, {.stride = 4, .padding = 4, .dilation = 3}},
    {{2, 3, 6}, {4, 3, 4}, {.padding = same_padding}},
    {{2, 3, 6}, {4, 3, 3}, {.padding = same_padding, .dilation = 5}},
    {{2, 6, 4}, {6, 1, 2}, {.stride = 3, .groups = 6}},
    {{0, 3, 4}, {2, 3, 2}, {}},
    {{2, 0, 4}, {3, 0, 2}, {}},
    {{2, 3, 0}, {3, 3, 1}, {.padding = 1}},
    {{5, 17, 40}, {33, 17, 5}, {.padding = 2}},
};

std::int64_t zeros_before(const Case& c) {
  return c.o.padding == same_padding ? c.o.dilation * (c.w[2] - 1) / 2 : c.o.padding;
}

std::int64_t out_length(const Case& c) {
  const std::int64_t reach = c.o.dilation * (c.w[2] - 1);
  return c.o.padding == same_padding ? c.x[2] : (c.x[2] + 2 * c.o.padding - reach - 1) / c.o.stride + 1;
}

Plain by_loops(const Case& c, const Plain& x, const Plain& w, const Plain& bias) {
  const std::int64_t channels = c.w[1], outs = c.w[0] / c.o.groups;
  Plain y({c.x[0], c.w[0], out_length(c)});
  for_indices(y.shape, [&](const Dims& at) {
    double s = bias[{at[1]}];
    for (std::int64_t i = 0; i < channels; ++i)
      for (std::int64_t k = 0; k < c.w[2]; ++k) {
        const std::int64_t p = at[2] * c.o.stride + k * c.o.dilation - zeros_before(c);
        if (p >= 0 && p < c.x[2]) s += w[{at[1], i, k}] * x[{at[0], at[1] / outs * channels + i, p}];
      }
    y[at] = s;
  });
  return y;
}

/// The same of slices and products.
Tensor composed(const Case& c, const Tensor& x, const Tensor& w, const Tensor& bias) {
  const std::int64_t l = out_length(c), before = zeros_before(c);
  const Tensor padded = pad(x, 2, before, c.o.dilation * c.w[2] + l * c.o.stride);
  const Tensors xs = chunk(padded, c.o.groups, 1), ws = chunk(w, c.o.groups, 0);
  Tensors ys;
  for (std::size_t g = 0; g < xs.size(); ++g) {
    Tensor y = zeros({c.x[0], c.w[0] / c.o.groups, l}, x.dtype());
    for (std::int64_t k = 0; k < c.w[2]; ++k) {
      const std::int64_t first = k * c.o.dilation;
      y = y + matmul(select(ws[g], 2, k), slice(xs[g], 2, first, first + l * c.o.stride, c.o.stride));
    }
    ys.push_back(y);
  }
  return cat(ys, 1) + unsqueeze(bias, 1);
}

std::string label(const Case& c) { return c.x.str() + " " + c.w.str() + " stride " + std::to_string(c.o.stride); }

}  // namespace

TEST_CASE("conv1d: values by loops, in every layout and both dtypes") {
  for (const Case& c : cases)
    for (DType dtype : {float64, float32}) {
      INFO(label(c));
      const Tensor x = to(normal(c.x, 1), dtype), w = to(normal(c.w, 2), dtype), bias = to(normal({c.w[0]}, 3), dtype);
      const Plain expected = by_loops(c, Plain(x), Plain(w), Plain(bias));
      const double tolerance = dtype == float64 ? 1e-12 : 1e-4;
      for (const Tensor& lx : layouts(x))
        for (const Tensor& lw : layouts(w)) CHECK(close(conv1d(lx, lw, bias, c.o), expected, tolerance));
      CHECK(close(conv1d(x, w, {}, c.o), by_loops(c, Plain(x), Plain(w), Plain({c.w[0]})), tolerance));
      if (c.x[0] > 0)
        CHECK(close(conv1d(select(x, 0, 0), w, bias, c.o), Plain(select(conv1d(x, w, bias, c.o), 0, 0)), tolerance));
    }
}

TEST_CASE("conv1d: derivatives up to the third order agree with the composition") {
  for (const Case& c : cases) {
    INFO(label(c));
    const Tensors inputs{normal_leaf(c.x, 1), normal_leaf(c.w, 2), normal_leaf({c.w[0]}, 3)};
    const auto orders = [&](const Tensor& y) {
      Tensors all{y};
      Tensor next = sum(square(y) * normal(y.shape(), 5));
      for (int order = 0; order < 3; ++order) {
        const Tensors d = grad({next}, inputs, {.create_graph = true});
        all.insert(all.end(), d.begin(), d.end());
        next = scalar(0, float64);
        for (std::size_t i = 0; i < d.size(); ++i)
          next = next + sum(square(d[i]) * normal(d[i].shape(), 20 + i)) * 1e-3;
      }
      return all;
    };
    const Tensors a = orders(conv1d(inputs[0], inputs[1], inputs[2], c.o)),
                  b = orders(composed(c, inputs[0], inputs[1], inputs[2]));
    for (std::size_t i = 0; i < a.size(); ++i) CHECK(close(a[i].detach(), Plain(b[i].detach()), 1e-8));
  }
}

TEST_CASE("conv1d: any number of threads gives the same bits") {
  const int before = num_threads();
  Generator g(1);
  const Tensors inputs{randn({40, 16, 50}, float32, g).requires_grad_(),
                       randn({130, 16, 7}, float32, g).requires_grad_(), randn({130}, float32, g).requires_grad_()};
  Tensors first;
  for (int threads : {1, 2, 3}) {
    set_num_threads(threads);
    const Tensor y = conv1d(inputs[0], inputs[1], inputs[2]);
    Tensors now = grad({y}, inputs, {.cotangents = {full_like(y, 0.5)}});
    now.push_back(y.detach());
    if (threads == 1) first = now;
    for (std::size_t i = 0; i < now.size(); ++i)
      CHECK(std::memcmp(now[i].raw(), first[i].raw(), static_cast<std::size_t>(now[i].numel()) * 4) == 0);
  }
  set_num_threads(before);
}

TEST_CASE("conv1d: wrong calls") {
  const Tensor x = zeros({2, 3, 6}), w = zeros({4, 3, 2});
  CHECK(thrown([&] { conv1d(zeros({3}), w); }) == "ShapeError: conv1d: x [3] must be [N, C, L] or [C, L]");
  CHECK(thrown([&] {
          conv1d(x, zeros({4, 3}));
        }) ==
        "ShapeError: conv1d: x [2, 3, 6] does not fit the weight [4, 3], which is [O, C / groups, K], in 1 groups");
  CHECK(thrown([&] {
          conv1d(x, zeros({4, 1, 2}), {}, {.groups = 3});
        }) ==
        "ShapeError: conv1d: x [2, 3, 6] does not fit the weight [4, 1, 2], which is [O, C / groups, K], in 3 groups");
  CHECK(thrown([&] { conv1d(x, w, zeros({3})); }) ==
        "ShapeError: conv1d: the bias [3] does not fit the weight [4, 3, 2]");
  CHECK(thrown([&] { conv1d(x, w, {}, {.dilation = 6}); }) ==
        "ShapeError: conv1d: a window of 7 is longer than the padded length 6 of x [2, 3, 6]");
  CHECK(thrown([&] { conv1d(x, w, {}, {.stride = 0}); }) == "ValueError: conv1d: stride = 0 must be at least 1");
  CHECK(thrown([&] { conv1d(x, w, {}, {.padding = -2}); }) == "ValueError: conv1d: padding = -2 must be at least -1");
  CHECK(thrown([&] { conv1d(x, to(w, float64)); }).starts_with("DTypeError: conv1d: dtypes differ"));
  std::string what;
  int line = 0;
  try {
    line = __LINE__ + 1;
    conv1d(zeros({3}), w);
  } catch (const Error& e) {
    what = e.what();
  }
  CHECK(what.ends_with("convolution.cpp:" + std::to_string(line)));
}
