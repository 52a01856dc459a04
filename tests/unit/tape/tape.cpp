// A tape as a value: what it records and shows.

#include <doctest/doctest.h>

#include "autograd/tape/tape.h"
#include "tests/unit/plain.h"

namespace attune::tests {

TEST_CASE("tape: records in order of execution and shows name, shape, rule and line") {
  const Tensor x = leaf({1, 2});
  const int line = __LINE__ + 1;
  const Tensor y = sum(x * x);
  const Tape tape = Tape::of(y);
  REQUIRE(tape.size() == 3);
  CHECK(tape[0].is_leaf());
  CHECK(std::string(tape[1].name()) == "mul");
  CHECK(std::string(tape[2].name()) == "sum");
  CHECK(tape[1].site().line == line);
  CHECK(tape[1].edges().size() == 2);  // x * x has two edges to one leaf
  CHECK(tape.index_of(tape[1].edges()[0].node.get()) == 0);
  CHECK(tape.index_of(tape[1].edges()[1].node.get()) == 0);
  CHECK(tape[0].sequence() < tape[1].sequence());
  CHECK(tape[1].sequence() < tape[2].sequence());
  const std::string text = tape.str();
  CHECK(text.find("mul(a = x, b = x)  [2]") != std::string::npos);
  CHECK(text.find("da = b dy, db = a dy") != std::string::npos);
  CHECK(text.find("tape.cpp:" + std::to_string(line)) != std::string::npos);
}

}  // namespace attune::tests
