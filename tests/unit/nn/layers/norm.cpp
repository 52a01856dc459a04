// LayerNorm and RMSNorm by their formulas.

#include "tests/unit/nn_checks.h"

using namespace attune;
using namespace attune::tests;

namespace {

/// (x - mean) / sqrt(var + eps) over the last `n` elements of each row.
Plain normalized(const Tensor& x, std::size_t n, double eps) {
  Plain y(x);
  for (std::size_t r = 0; r < y.v.size(); r += n) {
    double mean = 0, var = 0;
    for (std::size_t i = r; i < r + n; ++i) mean += y.v[i] / static_cast<double>(n);
    for (std::size_t i = r; i < r + n; ++i) var += (y.v[i] - mean) * (y.v[i] - mean) / static_cast<double>(n);
    for (std::size_t i = r; i < r + n; ++i) y.v[i] = (y.v[i] - mean) / std::sqrt(var + eps);
  }
  return y;
}

}  // namespace

TEST_CASE("LayerNorm") {
  nn::LayerNorm row(4, {.eps = 1e-3}), plane(Shape{3, 4}), no_bias(4, {.bias = false}), none(4, {.affine = false}),
      none_plane(Shape{3, 4}, {.affine = false});
  struct Case {
    nn::LayerNorm* m;
    std::size_t n;
    double eps;
    std::size_t parameters;
  };
  for (const Case& c : {Case{&row, 4, 1e-3, 2}, Case{&plane, 12, 1e-5, 2}, Case{&no_bias, 4, 1e-5, 1},
                        Case{&none, 4, 1e-5, 0}, Case{&none_plane, 12, 1e-5, 0}}) {
    randomize(*c.m);
    CHECK(c.m->parameters().size() == c.parameters);
    const Tensor x = normal({2, 3, 4});
    Plain y = normalized(x, c.n, c.eps);
    for (std::size_t i = 0; i < y.v.size(); ++i) {
      if (c.m->weight().defined()) y.v[i] *= Plain(c.m->weight()).v[i % c.n];
      if (c.m->bias().defined()) y.v[i] += Plain(c.m->bias()).v[i % c.n];
    }
    CHECK(close((*c.m)(x), y));
    CHECK(check_gradients(*c.m, [&](const Tensors& in) { return Tensors{(*c.m)(in[0])}; }, {normal_leaf({2, 3, 4})}) ==
          "");
    CHECK_THROWS_AS((*c.m)(zeros({2, 3, 5}, float64)), ShapeError);
  }
  CHECK_THROWS_AS(plane(zeros({4}, float64)), ShapeError);
  CHECK(thrown([] { nn::LayerNorm(Shape{}); }) == "ValueError: LayerNorm: needs at least one size");
  CHECK(thrown([] { nn::LayerNorm(-3); }) == "ValueError: LayerNorm: a size = -3 must be at least 1");
  CHECK(thrown([] { nn::LayerNorm(3, {.eps = -1}); }) ==
        "ValueError: LayerNorm: eps = -1.000000 must be finite and not negative");
}

TEST_CASE("RMSNorm") {
  nn::RMSNorm m(4, 1e-3);
  CHECK(same(m.weight.detach(), {4}, {1, 1, 1, 1}));
  randomize(m);
  const Tensor x = normal({3, 4});
  const Plain w(m.weight), in(x);
  Plain y({3, 4});
  for_indices(y.shape, [&](const Dims& at) {
    double square = 0;
    for (std::int64_t i = 0; i < 4; ++i) square += in[{at[0], i}] * in[{at[0], i}] / 4;
    y[at] = in[at] / std::sqrt(square + 1e-3) * w[{at[1]}];
  });
  CHECK(close(m(x), y));
  CHECK(check_gradients(m, [&](const Tensors& in_) { return Tensors{m(in_[0])}; }, {normal_leaf({3, 4})}) == "");
  CHECK(thrown([] { nn::RMSNorm(0); }) == "ValueError: RMSNorm: d = 0 must be at least 1");
  CHECK_THROWS_AS(m(zeros({3, 5}, float64)), ShapeError);
}
