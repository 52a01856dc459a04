// The table of edges: a row for each convention at kinks, ties, zeros, infinities and masks, and a test for each kind
// of mistake that other frameworks have shipped. Those that have a file of their own:
//
//   tape/saved.cpp                saved tensors changed in place, through a view and under NoGrad too; in-place on
//                                 expanded memory
//   tape/sweep.cpp                gradient buffers that are shared; cycles of create_graph; a chain of 10^6 nodes;
//                                 backward inside backward
//   tape/modes.cpp                grad mode and threads
//   tape/checkpoint.cpp           masks of recomputed blocks
//   kernels/gemm.cpp              zero sizes and leading dimensions beyond int at the BLAS
//   runtime/memory.cpp            numbers of elements beyond 64 bits
//   ops/errors.cpp                ranks, sizes, dtypes and axes that do not fit
//   tests/ops/test_ops.cpp        operands and cotangents that are not dense; the bits at any number of threads
//   tests/ops/test_third_order.cpp
//                                 saved statistics that are constants to the third derivative

#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <thread>

#include "autograd/io/safetensors.h"
#include "nn/nn.h"
#include "tests/unit/file_checks.h"
#include "tests/unit/plain.h"

namespace attune::tests {
namespace {

const double nan = std::nan("");

struct Edge {
  std::string what;
  std::function<Tensor(const Tensor&)> f;
  std::vector<double> x, y, dx;  ///< dx: the gradient of sum(f(x))
};

bool agrees(const Tensor& got, const std::vector<double>& expected) {
  const std::vector<double> v = got.to_vector<double>();
  if (v.size() != expected.size()) return false;
  for (std::size_t i = 0; i < v.size(); ++i) {
    const bool same = v[i] == expected[i] || (std::isnan(v[i]) && std::isnan(expected[i])) ||
                      std::abs(v[i] - expected[i]) <= 1e-12 * std::abs(expected[i]);
    if (!same) return false;
  }
  return true;
}

Tensor second(double v) { return tensor({v}, float64); }

// Long: a table, one row a convention.
const std::vector<Edge>& edges() {
  static const std::vector<Edge> rows{
      {"relu at 0", [](const Tensor& x) { return relu(x); }, {-1, 0, 1}, {0, 0, 1}, {0, 0, 1}},
      {"abs at 0", [](const Tensor& x) { return abs(x); }, {-2, 0, 2}, {2, 0, 2}, {-1, 0, 1}},
      {"maximum shares a tie",
       [](const Tensor& x) { return maximum(x, second(1)); },
       {0, 1, 2},
       {1, 1, 2},
       {0, 0.5, 1}},
      {"minimum shares a tie",
       [](const Tensor& x) { return minimum(x, second(1)); },
       {0, 1, 2},
       {0, 1, 1},
       {1, 0.5, 0}},
      {"amax shares ties equally", [](const Tensor& x) { return amax(x); }, {3, 1, 3}, {3}, {0.5, 0, 0.5}},
      {"amin shares ties equally",
       [](const Tensor& x) { return amin(x); },
       {1, 3, 1, 1},
       {1},
       {1. / 3, 0, 1. / 3, 1. / 3}},
      {"nobody loses beside NaN",
       [](const Tensor& x) { return maximum(x, second(1)) + minimum(x, second(1)); },
       {nan},
       {nan},
       {2}},
      {"relu passes NaN and its gradient",
       [](const Tensor& x) { return relu(x); },
       {-1, nan, 1},
       {0, nan, 1},
       {0, 1, 1}},
      {"std of one number repeated, whose mean is rounded",
       [](const Tensor& x) { return std_dev(x); },
       {0.1, 0.1, 0.1},
       {0},
       {0, 0, 0}},
      {"max with an index picks it", [](const Tensor& x) { return max(x, 0).values; }, {3, 1, 3}, {3}, {1, 0, 0}},
      {"clamp keeps its ends",
       [](const Tensor& x) { return clamp(x, -1, 1); },
       {-2, -1, 1, 2},
       {-1, -1, 1, 1},
       {0, 1, 1, 0}},
      {"norm at 0", [](const Tensor& x) { return norm(x); }, {0, 0}, {0}, {0, 0}},
      {"vector_norm at 0", [](const Tensor& x) { return vector_norm(x, 0.5); }, {0, 0}, {0}, {0, 0}},
      {"std at 0", [](const Tensor& x) { return std_dev(x); }, {4, 4, 4}, {0}, {0, 0, 0}},
      {"var of one element", [](const Tensor& x) { return var(x, {}, 0); }, {4}, {0}, {0}},
      {"prod with one zero", [](const Tensor& x) { return prod(x); }, {2, 0, 3, 4}, {0}, {0, 24, 0, 0}},
      {"prod with two zeros", [](const Tensor& x) { return prod(x); }, {2, 0, 0}, {0}, {0, 0, 0}},
      {"cumprod with a zero", [](const Tensor& x) { return cumprod(x, 0); }, {2, 0, 3, 4}, {2, 0, 0, 0}, {1, 32, 0, 0}},
      {"logsumexp of nothing", [](const Tensor& x) { return logsumexp(x); }, {-inf, -inf}, {-inf}, {0, 0}},
      {"logaddexp(-inf, -inf)", [](const Tensor& x) { return logaddexp(x, second(-inf)); }, {-inf}, {-inf}, {0}},
      {"logaddexp with one -inf", [](const Tensor& x) { return logaddexp(x, second(-inf)); }, {3}, {3}, {1}},
      {"hypot(0, 0)", [](const Tensor& x) { return hypot(x, second(0)); }, {0}, {0}, {0}},
      {"hypot does not overflow", [](const Tensor& x) { return hypot(x, second(4e200)); }, {3e200}, {5e200}, {0.6}},
      {"atan2(0, 0)", [](const Tensor& x) { return atan2(x, second(0)); }, {0}, {0}, {0}},
      {"xlogy(0, 0)", [](const Tensor& x) { return xlogy(x, second(0)); }, {0}, {0}, {0}},
      {"xlogy by its second side", [](const Tensor& x) { return xlogy(second(0), x); }, {0, 2}, {0, 0}, {0, 0}},
      {"gelu at infinities", [](const Tensor& x) { return gelu(x); }, {-inf, inf}, {0, inf}, {0, 1}},
      {"gelu_tanh at -inf", [](const Tensor& x) { return gelu_tanh(x); }, {-inf}, {0}, {0}},
      {"silu at infinities", [](const Tensor& x) { return silu(x); }, {-inf, inf}, {0, inf}, {0, 1}},
      {"softplus at infinities", [](const Tensor& x) { return softplus(x); }, {-inf, 800}, {0, 800}, {0, 1}},
      {"sigmoid at infinities", [](const Tensor& x) { return sigmoid(x); }, {-inf, inf}, {0, 1}, {0, 0}},
      {"tanh at infinities", [](const Tensor& x) { return tanh(x); }, {-inf, inf}, {-1, 1}, {0, 0}},
      {"pow at 0", [](const Tensor& x) { return pow(x, 0); }, {0, 2}, {1, 1}, {0, 0}},
      {"0 to a tensor power", [](const Tensor& x) { return pow(second(0), x); }, {0, 2}, {1, 0}, {0, 0}},
      {"elu at 0", [](const Tensor& x) { return elu(x, 2); }, {0}, {0}, {2}},
      {"leaky_relu at 0", [](const Tensor& x) { return leaky_relu(x, 0.1); }, {-1, 1}, {-0.1, 1}, {0.1, 1}},
      {"x to the power of 1 at 0", [](const Tensor& x) { return pow(x, 1); }, {0}, {0}, {1}},
      {"x to the power of 2 at 0", [](const Tensor& x) { return pow(x, 2); }, {0}, {0}, {0}},
      {"std of one element", [](const Tensor& x) { return std_dev(x, {}, 0); }, {4}, {0}, {0}},
      {"cross_entropy of no targets",
       [](const Tensor& x) {
         return cross_entropy(reshape(x, {1, 2}), index_tensor({-100}));
       },
       {3, 4},
       {0},
       {0, 0}},
      {"triplets at one place",
       [](const Tensor& x) { return triplet_margin_loss(x, x, x, {.margin = 1, .eps = 0}); },
       {1, 2},
       {1},
       {0, 0}},
      {"log_sigmoid at infinities", [](const Tensor& x) { return log_sigmoid(x); }, {-800, inf}, {-800, 0}, {1, 0}},
      {"softmax of nothing", [](const Tensor& x) { return softmax(x); }, {-inf, -inf}, {0, 0}, {0, 0}},
      {"log_softmax with one -inf",
       [](const Tensor& x) { return index_select(log_softmax(x), 0, index_tensor({1})); },
       {-inf, 2},
       {0},
       {0, 0}},
      {"where does not see the other branch",
       [](const Tensor& x) { return where(gt(x, 0), log(where(gt(x, 0), x, 1)), 0); },
       {-1, 0, 2},
       {0, 0, std::log(2)},
       {0, 0, 0.5}},
      {"masked_fill hides NaN", [](const Tensor& x) { return masked_fill(x, ne(x, x), 0); }, {nan, 2}, {0, 2}, {0, 1}},
      {"nansum", [](const Tensor& x) { return nansum(x); }, {nan, 2, 3}, {5}, {0, 1, 1}},
      {"repeated indices of gather",
       [](const Tensor& x) {
         return gather(x, 0, index_tensor({1, 1, 0}));
       },
       {5, 7},
       {7, 7, 5},
       {1, 2}},
      {"repeated indices of index_add",
       [](const Tensor& x) {
         return index_add(zeros({2}, float64), 0, index_tensor({1, 1}), x);
       },
       {5, 7},
       {0, 12},
       {1, 1}},
      {"the last of repeated writes",
       [](const Tensor& x) {
         return index_put(zeros({2}, float64), {index_tensor({1, 1})}, x);
       },
       {5, 7},
       {0, 7},
       {0, 1}},
      {"a -1 index counts from the end", [](const Tensor& x) { return index(x, {-1}); }, {5, 7}, {7}, {0, 1}},
      {"sums over nothing", [](const Tensor& x) { return sum(x); }, {}, {0}, {}},
      {"dropout at 0", [](const Tensor& x) { return dropout(x, 0); }, {1, 2}, {1, 2}, {1, 1}},
      {"dropout at 1", [](const Tensor& x) { return dropout(x, 1); }, {1, inf}, {0, 0}, {0, 0}},
      {"round half to even", [](const Tensor& x) { return round(x); }, {0.5, 1.5, -0.5}, {0, 2, 0}, {0, 0, 0}},
  };
  return rows;
}

}  // namespace

TEST_CASE("edges: values and gradients are as documented, and second derivatives are no NaN") {
  for (const Edge& e : edges()) {
    CAPTURE(e.what);
    const Tensor x = tensor(e.x, {static_cast<std::int64_t>(e.x.size())}, float64).requires_grad_();
    const Tensor y = e.f(x);
    CHECK(agrees(y, e.y));
    const Tensor dx = grad({sum(y)}, {x}, {.create_graph = true, .allow_unused = true})[0];
    CHECK(agrees(dx.defined() ? dx : zeros_like(x), e.dx));
    if (!dx.defined() || !dx.requires_grad()) continue;
    const Tensor ddx = grad({sum(dx)}, {x}, {.allow_unused = true})[0];
    if (ddx.defined())
      for (double v : ddx.to_vector<double>()) CHECK_FALSE(std::isnan(v));
  }
}

TEST_CASE("edges: NaN goes through every function of one operand, in every lane of a vector") {
  using F = Tensor (*)(const Tensor&, Here);
  const std::pair<const char*, F> functions[]{{"neg", neg},
                                              {"abs", abs},
                                              {"sign", sign},
                                              {"square", square},
                                              {"sqrt", sqrt},
                                              {"rsqrt", rsqrt},
                                              {"reciprocal", reciprocal},
                                              {"exp", exp},
                                              {"exp2", exp2},
                                              {"expm1", expm1},
                                              {"log", log},
                                              {"log2", log2},
                                              {"log1p", log1p},
                                              {"sin", sin},
                                              {"cos", cos},
                                              {"tan", tan},
                                              {"tanh", tanh},
                                              {"sigmoid", sigmoid},
                                              {"log_sigmoid", log_sigmoid},
                                              {"relu", relu},
                                              {"silu", silu},
                                              {"gelu", gelu},
                                              {"gelu_tanh", gelu_tanh},
                                              {"erf", erf},
                                              {"floor", floor},
                                              {"ceil", ceil},
                                              {"round", round},
                                              {"trunc", trunc}};
  for (const auto& [name, f] : functions)
    for (DType dtype : {float32, float64})
      for (std::int64_t n = 1; n <= 33; ++n)
        for (std::int64_t at : {std::int64_t{0}, n / 2, n - 1}) {
          std::vector<double> values(static_cast<std::size_t>(n), 0.5);
          values[static_cast<std::size_t>(at)] = nan;
          const std::vector<double> y = f(tensor(values, {n}, dtype), Here{}).to_vector<double>();
          for (std::int64_t i = 0; i < n; ++i)
            if (std::isnan(y[static_cast<std::size_t>(i)]) != (i == at)) {
              const std::string which = name;  // clang 14 captures no binding
              CAPTURE(which);
              CAPTURE(n);
              CAPTURE(i);
              CHECK(false);
            }
        }
}

TEST_CASE("edges: a layer norm over one element is its bias, with no gradient for the element") {
  Generator g(1);
  const Tensor x = randn({64, 1}, float32, g).requires_grad_(), w = tensor({-2.34f}), b = tensor({0.5f});
  const Tensor dy = randn({64, 1}, float32, g);
  const Tensor y = layer_norm(x, w, b);
  CHECK(amax(abs(y.detach() - b)).item() == 0);
  CHECK(amax(abs(grad({y}, {x}, {.cotangents = {dy}})[0])).item() == 0);
}

TEST_CASE("edges: powers in a norm neither overflow nor vanish") {
  for (float size : {1e-25f, 1.f, 1e25f})
    for (double p : {-3.0, 0.5, 3.0}) {
      const Tensor x = tensor({3, 0.5, -2}).requires_grad_(),
                   y = tensor({3 * size, 0.5 * size, -2 * size}).requires_grad_();
      const Tensor a = vector_norm(x, p), b = vector_norm(y, p);
      CHECK(b.item() / a.item() == doctest::Approx(size).epsilon(1e-5));
      const Tensor dx = grad({a}, {x})[0], dy = grad({b}, {y})[0];
      CHECK(amax(abs(dx - dy)).item() < 1e-5 * amax(abs(dx)).item());
    }
  CHECK(agrees(vector_norm(tensor({1, -inf}, float64), 3), {inf}));
  CHECK(agrees(vector_norm(tensor({nan, 1}, float64), 3), {nan}));
  CHECK(agrees(vector_norm(tensor({0, 2}, float64), -1), {0}));
}

TEST_CASE("edges: the curvature of elu at 0 is 0") {
  for (double alpha : {0.5, 1.0, 2.0}) {
    const Tensor x = tensor({-1, 0, 1}, float64).requires_grad_();
    const Tensor dx = grad({sum(elu(x, alpha))}, {x}, {.create_graph = true})[0];
    CHECK(agrees(dx, {alpha * std::exp(-1), alpha, 1}));
    CHECK(agrees(grad({sum(dx)}, {x})[0], {alpha * std::exp(-1), 0, 0}));
  }
}

TEST_CASE("edges: the gradient of prelu's slope knows no positive infinity") {
  const Tensor x = tensor({inf, -2, 1}, float64), slope = tensor({0.5}, float64).requires_grad_();
  CHECK(agrees(grad({sum(where(eq(x, inf), 0, prelu(x, slope)))}, {slope})[0], {-2}));
}

TEST_CASE("edges: a negative base to the power 0 is constant, also below a derivative for the exponent") {
  const Tensor a = tensor({-2}, float64).requires_grad_(), b = tensor({0}, float64).requires_grad_();
  const Tensors first = grad({pow(a, b)}, {a, b}, {.cotangents = {tensor({1}, float64)}, .create_graph = true});
  CHECK(agrees(first[0], {0}));
  CHECK(agrees(first[1], {nan}));  // the exponents nearby have no real value
  // d/da (a^b log a) = a^b / a + b a^(b-1) log a, of which the second term is 0
  CHECK(agrees(grad({first[1]}, {a}, {.cotangents = {tensor({1}, float64)}})[0], {-0.5}));
}

TEST_CASE("edges: a masked attention row is zeros, with zero gradients, in both orders") {
  const Tensor q = randn({1, 2, 3, 4}, float64).requires_grad_();
  Tensor mask = zeros({3, 3}, boolean);
  copy_(mask, tensor({1, 1, 1, 0, 0, 1, 0, 0, 0}, {3, 3}, boolean));
  const Tensor y = scaled_dot_product_attention(q, q, q, {.attention_mask = mask}).output;
  for (double v : index(y, {ellipsis, 0, Slice{}}).to_vector<double>()) CHECK(v == 0);
  const Tensor dq = grad({sum(square(y))}, {q}, {.create_graph = true})[0];
  const Tensor ddq = grad({sum(square(dq))}, {q})[0];
  for (const Tensor& t : {dq, ddq})
    for (double v : t.to_vector<double>()) CHECK(std::isfinite(v));
}

TEST_CASE("edges: large means do not cancel the spread") {
  Generator g(1);
  for (DType dtype : {float32, float64}) {
    const double offset = 1e4, spread = dtype == float32 ? 1e-2 : 1e-3;
    const Tensor x = offset + spread * randn({4, 256}, float64, g);
    const Tensor seen = to(x, dtype), exact = to(seen, float64);  // what rounding left of it
    const Tensor centred = exact - mean(exact, {-1}, true);
    const Tensor expected = centred * rsqrt(mean(square(centred), {-1}, true) + 1e-12);
    const double tolerance = dtype == float32 ? 2e-3 : 1e-6;
    CHECK(amax(abs(to(layer_norm(seen, {}, {}, 1e-12), float64) - expected)).item() < tolerance);
    CHECK(std::abs(var(seen).item() / var(exact).item() - 1) < tolerance);
  }
}

TEST_CASE("edges: sums of ten million float32 and softmax at large logits keep their digits") {
  Generator g(2);
  const Tensor x = rand({10'000'000}, float32, g);
  CHECK(std::abs(sum(x).item() / sum(to(x, float64)).item() - 1) < 1e-6);
  for (double scale : {1.0, 1e4}) {
    const Tensor rows = sum(softmax(scale * (2 * rand({64, 1000}, float32, g) - 1)), {-1});
    for (double v : rows.to_vector<double>()) CHECK(std::abs(v - 1) < 1e-6);
  }
}

TEST_CASE("edges: indices at the ends of the integers are refused") {
  const Tensor x = zeros({3, 2});
  constexpr std::int64_t ends[]{3, -4, std::numeric_limits<std::int64_t>::max(),
                                std::numeric_limits<std::int64_t>::min()};
  for (std::int64_t i : ends) {
    CAPTURE(i);
    const std::string out = " is out of range for ";
    const Tensor at = index_tensor({i}), wide = index_tensor({i, i}, {1, 2});
    CHECK(refusal<IndexError>([&] { index(x, {i}); }).find(out) != std::string::npos);
    CHECK(refusal<IndexError>([&] { index(x, {at}); }).find(out) != std::string::npos);
    CHECK(refusal<IndexError>([&] { index_put(x, {at}, 1); }).find(out) != std::string::npos);
    CHECK(refusal<IndexError>([&] { select(x, 0, i); }).find(out) != std::string::npos);
    CHECK(refusal<IndexError>([&] { index_select(x, 0, at); }).find(out) != std::string::npos);
    CHECK(refusal<IndexError>([&] { gather(x, 0, wide); }).find(out) != std::string::npos);
    CHECK(refusal<IndexError>([&] { scatter(x, 0, wide, 1.0); }).find(out) != std::string::npos);
    CHECK(refusal<IndexError>([&] { scatter_add(x, 0, wide, ones({1, 2})); }).find(out) != std::string::npos);
    CHECK(refusal<IndexError>([&] { index_copy(x, 0, at, ones({1, 2})); }).find(out) != std::string::npos);
    CHECK(refusal<IndexError>([&] { embedding(x, at); }).find(out) != std::string::npos);
    CHECK(refusal<IndexError>([&] { one_hot(at, 3); }).find(out) != std::string::npos);
    CHECK(refusal<IndexError>([&] { cross_entropy(zeros({1, 3}), at); }).find(out) != std::string::npos);
    CHECK(refusal<IndexError>([&] { segment_sum(ones({1}), at, 3); }).find(out) != std::string::npos);
  }
}

TEST_CASE("edges: what was loaded does not change with its file") {
  const Folder folder;
  const std::string path = folder / "x.safetensors";
  save_safetensors(path, {{"x", arange(1000)}});
  const Tensor x = load_safetensors(path).tensors.at("x");
  save_safetensors(path, {{"x", zeros({1000}, int64)}});
  CHECK(same(x, arange(1000)));
}

TEST_CASE("edges: a list of one axis is a list") {
  CHECK(tensordot(ones({2, 3}), ones({2, 4}), {0}, {0}).shape() == Shape{3, 4});  // {0} is no call site
  CHECK(tensordot(ones({2, 3}), ones({3, 4}), {1}, {0}).shape() == Shape{2, 4});
}

TEST_CASE("edges: an element that is seen twice gets both gradients, from two threads too") {
  const Tensor x = ones({2, 1}, float64).requires_grad_();
  sum(expand(x, {2, 1000}) * 2).backward();
  CHECK(x.grad().to_vector<double>() == std::vector<double>{2000, 2000});
  const Tensor table = ones({4, 64}, float32).requires_grad_();
  const int before = num_threads();
  set_num_threads(4);
  sum(embedding(table, full({4096}, 1, int64))).backward();
  set_num_threads(before);
  CHECK(amax(table.grad()).item() == 4096);
  CHECK(sum(table.grad()).item() == 4096 * 64);
}

}  // namespace attune::tests
