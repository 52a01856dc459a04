// The small layers: values by their formulas, gradients, modes and errors.

#include "tests/unit/nn_checks.h"

using namespace attune;
using namespace attune::tests;

TEST_CASE("Linear") {
  nn::Linear m(3, 2), plain(3, 2, {.bias = false}), bent(3, 2, {.activation = Activation::tanh});
  for (nn::Linear* l : {&m, &plain, &bent}) {
    l->to(float64);
    const Tensor x = normal({4, 5, 3});
    const Plain in(x), w(l->weight);
    Plain y({4, 5, 2});
    for_indices(y.shape, [&](const Dims& at) {
      double s = l->bias().defined() ? Plain(l->bias())[{at[2]}] : 0;
      for (std::int64_t i = 0; i < 3; ++i) s += in[{at[0], at[1], i}] * w[{at[2], i}];
      y[at] = l == &bent ? std::tanh(s) : s;
    });
    CHECK(close((*l)(x), y));
    CHECK(check_gradients(*l, [&](const Tensors& in_) { return Tensors{(*l)(in_[0])}; }, {normal_leaf({2, 3})}) == "");
  }
  CHECK(plain.parameters().size() == 1);
  CHECK(!plain.bias().defined());
  CHECK(std::is_same_v<nn::Dense, nn::Linear>);
  CHECK(same(m(zeros({0, 3}, float64)).detach(), Plain({0, 2})));
  CHECK(thrown([] { nn::Linear(0, 2); }) == "ValueError: Linear: in = 0 must be at least 1");
  CHECK(thrown([] { nn::Linear(3, -2); }) == "ValueError: Linear: out = -2 must be at least 1");
  CHECK(thrown([&] { m(zeros({4, 2}, float64)); }).starts_with("ShapeError: linear: "));
}

TEST_CASE("Embedding") {
  nn::Embedding m(5, 3, {.padding_index = 1});
  const Tensor indices = index_tensor({4, 1, 0, 4}, {2, 2});
  const Tensor y = m(indices);
  const Plain w(m.weight);
  const std::int64_t rows[] = {4, 1, 0, 4};
  Plain expected({2, 2, 3});
  for_indices(expected.shape, [&](const Dims& at) { expected[at] = w[{rows[at[0] * 2 + at[1]], at[2]}]; });
  CHECK(same(y.detach(), expected));
  sum(y).backward();
  CHECK(same(m.weight.grad(), {5, 3}, {1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 2, 2}));
  nn::Embedding all(5, 3);
  CHECK(check_gradients(all, [&](const Tensors&) { return Tensors{all(indices)}; }, {}) == "");
  CHECK(thrown([&] { m(index_tensor({5})); }).starts_with("IndexError: embedding: "));
  CHECK(thrown([] { nn::Embedding(-1, 3); }) == "ValueError: Embedding: n = -1 must be at least 1");
  CHECK(thrown([] { nn::Embedding(3, 0); }) == "ValueError: Embedding: d = 0 must be at least 1");
  CHECK(thrown([] { nn::Embedding(3, 2, {.padding_index = 3}); }) ==
        "ValueError: Embedding: padding_index = 3 is out of range for 3 rows");
  CHECK(thrown([] { nn::Embedding(3, 2, {.padding_index = -2}); }) ==
        "ValueError: Embedding: padding_index = -2 must be at least -1");
}

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

/// Replaces every parameter by normal values: a fresh norm's ones and zeros would hide mistakes.
void randomize(nn::Module& m) {
  m.to(float64);
  std::uint64_t seed = 50;
  for (Tensor& p : m.parameters()) {
    const NoGrad off;
    copy_(p, normal(p.shape(), seed++));
  }
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

TEST_CASE("Dropout") {
  Generator g(1), h(1);
  nn::Dropout m(0.25, g), twin(0.25, h), none(0.0), all(1.0);
  const Tensor x = ones({100, 100});
  const Tensor y = m(x);
  CHECK(same(y, twin(x)));
  CHECK(!same(y, m(x)));
  double kept = 0;
  for (double v : y.to_vector<double>()) {
    CHECK_MESSAGE((v == 0 || std::abs(v - 4.0 / 3) < 1e-6), v);
    kept += v != 0;
  }
  CHECK(std::abs(kept / 10000 - 0.75) < 0.025);
  CHECK(same(none(x), x));
  CHECK(same(all(x), zeros_like(x)));
  m.eval();
  CHECK(m(x).impl() == x.impl());
  m.train();
  Tensor leaf = ones({50}).requires_grad_();
  const Tensor z = m(leaf);
  sum(z).backward();
  CHECK(same(leaf.grad(), z.detach()));
  CHECK(m.p() == 0.25);

  manual_seed(3);
  const Tensor first = nn::Dropout(0.5)(x);
  manual_seed(3);
  CHECK(same(first, nn::Dropout(0.5)(x)));
  CHECK(thrown([] { nn::Dropout(-0.1); }) == "ValueError: Dropout: p = -0.100000 is not in [0, 1]");
  CHECK(thrown([] { nn::Dropout(1.5); }) == "ValueError: Dropout: p = 1.500000 is not in [0, 1]");
  CHECK(thrown([] { nn::Dropout{not_a_number}; }).starts_with("ValueError: Dropout: p = "));
}

TEST_CASE("activations and softmax as modules are the functions") {
  const Tensor x = normal({3, 4});
  CHECK(same(nn::ReLU()(x), relu(x)));
  CHECK(same(nn::GELU()(x), gelu(x)));
  CHECK(same(nn::GELUTanh()(x), gelu_tanh(x)));
  CHECK(same(nn::SiLU()(x), silu(x)));
  CHECK(same(nn::Tanh()(x), tanh(x)));
  CHECK(same(nn::Sigmoid()(x), sigmoid(x)));
  CHECK(nn::activate(x, Activation::none).impl() == x.impl());
  CHECK(same(nn::Softmax()(x), softmax(x, -1)));
  CHECK(same(nn::Softmax(0)(x), softmax(x, 0)));
  CHECK(thrown([&] { nn::Softmax(2)(x); }) == "IndexError: softmax: axis 2 is out of range for [3, 4]");
  const Plain in(x);
  Plain columns({3, 4});
  for_indices(columns.shape, [&](const Dims& at) {
    double total = 0;
    for (std::int64_t i = 0; i < 3; ++i) total += std::exp(in[{i, at[1]}]);
    columns[at] = std::exp(in[at]) / total;
  });
  CHECK(close(nn::Softmax(0)(x), columns));
}

TEST_CASE("CrossEntropyLoss") {
  const Tensor logits = normal({4, 3});
  const std::int64_t targets[] = {2, -1, 0, 2};
  const Tensor target = index_tensor({2, -1, 0, 2});
  const Plain in(logits);
  for (const double smoothing : {0.0, 0.1}) {
    double total = 0;
    for (std::int64_t r = 0; r < 4; ++r) {
      if (targets[r] == -1) continue;
      double z = 0;
      for (std::int64_t c = 0; c < 3; ++c) z += std::exp(in[{r, c}]);
      for (std::int64_t c = 0; c < 3; ++c)
        total -= ((c == targets[r] ? 1 - smoothing : 0) + smoothing / 3) * (in[{r, c}] - std::log(z));
    }
    nn::CrossEntropyLoss mean({.ignore_index = -1, .label_smoothing = smoothing});
    nn::CrossEntropyLoss sum_of({.ignore_index = -1, .label_smoothing = smoothing, .reduction = Reduction::sum});
    CHECK(mean(logits, target).item() == doctest::Approx(total / 3).epsilon(1e-12));
    CHECK(sum_of(logits, target).item() == doctest::Approx(total).epsilon(1e-12));
    CHECK(check_gradients(mean, [&](const Tensors& x) { return Tensors{mean(x[0], target)}; }, {normal_leaf({4, 3})}) ==
          "");
  }
  CHECK(thrown([] { nn::CrossEntropyLoss({.label_smoothing = 1.5}); }) ==
        "ValueError: CrossEntropyLoss: label_smoothing = 1.500000 is not in [0, 1]");
}

TEST_CASE("Sequential") {
  struct Doubled : nn::Module {  // a user's module without a call site
    Tensor operator()(const Tensor& x) const { return 2 * x; }
  };
  nn::Sequential m;
  nn::Linear& first = m.add<nn::Linear>(3, 4);
  m.add<nn::Tanh>();
  m.add<Doubled>();
  nn::Sequential& inner = m.add<nn::Sequential>();
  nn::Linear& second = inner.add<nn::Linear>(4, 2);
  CHECK(m.size() == 4);
  const Tensor x = normal({5, 3});
  m.to(float64);
  CHECK(same(m(x), second(2 * tanh(first(x)))));
  CHECK(second.path() == "3.0");
  CHECK(m.named_parameters()[2].first == "3.0.weight");
  CHECK(check_gradients(m, [&](const Tensors& in) { return Tensors{m(in[0])}; }, {normal_leaf({2, 3})}) == "");
  CHECK(nn::Sequential()(x).impl() == x.impl());
}

TEST_CASE("FeedForward: chunks give the same") {
  const Tensor x = normal({2, 7, 3});
  manual_seed(5);
  nn::FeedForward whole(3, 5, {.activation = Activation::gelu});
  whole.to(float64);
  const auto state = whole.state_dict();
  CHECK(close(whole(x), Plain(linear(gelu(linear(x, state.at("linear1.weight"), state.at("linear1.bias"))),
                                     state.at("linear2.weight"), state.at("linear2.bias")))));
  for (const std::int64_t chunks : {2, 3, 7, 50}) {
    nn::FeedForward m(3, 5, {.activation = Activation::gelu, .chunks = chunks});
    m.to(float64);
    m.load_state_dict(state);
    Tensor a = clone(x).requires_grad_(), b = clone(x).requires_grad_();
    const Tensor ya = whole(a), yb = m(b), dy = normal(ya.shape(), 9);
    CHECK(close(yb, Plain(ya), 1e-14));
    const auto gradients = [&](const Tensor& y, nn::Module& of, const Tensor& leaf) {
      Tensors wanted = of.parameters();
      wanted.push_back(leaf);
      return grad({y}, wanted, {.cotangents = {dy}});
    };
    const Tensors ga = gradients(ya, whole, a), gb = gradients(yb, m, b);
    for (std::size_t i = 0; i < ga.size(); ++i) CHECK(close(gb[i], Plain(ga[i]), 1e-13));
  }
  nn::FeedForward small(2, 3, {.activation = Activation::silu, .chunks = 2});
  CHECK(check_gradients(small, [&](const Tensors& in) { return Tensors{small(in[0])}; }, {normal_leaf({1, 3, 2})}) ==
        "");
  nn::FeedForward bare(3, 5, {.bias = false});
  CHECK(bare.parameters().size() == 2);
  CHECK(same(nn::in_chunks(zeros({2, 0, 3}), 4, [](const Tensor& t) { return 2 * t; }), zeros({2, 0, 3})));
  CHECK(thrown([] { nn::FeedForward(3, 5, {.chunks = 0}); }) ==
        "ValueError: FeedForward: chunks = 0 must be at least 1");
  CHECK(thrown([] { nn::FeedForward(3, 5, {.dropout = 2}); }) == "ValueError: Dropout: p = 2.000000 is not in [0, 1]");
  CHECK(thrown([] { nn::FeedForward(3, 0); }) == "ValueError: Linear: out = 0 must be at least 1");
}
