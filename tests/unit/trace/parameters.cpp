// The names of operations' parameters, and rules that speak of each of them.

#include "autograd/trace/internal/parameters.h"

#include <doctest/doctest.h>

#include "autograd/tape/tape.h"
#include "tests/ops/all.h"
#include "tests/unit/plain.h"

namespace attune::tests {
namespace {

using Names = std::vector<std::string>;

}  // namespace

TEST_CASE("parameters: of known operations") {
  const OperationParameters* p = parameters_of("softmax", 1, 1);
  REQUIRE(p);
  CHECK(p->tensors == Names{"x"});
  CHECK(p->arguments == Names{"axis"});
  CHECK(p->defaults == Names{"-1"});
  REQUIRE(parameters_of("add", 2, 0));
  CHECK(parameters_of("add", 2, 0)->tensors == Names{"a", "b"});
  REQUIRE(parameters_of("linear", 3, 1));
  CHECK(parameters_of("linear", 3, 1)->tensors == Names{"x", "w", "bias"});
  CHECK(parameters_of("linear", 3, 1)->arguments == Names{"activation"});
  CHECK(parameters_of("softmax", 1, 1) == p);
}

TEST_CASE("parameters: overloads by their counts, lists of any length, unknown names") {
  REQUIRE(parameters_of("squeeze", 1, 1));
  REQUIRE(parameters_of("squeeze", 1, 0));
  CHECK(parameters_of("squeeze", 1, 0)->arguments.empty());
  REQUIRE(parameters_of("cat", 3, 1));
  CHECK(parameters_of("cat", 3, 1)->tensors == Names{"xs[0]", "xs[1]", "xs[2]"});
  REQUIRE(parameters_of("cat", 0, 1));
  CHECK(parameters_of("cat", 0, 1)->tensors.empty());
  CHECK(parameters_of("softmax", 2, 1) == nullptr);
  CHECK(parameters_of("softmax", 1, 2) == nullptr);
  CHECK(parameters_of("leaf", 0, 0) == nullptr);
  CHECK(parameters_of("", 0, 0) == nullptr);
}

TEST_CASE("parameters: arguments are text that says what they are") {
  const Tracing on;
  const Tensor x = ones({2, 3}).requires_grad_();
  const auto arguments = [](const Tensor& y) { return y.node()->trace()->arguments; };
  CHECK(arguments(to(x, float64)) == Names{"float64"});
  CHECK(arguments(linear(x, ones({4, 3}), {}, Activation::gelu)) == Names{"gelu"});
  CHECK(arguments(split(x, {1, 1})[0]) == Names{"[1, 1]", "0"});
  CHECK(arguments(softmax(x)) == Names{"-1"});
  CHECK(arguments(sum(x, {1}, true)) == Names{"[1]", "true"});
}

TEST_CASE("parameters: every operation of the table fits, and its rule has a part for each input with a gradient") {
  // Without a public function of their own, or run by a block that the user wrote.
  const auto has_row = [](const std::string& name) {
    const auto& all = attune::detail::signatures();
    return std::any_of(all.begin(), all.end(), [&](const attune::detail::Signature& s) { return name == s.operation; });
  };
  for (const OpRow& row : all_rows()) {
    CAPTURE(row.name);
    const Tracing on;
    for (const Tensor& y : row.call(inputs_of(row, row.shapes[0]))) {
      if (!y.requires_grad()) continue;
      const Tape tape = Tape::of(y);
      for (std::size_t i = 0; i < tape.size(); ++i) {
        const Node& node = tape[i];
        const std::string name = node.name();
        if (node.is_leaf() || !has_row(name)) continue;
        CAPTURE(name);
        REQUIRE(node.trace());
        const OperationParameters* names =
            parameters_of(name, node.trace()->inputs.size(), node.trace()->arguments.size());
        REQUIRE(names);
        CHECK(names->arguments.size() == node.trace()->arguments.size());
        const bool list = !names->tensors.empty() && names->tensors[0].back() == ']';
        for (std::size_t k = 0; k < node.edges().size(); ++k) {
          if (!node.edges()[k].node) continue;
          // A gradient's own operation has y and dy among its inputs: its rule says d_y.
          const std::string own = names->tensors[k];
          const std::string part = list ? "each dxs[i] = " : own == "y" ? "d_y = " : "d" + own + " = ";
          for (const std::string& rule : {std::string(node.rule()), node.rule_text()}) {
            const bool found = rule.starts_with(part) || rule.find(", " + part) != std::string::npos;
            CHECK_MESSAGE(found, name, ": no ", part, " in ", rule);
          }
        }
      }
    }
  }
}

}  // namespace attune::tests
