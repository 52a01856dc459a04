// What nodes are called, and the tape as a table.
#include "autograd/trace/labels.h"

#include <doctest/doctest.h>

#include "autograd/autograd.h"
#include "autograd/trace/internal/source.h"
#include "nn/nn.h"

using namespace attune;

namespace {

struct Mlp : nn::Module {
  nn::Linear& up = child<nn::Linear>("up", 2, 3);
  nn::Linear& down = child<nn::Linear>("down", 3, 1);
  Tensor operator()(const Tensor& input, Here here = Here::current()) const {
    const nn::Scope scope(*this, "Mlp", here);
    return scope.out(down(relu(up(scope.in(input)))));
  }
};

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

}  // namespace

TEST_CASE("trace: variables of a line of C++") {
  using Names = std::vector<std::string>;
  CHECK(assigned_variables("  Tensor d = a * b + pow(b, 3);") == Names{"d"});
  CHECK(assigned_variables("c += c + 1;  // x = 2") == Names{"c"});
  CHECK(assigned_variables("auto a = leaf(1), b = leaf(2);") == Names{"a", "b"});
  CHECK(assigned_variables("const Tensor& h = f({.scale = 2});") == Names{"h"});
  CHECK(assigned_variables("Tensor w{tensor({1, 2})};") == Names{"w"});
  CHECK(assigned_variables("for (int i = 0; i < 3; ++i) { x = x * 2; }") == Names{"x"});
  CHECK(assigned_variables("int main() { Tensor a = f({{1, 2}}); }") == Names{"a"});
  CHECK(assigned_variables("if (a == b) return f(\"x = 1\");").empty());
  CHECK(assigned_variables("return a <= b;").empty());
  CHECK(assigned_variables("const Tape tape = Tape::of(sum(y));").empty());
  CHECK(assigned_variables("double accuracy = mean(x).item();").empty());
  CHECK(assigned_variables("std::vector<Tensor> all = f(x);").empty());
  CHECK(assigned_variables("const auto& h = f(x);") == Names{"h"});
  CHECK(assigned_variables("  Tensor operator()(const Tensor& x) { return down(x); }").empty());
  CHECK(assigned_variables("Tensor twice(const Tensor& x) { return 2 * x; }").empty());
}

TEST_CASE("trace: leaves and results are called by their variables, parameters by their paths") {
  Tensor a = tensor(-4.0).requires_grad_();
  Tensor b = tensor(2.0).requires_grad_();
  Tensor d = a * b + pow(b, 3);
  const Labels labels(Tape::of(d));
  CHECK(labels.of(0) == "a");
  CHECK(labels.of(1) == "b");
  CHECK(labels.of(*d.node()) == "d");
  CHECK_FALSE(labels.named(2));
  CHECK(labels.find("d") == labels.tape().index_of(d.node()));
  CHECK(labels.find("%1") == 1);
  CHECK(labels.find("1") == 1);
  CHECK(labels.find("%99") == labels.tape().size());
  CHECK(labels.find("nobody") == labels.tape().size());

  const Mlp model;
  const Tensor y = model(randn({4, 2}));
  const Labels of_model(Tape::of(y));
  CHECK(of_model.find("up.weight") < of_model.tape().size());
  CHECK(of_model.find("down.bias") < of_model.tape().size());
}

TEST_CASE("trace: a name that is given counts, one that comes again is numbered") {
  const Tensor x = name(tensor({1, 2}).requires_grad_(), "points");
  Tensor c = x * 2;
  c = c + 1;
  name(c, "shifted");
  c = c * 3;
  const Labels labels(Tape::of(c));
  CHECK(labels.of(0) == "points");
  CHECK(labels.of(1) == "c");
  CHECK(labels.of(2) == "shifted");
  CHECK(labels.of(3) == "c#2");
  CHECK_THROWS_AS(name(Tensor(), "nothing"), ValueError);
}

TEST_CASE("trace: inputs with the operation's names, constants with their value") {
  const Tensor a = name(tensor({1, 2}).requires_grad_(), "a");
  const Tensor y = 3 * a;
  const Labels labels(Tape::of(y));
  const auto inputs = labels.inputs(1);
  REQUIRE(inputs.size() == 2);
  CHECK(inputs[0].parameter == "a");
  CHECK(inputs[0].source == "3");
  CHECK(inputs[0].rule == "");
  CHECK(inputs[1].parameter == "b");
  CHECK(inputs[1].source == "a");
  CHECK(inputs[1].rule == "db = a dy");
  CHECK(labels.rule(1) == "db = a dy");
  CHECK(labels.call(1) == "mul(a = 3, b = a)");

  const Tracing on;
  const Labels traced(Tape::of(softmax(a * 1.0, 0)));
  CHECK(traced.call(2) == "softmax(x = %1, axis = 0)");
  CHECK(traced.call(1, true) == "mul(a = [1, 2], b = 1)");
}

TEST_CASE("trace: the parts of a rule") {
  const RuleParts p = rule_parts("dx = s (1 + x (1 - s)) dy, db = b, dy of old, s = sigmoid(x), t = 2");
  CHECK(p.names == std::vector<std::string>{"x", "b"});
  CHECK(p.parts == std::vector<std::string>{"dx = s (1 + x (1 - s)) dy", "db = b, dy of old"});
  CHECK(p.definitions == "s = sigmoid(x), t = 2");
  CHECK(rule_parts("").parts.empty());
  CHECK(rule_parts("free text").parts.empty());
}

TEST_CASE("trace: a tape is a table: aligned, by module, with both lines; a long one folds") {
  const Mlp model;
  const int line = __LINE__ + 3;
  const auto text = [&](std::size_t most) {
    const Tracing on;
    return Tape::of(mean(square(model(ones({4, 2}))))).str(most);
  };
  const std::string whole = text(0);
  CHECK(contains(whole, "up:\n  %4"));
  CHECK(contains(whole, "linear(x = const [4, 2], w = up.weight, bias = up.bias)"));
  {
    const Tracing on;
    CHECK(contains(Tape::of(sum(model(ones({2, 2})))).str(), "linear(x = [[1, 1], [1, 1]], w = up.weight"));
  }
  CHECK(contains(whole, "labels.cpp:" + std::to_string(line) + " > labels.cpp:"));
  std::size_t column = std::string::npos;  // of the operations
  for (std::size_t at = 0; at < whole.size(); at = whole.find('\n', at) + 1) {
    const std::string one = whole.substr(at, whole.find('\n', at) - at);
    if (one.ends_with(':')) continue;
    for (const char* operation : {"  leaf", "  linear(", "  relu(", "  square(", "  mean("})
      if (const std::size_t found = one.find(operation); found != std::string::npos) {
        if (column == std::string::npos) column = found;
        CHECK(found == column);
      }
  }
  Tensor x = tensor(1.0).requires_grad_();
  for (int i = 0; i < 300; ++i) x = x * 1.01;
  const std::string folded = Tape::of(x).str();
  CHECK(contains(folded, "lines left out"));
  CHECK(std::count(folded.begin(), folded.end(), '\n') <= 101);
  const std::string all = Tape::of(x).str(0);
  CHECK(std::count(all.begin(), all.end(), '\n') == 301);
  CHECK(Tape().str() == "");
}

TEST_CASE("trace: labels are one line each, and no two are the same") {
  const Tensor x = name(tensor(1.0).requires_grad_(), "c#2");
  Tensor c = x * 2;
  c = c * 3;
  c = name(c * 4, "red \x1b[31m\n");
  const Labels labels(Tape::of(c));
  CHECK(labels.of(1) == "c");
  CHECK(labels.of(2) == "c#3");  // c#2 is taken
  CHECK(labels.of(3) == "red \\x1b[31m\\x0a");
  CHECK_THROWS_AS(name(x, "%0"), ValueError);
  const auto made = [](double v) { return tensor(v).requires_grad_(); };
  CHECK_FALSE(Labels(Tape::of(made(1) * 2)).named(0));
}
