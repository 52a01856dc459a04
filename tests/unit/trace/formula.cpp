// Rules as arithmetic, and with the numbers of a pass put in.
#include "autograd/trace/formula.h"

#include <doctest/doctest.h>

#include <cmath>

#include "autograd/autograd.h"
#include "autograd/trace/internal/expression.h"

using namespace attune;

namespace {

double evaluated(const char* text, const std::map<std::string, double>& values) {
  const auto e = Expression::parse(text);
  REQUIRE_MESSAGE(e, text);
  return e->evaluate(values);
}

std::string written(const char* text) {
  const std::map<std::string, std::string> numbers{{"a", "-4"}, {"b", "2"}, {"dy", "3"}, {"x", "-1"}, {"y", "8"}};
  return Expression::parse(text)->str([&](const std::string& n) { return numbers.at(n); });
}

/// The formula of a node's input, with the node's step taken.
std::string formula_of(const Tensor& loss, const Tensor& result, std::size_t input, const Dims& element = {}) {
  const Labels labels(Tape::of(loss));
  return formula(labels, labels.tape().index_of(result.node()), input, element);
}

}  // namespace

TEST_CASE("trace: the arithmetic of rules") {
  const std::map<std::string, double> v{{"a", -4}, {"b", 2}, {"x", -1}, {"y", 8}, {"dy", 3}, {"c", 1}};
  CHECK(evaluated("b dy", v) == 6);
  CHECK(evaluated("b a^(b-1) dy", v) == -24);
  CHECK(evaluated("-dy y / b", v) == -12);
  CHECK(evaluated("dy / (2 y)", v) == 3.0 / 16);
  CHECK(evaluated("-x^2", v) == -1);
  CHECK(evaluated("2/sqrt(pi) e^(-x^2) dy", v) == doctest::Approx(2 / std::sqrt(M_PI) * std::exp(-1.0) * 3));
  CHECK(evaluated("dy where x > 0", v) == 0);
  CHECK(evaluated("dy where a <= x <= b", v) == 3);
  CHECK(evaluated("dy where a > b, 2 dy where a < b", v) == 6);
  CHECK(evaluated("dy where not c", v) == 0);
  CHECK(evaluated("dy where c", v) == 3);
  for (const char* no : {"dy, spread", "y (dy - sum(y dy))", "dy put back in x's order", "", "2 +", "(a", "a)",
                         "silu'(x) dy", "x^ mean(x^ w dy)"})
    CHECK_FALSE(Expression::parse(no));
  CHECK(Expression::parse("dy b^T")->names() == std::vector<std::string>{"dy", "b", "T"});
  CHECK_FALSE(Expression::parse(std::string(100000, '(')));
  CHECK_FALSE(Expression::parse(std::string(100000, '-')));
}

TEST_CASE("trace: numbers put into a rule read as arithmetic") {
  CHECK(written("b dy") == "2 * 3");
  CHECK(written("a dy") == "-4 * 3");
  CHECK(written("dy a") == "3 * (-4)");
  CHECK(written("b a^(b-1) dy") == "2 * (-4)^(2 - 1) * 3");
  CHECK(written("-a") == "-(-4)");
  CHECK(written("dy / (b y)") == "3 / (2 * 8)");
  CHECK(written("(a + b) dy") == "(-4 + 2) * 3");
  CHECK(written("dy where x > 0") == "3 where -1 > 0");
}

TEST_CASE("trace: the formula of one element ends in the run's own number") {
  const Tracing on;
  const Tensor x = tensor({{1, 2, 3}, {-4, 5, 6}}).requires_grad_(), b = tensor({10, 20, 30}).requires_grad_();
  const Tensor p = x * b, r = relu(p), loss = sum(r);
  loss.backward();
  CHECK(formula_of(loss, p, 0, {1, 1}) == "da[1,1] = b dy = 20 * 1 = 20");
  CHECK(formula_of(loss, p, 0, {-1, 0}) == "da[1,0] = b dy = 10 * 0 = 0");
  CHECK(formula_of(loss, p, 1, {0}) == "db[0] = a dy, summed where it was broadcast = 1 * 1 + (-4 * 0) = 1");
  CHECK(formula_of(loss, r, 0, {1, 0}) == "dx[1,0] = dy where x > 0 = 1 where -40 > 0 = 0");
  CHECK_THROWS_AS(formula_of(loss, p, 0, {2, 0}), IndexError);
  CHECK_THROWS_AS(formula_of(loss, p, 0, {0}), IndexError);
  CHECK_THROWS_AS(formula_of(loss, p, 2), IndexError);
  CHECK_THROWS_AS(formula_of(loss, x, 0), ValueError);
}

TEST_CASE("trace: a rule that is no arithmetic of elements is shown by local derivatives") {
  const Tracing on;
  const Tensor a = tensor({{1, 2}, {3, 4}}).requires_grad_(), b = tensor({{5, 6}, {7, 8}}).requires_grad_();
  const Tensor y = matmul(a, b), loss = sum(y * tensor({{1, 2}, {3, 4}}));
  loss.backward();
  const std::string f = formula_of(loss, y, 0, {0, 1});
  CHECK(f.find("1 * 7 + 2 * 8 = 23") != std::string::npos);
}

TEST_CASE("trace: a formula says what is missing") {
  const Tensor x = tensor({1, 2}).requires_grad_();
  const Tensor untraced = x * x;
  sum(untraced).backward({.retain_graph = true});
  CHECK_THROWS_WITH_AS(formula_of(untraced, untraced, 0), doctest::Contains("under Tracing"), ValueError);
  const Tracing on;
  const Tensor y = x * x;
  CHECK_THROWS_WITH_AS(formula_of(y, y, 0), doctest::Contains("not been taken"), ValueError);
}

TEST_CASE("trace: a special case of a rule is called one, and arguments stand for their names") {
  const Tracing on;
  const Tensor a = tensor({0, 2}).requires_grad_(), b = tensor({0, 3}).requires_grad_();
  const Tensor p = pow(a, b), c = softplus(p, 2), loss = sum(c);
  loss.backward();
  CHECK(formula_of(loss, p, 0, {0}).find("a special case of the rule") != std::string::npos);
  CHECK(formula_of(loss, p, 0, {1}).find("special") == std::string::npos);
  CHECK(formula_of(loss, c, 0, {0}).find("sigmoid(2 * 1)") != std::string::npos);
  const Tensor m = maximum(a, b);
  const Tensor top = sum(m);
  top.backward();
  CHECK(formula_of(top, m, 0, {1}).find("where 2 > 3") != std::string::npos);
}
