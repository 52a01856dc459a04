// Third derivatives: three nested grad() calls against finite differences of the second-order product, on every row of
// the table and on what is made of them. A third derivative is right or refused, never silently wrong.

#include <doctest/doctest.h>

#include <cmath>

#include "nn/nn.h"
#include "tests/ops/all.h"

namespace attune::tests {
namespace {

/// The sum of <a_i, b_i> over the pairs of which both exist.
Tensor inner_products(const Tensors& as, const Tensors& bs) {
  Tensor total = scalar(0, float64);
  for (std::size_t i = 0; i < as.size(); ++i)
    if (as[i].defined() && is_floating(as[i].dtype())) total = total + sum(as[i] * bs[i]);
  return total;
}

Tensors normals_like(const Tensors& xs, Generator& g) {
  Tensors out;
  for (const Tensor& x : xs) out.push_back(x.defined() ? randn(x.shape(), float64, g) : x);
  return out;
}

/// <d(<d(<f, u>), v>), w> at xs: the second derivatives of f, projected to a number.
Tensor second_order_product(const Function& f, const Tensors& xs, std::uint64_t seed) {
  Generator g(seed);
  const Tensors ys = f(xs);
  Tensor value = inner_products(ys, normals_like(ys, g));
  for (int order = 0; order < 2; ++order) {
    const Tensors weights = normals_like(xs, g);
    if (!value.requires_grad()) return scalar(0, float64);
    value = inner_products(grad({value}, xs, {.create_graph = true, .allow_unused = true}), weights);
  }
  return value;
}

struct Third {
  double analytic = 0, numeric = 0, size = 0;
};

/// The third derivative along a random direction, both ways; `size` bounds the terms that add up to it.
Third third_derivative(const Function& f, const Tensors& inputs, std::uint64_t seed = 5) {
  Generator g(seed + 1);
  Tensors xs, direction;
  for (const Tensor& x : inputs) {
    xs.push_back(clone(x.detach()).requires_grad_());
    direction.push_back(randn(x.shape(), float64, g));
  }
  Third t;
  const Tensor value = second_order_product(f, xs, seed);
  if (value.requires_grad()) {
    const Tensors gradients = grad({value}, xs, {.allow_unused = true});
    for (std::size_t i = 0; i < xs.size(); ++i)
      if (gradients[i].defined()) {
        t.analytic += sum(gradients[i] * direction[i]).item();
        t.size += sum(abs(gradients[i] * direction[i])).item();
      }
  }
  const double h = 1e-5;
  const auto at = [&](double step) {
    Tensors moved;
    for (std::size_t i = 0; i < xs.size(); ++i)
      moved.push_back((xs[i].detach() + step * direction[i]).detach().requires_grad_());
    return second_order_product(f, moved, seed).item();
  };
  t.numeric = (at(h) - at(-h)) / (2 * h);
  t.size += std::abs(value.item());
  return t;
}

}  // namespace

TEST_CASE("third derivatives: every row of the table") {
  for (const OpRow& row : all_rows())
    for (const auto& shapes : row.shapes) {
      const Third t = third_derivative(row.call, inputs_of(row, shapes, float64, 20));
      CAPTURE(row.name);
      CAPTURE(shapes[0].str());
      CHECK(t.analytic == doctest::Approx(t.numeric).epsilon(1e-5).scale(1 + t.size));
    }
}

TEST_CASE("third derivatives: attention and cells made of several operations") {
  const auto check = [](const Function& f, const Tensors& inputs) {
    const Third t = third_derivative(f, inputs);
    CHECK(t.size > 1e-3);
    CHECK(t.analytic == doctest::Approx(t.numeric).epsilon(1e-5).scale(1 + t.size));
  };
  Generator g(2);
  const Tensor q = randn({1, 2, 3, 4}, float64, g), k = randn({1, 2, 3, 4}, float64, g),
               v = randn({1, 2, 3, 4}, float64, g);
  const Tensor mask = tensor({1, 1, 1, 0, 1, 1, 0, 0, 0}, {3, 3}, boolean);
  check(
      [&](const Tensors& x) {
        return Tensors{scaled_dot_product_attention(x[0], x[1], x[2], {.attention_mask = mask}).output};
      },
      {q, k, v});
  nn::LSTMCell lstm(3, 2);
  nn::GRUCell gru(3, 2);
  lstm.to(float64);
  gru.to(float64);
  const Tensor x = randn({2, 3}, float64, g), h = randn({2, 2}, float64, g);
  check(
      [&](const Tensors& in) {
        const LstmState s = lstm(in[0], {in[1], in[1]});
        return Tensors{s.h, s.c};
      },
      {x, h});
  check([&](const Tensors& in) { return Tensors{gru(in[0], in[1])}; }, {x, h});
  nn::TransformerEncoder encoder(1, 4, 2, {.d_ff = 4});
  encoder.to(float64);
  encoder.eval();
  check([&](const Tensors& in) { return Tensors{encoder(in[0])}; }, {randn({1, 3, 4}, float64, g)});
}

}  // namespace attune::tests
