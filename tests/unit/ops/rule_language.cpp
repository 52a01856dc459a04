// The rules of elementwise operations are arithmetic that says what the code does: each is read as tape/op.h describes,
// evaluated with the numbers of its operation, and compared with the gradient.

#include <doctest/doctest.h>

#include <map>
#include <numbers>

#include "autograd/tape/grad.h"
#include "autograd/tape/tape.h"
#include "autograd/trace/internal/parameters.h"
#include "tests/ops/elementwise.h"
#include "tests/unit/plain.h"

namespace attune::tests {
namespace {

using Numbers = std::map<std::string, double>;

double density(double x) { return std::exp(-0.5 * x * x) / std::sqrt(2 * std::numbers::pi); }

/// Reads and evaluates one rule: cases of expressions over names, some of which are defined behind them.
class Rule {
 public:
  explicit Rule(const std::string& text) {
    std::size_t at = 0;
    for (std::string* last = nullptr; at <= text.size();) {
      const std::size_t end = std::min(text.find(", ", at), text.size());
      const std::string part = text.substr(at, end - at);
      const std::size_t equals = part.find(" = ");
      if (equals != std::string::npos)
        *(last = &parts_[part.substr(0, equals)]) = part.substr(equals + 3);
      else
        *last += "," + part;  // one more case
      at = end + 2;
    }
  }

  bool has(const std::string& name) const { return parts_.contains(name); }
  double value(const std::string& name, const Numbers& given) {
    given_ = &given;
    const std::string before = std::exchange(text_, parts_.at(name));
    const std::size_t at = std::exchange(at_, 0);
    const double v = cases();
    REQUIRE(at_ == text_.size());
    text_ = before;
    at_ = at;
    return v;
  }

 private:
  void skip() {
    while (at_ < text_.size() && text_[at_] == ' ') ++at_;
  }
  bool take(const std::string& what) {
    skip();
    if (text_.compare(at_, what.size(), what) != 0) return false;
    at_ += what.size();
    return true;
  }
  bool at_name() {
    skip();
    return at_ < text_.size() && (std::isalpha(static_cast<unsigned char>(text_[at_])) || text_[at_] == '_');
  }
  std::string word() {
    std::string s;
    while (at_ < text_.size() && (std::isalnum(static_cast<unsigned char>(text_[at_])) || text_[at_] == '_'))
      s += text_[at_++];
    return s;
  }

  double cases() {
    double chosen = 0;
    do {
      const double v = sum();
      if (!take("where ") || condition()) chosen = v;
    } while (take(","));
    return chosen;
  }
  bool condition() {
    const bool negated = take("not ");
    double left = sum();
    bool holds = left != 0, compared = false;
    for (;; compared = true) {
      const std::string sign = take("<=")   ? "<="
                               : take(">=") ? ">="
                               : take("==") ? "=="
                               : take("<")  ? "<"
                               : take(">")  ? ">"
                                            : "";
      if (sign.empty()) return negated != holds;
      const double right = sum();
      const bool now = sign == "<="   ? left <= right
                       : sign == ">=" ? left >= right
                       : sign == "==" ? left == right
                       : sign == "<"  ? left < right
                                      : left > right;
      holds = now && (holds || !compared);
      left = right;
    }
  }
  double sum() {
    double v = take("-") ? -product() : product();
    for (;;) {
      if (take("+"))
        v += product();
      else if (take("-"))
        v -= product();
      else
        return v;
    }
  }
  double product() {
    double v = power();
    for (;;) {
      skip();
      if (take("*"))
        v *= power();
      else if (take("/"))
        v /= power();
      else if (at_ < text_.size() && text_.compare(at_, 5, "where") != 0 &&
               (std::isalnum(static_cast<unsigned char>(text_[at_])) || text_[at_] == '('))
        v *= power();
      else
        return v;
    }
  }
  double power() {
    const double v = atom();
    if (!take("^")) return v;
    const bool negative = take("-");
    return std::pow(v, negative ? -power() : power());
  }
  double atom() {
    skip();
    if (take("(")) {
      const double v = sum();
      REQUIRE(take(")"));
      return v;
    }
    if (!at_name()) {
      std::size_t length = 0;
      const double v = std::stod(text_.substr(at_), &length);
      at_ += length;
      return v;
    }
    const std::string name = word();
    static const std::map<std::string, double (*)(double)> functions{
        {"log", [](double x) { return std::log(x); }},
        {"exp", [](double x) { return std::exp(x); }},
        {"sqrt", [](double x) { return std::sqrt(x); }},
        {"sin", [](double x) { return std::sin(x); }},
        {"cos", [](double x) { return std::cos(x); }},
        {"tan", [](double x) { return std::tan(x); }},
        {"tanh", [](double x) { return std::tanh(x); }},
        {"abs", [](double x) { return std::abs(x); }},
        {"trunc", [](double x) { return std::trunc(x); }},
        {"erf", [](double x) { return std::erf(x); }},
        {"sigmoid", [](double x) { return 1 / (1 + std::exp(-x)); }},
        {"sign", [](double x) { return double(x > 0) - double(x < 0); }},
        {"Phi", [](double x) { return 0.5 * std::erfc(-x / std::sqrt(2)); }},
        {"phi", density}};
    if (functions.contains(name) && take("(")) {
      const double v = functions.at(name)(sum());
      REQUIRE(take(")"));
      return v;
    }
    if (given_->contains(name)) return given_->at(name);
    if (has(name)) return value(name, *given_);
    if (name == "e") return std::numbers::e;
    CAPTURE(name);
    CAPTURE(text_);
    REQUIRE(name == "pi");
    return std::numbers::pi;
  }

  std::map<std::string, std::string> parts_;
  std::string text_;
  std::size_t at_ = 0;
  const Numbers* given_ = nullptr;
};

double number(const std::string& s) { return s == "true" ? 1 : s == "false" ? 0 : std::stod(s); }

/// Compares the rule of the one operation on y's tape with the gradient; 0 if there are several, or axes are broadcast.
int compared(const Tensor& y) {
  const Tape tape = Tape::of(y);
  const Node& node = *y.node();
  std::size_t operations = 0;
  for (std::size_t i = 0; i < tape.size(); ++i) operations += !tape[i].is_leaf();
  const Trace* trace = node.trace();
  if (operations != 1 || !trace) return 0;
  const auto* names = parameters_of(node.name(), trace->inputs.size(), trace->arguments.size());
  if (!names) return 0;
  const bool own_dy = std::count(names->tensors.begin(), names->tensors.end(), "dy") > 0;
  const bool own_y = std::count(names->tensors.begin(), names->tensors.end(), "y") > 0;
  Generator g(7);
  const Tensor dy = randn(y.shape(), float64, g);
  std::vector<std::size_t> places;
  for (std::size_t k = 0; k < node.edges().size(); ++k) {
    if (trace->inputs[k].shape() != y.shape()) return 0;
    if (node.edges()[k].node) places.push_back(k);
  }
  Tensors dxs(node.edges().size());
  const_cast<Node&>(node).run({dy}, dxs);
  Rule rule(node.rule());
  for (std::int64_t i = 0; i < y.numel(); ++i) {
    const auto at = static_cast<std::size_t>(i);
    Numbers given;
    if (!own_y) given["y"] = y.to_vector<double>()[at];
    given[own_dy ? "g" : "dy"] = dy.to_vector<double>()[at];
    for (std::size_t k = 0; k < trace->inputs.size(); ++k)
      given[names->tensors[k]] = trace->inputs[k].to_vector<double>()[at];
    for (std::size_t k = 0; k < trace->arguments.size(); ++k) given[names->arguments[k]] = number(trace->arguments[k]);
    for (const std::size_t k : places) {
      const std::string part = names->tensors[k] == "y" ? "d_y" : "d" + names->tensors[k];
      const double said = rule.value(part, given);
      const double is = dxs[k].defined() ? dxs[k].to_vector<double>()[at] : 0;
      CAPTURE(node.rule());
      CAPTURE(part);
      CHECK(said == doctest::Approx(is).epsilon(1e-9));
    }
  }
  return 1;
}

}  // namespace

TEST_CASE("the rules of elementwise operations are arithmetic, and true") {
  int count = 0;
  const Tracing on;
  for (const OpRow& row : elementwise_rows())
    for (const auto& shapes : row.shapes) {
      CAPTURE(row.name);
      for (const Tensor& y : row.call(inputs_of(row, shapes)))
        if (y.requires_grad() && y.numel() > 0) count += compared(y);
    }
  CHECK(count >= 120);
  const Tensor x = leaf({-2, -0.5, 0.5, 2});
  for (const Tensor& y : {softplus(x), softplus(x, 2), softplus(x, 2, 1), clamp(x, -1, inf), clamp(x, -inf, 1),
                          clamp(x, -1, 1), maximum(x, leaf({-2, 1, 0, 3})), minimum(x, leaf({-2, 1, 0, 3})),
                          clamp_min(x, leaf({-2, 1, 0, 3})), where(gt(x, 0), x, leaf({1, 2, 3, 4}))})
    CHECK(compared(y) == 1);
}

TEST_CASE("the rules' language: what binds how") {
  const Numbers given{{"x", 3}, {"y", 2}, {"c", 0}};
  const auto value = [&](const std::string& s) { return Rule("dx = " + s).value("dx", given); };
  CHECK(value("2 x y") == 12);
  CHECK(value("x / 2 y") == 3);
  CHECK(value("-x^2") == -9);
  CHECK(value("x^-1 + 1") == doctest::Approx(4.0 / 3));
  CHECK(value("1 where x > 4, 5 where x <= 4") == 5);
  CHECK(value("1 where not c") == 1);
  CHECK(value("1 where 2 <= x < 3") == 0);
  CHECK(value("s + t, s = 2 t, t = x") == 9);
}

}  // namespace attune::tests
