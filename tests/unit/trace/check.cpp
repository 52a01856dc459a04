// A node's rule beside finite differences: wrong ones are caught, right ones pass.

#include "autograd/trace/check.h"

#include <doctest/doctest.h>

#include "autograd/tape/op.h"
#include "tests/ops/all.h"
#include "tests/unit/plain.h"

namespace attune::tests {
namespace {

using Verdict = NodeCheck::Verdict;

/// What is wrong with the rule of the next operation.
struct Fault {
  const char* name;
  std::function<Tensor(const Tensor& dx, const Tensor& x, const Tensor& dy)> spoil;
};
const Fault* fault = nullptr;

Tensor spoiled(const Tensor& dx, const Tensor& x, const Tensor& dy) { return fault ? fault->spoil(dx, x, dy) : dx; }

Tensor changed_at(const Tensor& dx, std::int64_t place, double by) {
  std::vector<double> one(static_cast<std::size_t>(dx.numel()), 1.0);
  one[static_cast<std::size_t>(place)] = by;
  return dx * tensor(one, dx.shape(), dx.dtype());
}

const std::vector<Fault>& faults() {
  static const std::vector<Fault> all{
      {"twice", [](const Tensor& dx, const Tensor&, const Tensor&) { return 2 * dx; }},
      {"the sign", [](const Tensor& dx, const Tensor&, const Tensor&) { return -dx; }},
      {"a thousandth too much", [](const Tensor& dx, const Tensor&, const Tensor&) { return 1.001 * dx; }},
      {"nothing", [](const Tensor&, const Tensor& x, const Tensor&) { return zeros_like(x); }},
      {"dy handed on", [](const Tensor& dx, const Tensor&,
                          const Tensor& dy) { return dy.shape() == dx.shape() ? clone(dy) : dx * dx; }},
      {"transposed", [](const Tensor& dx, const Tensor&, const Tensor&) { return clone(transpose(dx, 0, 1)); }},
      {"flipped", [](const Tensor& dx, const Tensor&, const Tensor&) { return flip(dx, {-1}); }},
      {"one element left out", [](const Tensor& dx, const Tensor&, const Tensor&) { return changed_at(dx, 4, 0); }},
      {"one element a thousandth off",
       [](const Tensor& dx, const Tensor&, const Tensor&) { return changed_at(dx, 2, 0.999); }},
      {"a term too much", [](const Tensor& dx, const Tensor& x, const Tensor&) { return dx + 0.01 * x; }},
      {"a term missing", [](const Tensor& dx, const Tensor&, const Tensor&) { return dx - mean(dx); }},
      {"NaN in one place",
       [](const Tensor& dx, const Tensor&, const Tensor&) { return changed_at(dx, 1, not_a_number); }},
  };
  return all;
}

// Operations with rules that faults spoil. Inputs are [3, 3].

#define SPOILED_OPERATION(NAME, VALUE, RULE)                                        \
  Tensor NAME(const Tensor& x, Here here = Here::current()) {                       \
    const Op op{#NAME, here};                                                       \
    Tensor y = [&] {                                                                \
      const NoGrad off;                                                             \
      return clone(VALUE);                                                          \
    }();                                                                            \
    return op.record(y, of<NAME>(x), "dx = ...", [x = Saved(x)](const Tensor& dy) { \
      const Tensor& X = x.get();                                                    \
      return spoiled(RULE, X, dy);                                                  \
    });                                                                             \
  }

SPOILED_OPERATION(my_square, x* x, 2 * X * dy)
SPOILED_OPERATION(my_tanh, tanh(x), (1 - square(tanh(X))) * dy)
SPOILED_OPERATION(my_exp, exp(x), exp(X) * dy)
SPOILED_OPERATION(my_sum, sum(x, {0}), expand(dy, X.shape()) * 1)
SPOILED_OPERATION(my_softmax, softmax(x, -1), softmax(X, -1) * (dy - sum(dy * softmax(X, -1), {-1}, true)))
SPOILED_OPERATION(my_product, matmul(x, x), matmul(dy, transpose(X, 0, 1)) + matmul(transpose(X, 0, 1), dy))
SPOILED_OPERATION(my_centred, x - mean(x, {-1}, true), dy - mean(dy, {-1}, true))
SPOILED_OPERATION(my_reciprocal, 1 / (x + 5), -dy / square(X + 5))
SPOILED_OPERATION(my_sigmoid, sigmoid(x), sigmoid(X) * (1 - sigmoid(X)) * dy)
SPOILED_OPERATION(my_cumulated, cumsum(x, -1), flip(cumsum(flip(dy, {-1}), -1), {-1}))

#undef SPOILED_OPERATION

using Function1 = Tensor (*)(const Tensor&, Here);
const std::vector<Function1>& spoiled_operations() {
  static const std::vector<Function1> all{my_square,  my_tanh,    my_exp,        my_sum,     my_softmax,
                                          my_product, my_centred, my_reciprocal, my_sigmoid, my_cumulated};
  return all;
}

Tensor input(DType dtype = float64) {
  return to(tensor({0.3, -0.7, 1.1, -1.3, 0.9, 0.2, -0.4, 1.7, -0.8}, {3, 3}, float64), dtype).requires_grad_();
}

NodeCheck checked(const Tensor& y, const NodeCheckOptions& options = {}) { return check_node(*y.node(), options); }

/// In one element of many.
Tensor far_off(const Tensor& x, Here here = Here::current()) {
  const Op op{"far_off", here};
  return op.record(clone(square(x.detach())), of<far_off>(x), "dx = 2 x dy", [x = Saved(x)](const Tensor& dy) {
    return changed_at(2 * x.get() * dy, x.get().numel() * 3 / 4, 1.5);
  });
}

Tensor float32_only(const Tensor& x, Here here = Here::current()) {
  const Op op{"float32_only", here};
  op.check_dtype(x, float32);
  return op.record(clone(exp(x.detach())), of<float32_only>(x), "dx = y dy",
                   [](const Tensor& dy, const Tensor& y) { return spoiled(y * dy, y, dy); });
}

}  // namespace

TEST_CASE("check: catches every planted wrong rule, and passes the rules as they are") {
  const Tracing on;
  int planted = 0;
  for (Function1 operation : spoiled_operations())
    for (DType dtype : {float64, float32}) {
      fault = nullptr;
      const Tensor right = operation(input(dtype), Here::current());
      INFO(right.node()->name(), " ", name_of(dtype));
      CHECK(to_string(checked(right)).starts_with("right: 9 elements"));
      for (const Fault& f : faults()) {
        // What happens to spoil nothing is no fault: a sum's gradient is the same flipped.
        const Tensor dy = tensor({0.5, -1, 2, 0.7, 1.3, -0.2, 0.9, -1.1, 0.4}, {3, 3}, float64);
        const Tensor y = operation(input(), Here::current());
        const Tensor cotangent = y.rank() == 2 ? dy : tensor({0.5, -1, 2}, float64);
        fault = nullptr;
        const Tensor good =
            gradient([&](const Tensor& x) { return operation(x, Here::current()); }, input(), cotangent);
        fault = &f;
        const Tensor bad = gradient([&](const Tensor& x) { return operation(x, Here::current()); }, input(), cotangent);
        if (close(bad, Plain(good), 1e-5)) continue;
        INFO(f.name);
        const NodeCheck c = checked(operation(input(dtype), Here::current()));
        INFO(to_string(c));
        CHECK((c.verdict == Verdict::wrong));
        ++planted;
      }
      fault = nullptr;
    }
  CHECK(planted >= 200);  // 100 and more, each in two dtypes
}

TEST_CASE("check: names the element and both values") {
  const Tracing on;
  static const Fault one{"", [](const Tensor& dx, const Tensor&, const Tensor&) { return changed_at(dx, 5, 3); }};
  fault = &one;
  const NodeCheck c = checked(my_square(input()));
  fault = nullptr;
  REQUIRE((c.verdict == Verdict::wrong));
  CHECK(c.input == 0);
  CHECK(c.element == Dims{1, 2});
  CHECK(c.rule == doctest::Approx(3 * c.difference).epsilon(1e-5));
  CHECK(to_string(c, {"x"}).starts_with("WRONG: the gradient of x[1, 2]: the rule gives "));
}

TEST_CASE("check: finds one wrong element among very many by random directions") {
  const Tracing on;
  const NodeCheck c = checked(far_off(randn({200, 100}, float64).requires_grad_()));
  REQUIRE((c.verdict == Verdict::wrong));
  CHECK(c.element == Dims{150, 0});
  const NodeCheck fine = checked(square(randn({200, 100}).requires_grad_()));
  CHECK((fine.verdict == Verdict::right));
  CHECK(fine.directions == 2);
}

TEST_CASE("check: kinks, jumps and ends of domains are told from wrong rules") {
  const Tracing on;
  const auto verdict = [](const Tensor& y, std::int64_t kinks) {
    const NodeCheck c = checked(y);
    INFO(to_string(c));
    CHECK((c.verdict == Verdict::right));
    CHECK(c.kinks == kinks);
  };
  const Tensor x = leaf({-1, 0, 2});
  verdict(relu(x), 1);
  verdict(abs(x), 0);  // its 0 there is what central differences give, too
  verdict(round(leaf({0.5, 0.2, 1.7})), 1);
  verdict(sqrt(leaf({0, 4})), 1);
  verdict(maximum(leaf({1, 2, 3}), leaf({1, 1, 5})), 0);  // likewise, a half each
  verdict(floor(leaf({1, 2.5})), 1);
  verdict(clamp(leaf({-1, 0.2, 1}), -1, 1), 2);
  verdict(exp(leaf({0, 1})), 0);
  const std::string text = to_string(checked(relu(x)), {"x"});
  INFO(text);
  CHECK(text.find("x[1] = 0: slope 0 on the left, 1 on the right") != std::string::npos);
}

TEST_CASE("check: random operations draw the same numbers, surrogates are not compared, leaves have no rule") {
  const Tracing on;
  CHECK((checked(dropout(randn({50}, float64).requires_grad_(), 0.5)).verdict == Verdict::right));
  CHECK((checked(gradient_reversal(leaf({1}), 2)).verdict == Verdict::surrogate));
  CHECK(checked(leaf({1})).why == "a leaf has no rule");
  CHECK((checked(exp(zeros({0}).requires_grad_())).verdict == Verdict::not_checked));
}

TEST_CASE("check: what runs in float32 alone is checked in float32") {
  const Tracing on;
  const Tensor x = input(float32);
  const NodeCheck c = checked(float32_only(x));
  INFO(to_string(c));
  CHECK((c.verdict == Verdict::right));
  CHECK(c.why == "in float32, to two digits");
  fault = &faults()[0];
  CHECK((checked(float32_only(x)).verdict == Verdict::wrong));
  fault = nullptr;
}

TEST_CASE("check: an untraced node says that it cannot be run again") {
  const Tensor y = exp(leaf({1}));
  CHECK(checked(y).why == "it was not recorded under Tracing, so it cannot be run again");
}

TEST_CASE("check: leaves the program's tensors and gradients as they are") {
  const Tracing on;
  const Tensor x = input(), before = clone(x.detach());
  const Tensor y = my_tanh(x);
  checked(y);
  CHECK(same(x.detach(), before));
  CHECK_FALSE(x.grad().defined());
}

TEST_CASE("check: passes every operation's rule") {
  const Tracing on;
  std::int64_t nodes = 0, elements = 0;
  for (const OpRow& row : all_rows())
    for (const auto& shapes : row.shapes)
      for (const Tensor& y : row.call(inputs_of(row, shapes))) {
        const Tape tape = Tape::of(y);
        for (std::size_t i = 0; i < tape.size(); ++i) {
          if (tape[i].is_leaf()) continue;
          const NodeCheck c = check_node(tape[i], {.elements = 16, .seconds = 10});
          INFO(row.name, " ", tape[i].name(), ": ", to_string(c));
          CHECK((c.verdict != Verdict::wrong));
          CHECK((c.verdict != Verdict::not_checked || c.why == "it has no elements" ||
                 std::string(tape[i].name()) == "checkpoint"));
          ++nodes;
          elements += c.elements;
        }
      }
  CHECK(nodes > 1000);
  CHECK(elements > 5000);
}

TEST_CASE("check: where a value is not finite there is nothing to compare, and the rest is") {
  const Tracing on;
  const Tensor x = leaf({2, 0.5, -3, 0});
  const NodeCheck c = check_node(*log(x).node());
  CHECK((c.verdict == Verdict::right));
}

}  // namespace attune::tests
