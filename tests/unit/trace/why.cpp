// Why a gradient is what it is: contributions, and who made a NaN.

#include "autograd/trace/why.h"

#include <doctest/doctest.h>

#include "autograd/tape/op.h"
#include "autograd/trace/stepper.h"
#include "tests/unit/plain.h"

namespace attune::tests {
namespace {

using Where = NanReport::Where;

/// What find_nan says of a program after its whole backward pass: the operation that made it.
struct Found {
  std::string maker, became, branch, text;
  Where where = Where::nowhere;
};

Found found(const std::function<Tensor()>& program) {
  const Tracing on;
  const Tensor loss = program();
  Stepper s(loss);
  s.finish();
  const Labels labels(s.tape());
  const Graph graph(s.tape());
  const NanReport r = find_nan(labels, graph);
  Found f;
  f.where = r.where;
  if (r.where != Where::nowhere) f.maker = s.tape()[r.node].name();
  if (r.became) f.became = s.tape()[*r.became].name();
  if (r.branch) f.branch = s.tape()[*r.branch].name();
  for (const std::string& line : r.lines) f.text += line + "\n";
  return f;
}

Tensor x_of(std::initializer_list<double> v) { return name(leaf(v), "x"); }

Tensor nan_rule(const Tensor& x, Here here = Here::current()) {
  const Op op{"nan_rule", here};
  return op.record(clone(x.detach()), of<nan_rule>(x), "dx = wrong",
                   [](const Tensor& dy) { return dy * not_a_number; });
}

struct Planted {
  const char* what;
  std::function<Tensor()> program;
  const char* maker;
  Where where;
  const char* says = "";
};

std::vector<Planted> planted_forward() {
  return {
      {"log of a negative number",
       [] {
         return sum(3 * log(x_of({1, -1})));
       },
       "log", Where::forward},
      {"sqrt of a negative number",
       [] {
         return sum(exp(sqrt(x_of({4, -4}))));
       },
       "sqrt", Where::forward},
      {"log of zero, as the loss itself",
       [] {
         return sum(log(x_of({1, 0})));
       },
       "log", Where::forward, "infinity"},
      {"exp overflows, and inf / inf follows",
       [] {
         const Tensor e = exp(x_of({1000, 1}));
         return sum(e / sum(e));
       },
       "exp", Where::forward, "made NaN of that"},
      {"inf - inf",
       [] {
         const Tensor big = x_of({1e200}) * 1e200;
         return sum(big - 2 * big);
       },
       "mul", Where::forward},
      {"division by zero, and 0 * inf",
       [] {
         const Tensor x = x_of({0, 1});
         return sum(x * (1 / x));
       },
       "div", Where::forward},
      {"a leaf that holds a NaN",
       [] {
         return sum(exp(x_of({1, not_a_number})));
       },
       "leaf", Where::forward, "the program put it there"},
      {"a leaf that holds an infinity",
       [] {
         const Tensor x = x_of({1, inf});
         return sum(x - x);
       },
       "leaf", Where::forward},
      {"a constant that holds a NaN",
       [] {
         return sum(x_of({1, 2}) * tensor({1, not_a_number}, float64));
       },
       "mul", Where::forward, "a constant among its inputs"},
      {"pow of a negative base",
       [] {
         return sum(pow(x_of({-2, 2}), tensor({0.5, 0.5}, float64)));
       },
       "pow", Where::forward},
      {"a mask of -inf is not to blame for another's NaN",
       [] {
         const Tensor x = x_of({1, 2});
         const Tensor masked = softmax(masked_fill(x, tensor({0, 1}, int64) == 1, -inf), -1);
         return sum(masked * log(x - 3));
       },
       "log", Where::forward},
      {"an unselected branch with a NaN of its own",
       [] {
         const Tensor x = x_of({-1, 4});
         return sum(where(gt(x, 0), sqrt(x), 0));
       },
       "sqrt", Where::forward, "does not select it"},
      {"log1p below -1", [] { return sum(log1p(x_of({-2}))); }, "log1p", Where::forward},
  };
}

std::vector<Planted> planted_backward() {
  return {
      {"sqrt at zero",
       [] {
         return sum(sqrt(x_of({0, 1})));
       },
       "sqrt", Where::backward, "finite gradients"},
      {"the unselected branch of where: 0 * inf",
       [] {
         const Tensor x = x_of({0, 1});
         return sum(3 * where(gt(x, 0), sqrt(x), 0));
       },
       "sqrt", Where::backward, "where(c, sqrt(where(c, x, 1)), 0)"},
      {"the unselected branch of where, log",
       [] {
         const Tensor x = x_of({0, 1});
         return sum(where(gt(x, 0), log(x), 0));
       },
       "log", Where::backward, "0 * inf = NaN"},
      {"the unselected branch behind another operation",
       [] {
         const Tensor x = x_of({0, 1});
         return sum(where(gt(x, 0), 2 * sqrt(x) + 1, 0));
       },
       "sqrt", Where::backward, "where"},
      {"a rule that returns NaN",
       [] {
         return sum(nan_rule(exp(x_of({1, 2}))));
       },
       "nan_rule", Where::backward},
      {"pow at zero with a fractional exponent",
       [] {
         return sum(pow(x_of({0, 1}), 0.5));
       },
       "pow", Where::backward},
      {"rsqrt's gradient overflows", [] { return sum(reciprocal(x_of({1e-200}))); }, "reciprocal", Where::backward},
      {"a hook",
       [] {
         Tensor y = exp(x_of({1}));
         y.register_hook([](const Tensor& g) { return g * not_a_number; });
         return sum(y);
       },
       "exp", Where::backward, "hook"},
      {"the sum of two gradients overflows",
       [] {
         const Tensor y = x_of({1}) * 1;
         return sum(y * 1.5e308) * 1 + sum(y * 1.5e308 - y * 1.4e308) * 1;
       },
       "mul", Where::backward, "sum"},
      {"grad() held a NaN from before",
       [] {
         Tensor x = x_of({1});
         x.set_grad(tensor({not_a_number}, float64));
         static Tensor alive;
         alive = x;  // whose handle must live to keep its gradient
         return sum(x * 2);
       },
       "leaf", Where::backward, "already held NaN"},
  };
}

}  // namespace

TEST_CASE("why nan: names who made it in every planted case") {
  std::size_t cases = 0;
  for (const auto& group : {planted_forward(), planted_backward()})
    for (const Planted& p : group) {
      INFO(p.what);
      const Found f = found(p.program);
      INFO(f.text);
      CHECK(f.maker == p.maker);
      CHECK((f.where == p.where));
      CHECK(f.text.find(p.says) != std::string::npos);
      ++cases;
    }
  CHECK(cases >= 20);
}

TEST_CASE("why nan: names the branch that does not select, and who made NaN of an infinity") {
  const Found branch = found([] {
    const Tensor x = x_of({0, 1});
    return sum(where(gt(x, 0), sqrt(x), 0));
  });
  CHECK(branch.branch == "where");
  const Found became = found([] {
    const Tensor e = exp(x_of({1000, 1}));
    return sum(e / sum(e));
  });
  CHECK(became.became == "div");
}

TEST_CASE("why nan: says nothing where all is finite, masks of -inf included") {
  const Found fine = found([] {
    const Tensor x = x_of({1, 2});
    return sum(square(softmax(masked_fill(x, tensor({0, 1}, int64) == 1, -inf), -1)));
  });
  CHECK((fine.where == Where::nowhere));
  CHECK(fine.text.empty());
}

TEST_CASE("why: contributions, the largest first, with their shares") {
  const Tensor x = leaf({3, 4});
  const Tensor twice = sum(x * 2), more = sum(x * -10), once = sum(x);
  const Tensor loss = twice + more + once;
  Stepper s(loss);
  s.finish();
  const Graph graph(s.tape());
  const auto all = contributions(s.tape(), graph, s.tape().index_of(x.node()));
  REQUIRE(all.size() == 3);
  CHECK(values(all[0].value) == Values{-10, -10});
  CHECK(all[0].share == doctest::Approx(10.0 / 13));
  CHECK(std::string(s.tape()[all[0].from].name()) == "mul");
  CHECK(std::string(s.tape()[all[2].from].name()) == "sum");
  CHECK(values(all[2].value) == Values{1, 1});
  CHECK(all[2].arrival == 0);
  const auto root = contributions(s.tape(), graph, s.tape().size() - 1);
  REQUIRE(root.size() == 1);
  CHECK(root[0].from == s.tape().size());
}

TEST_CASE("why: beside a NaN there are no shares") {
  const Tensor x = leaf({0, 4});
  Stepper s(sum(sqrt(x) * 0 + x * 3));
  s.finish();
  const auto all = contributions(s.tape(), Graph(s.tape()), s.tape().index_of(x.node()));
  REQUIRE(all.size() == 2);
  CHECK(std::isnan(all[0].norm));
  CHECK(std::isnan(all[0].share));
  CHECK(std::isnan(all[1].share));
}

TEST_CASE("why: norms without overflow or underflow") {
  CHECK(norm_of(tensor({3.0, 4.0})) == 5);
  CHECK(norm_of(tensor({3e200, 4e200}, float64)) == doctest::Approx(5e200));
  CHECK(norm_of(tensor({3e-200, 4e-200}, float64)) == doctest::Approx(5e-200));
  CHECK(norm_of(zeros({0})) == 0);
  CHECK(std::isnan(norm_of(tensor({1.0, not_a_number}))));
  CHECK(std::isinf(norm_of(tensor({1.0, -inf}))));
}

TEST_CASE("graph: users, fan-out and the nodes between two") {
  const Tensor x = leaf({1, 2}), w = leaf({1, 2});
  const Tensor a = exp(x), b = a * a, c = sum(b + w);
  const Tape tape = Tape::of(c);
  const Graph graph(tape);
  const auto at = [&](const Tensor& t) { return tape.index_of(t.node()); };
  CHECK(graph.fan_out(at(a), 0) == 2);
  CHECK(graph.fan_out(at(c), 0) == 0);
  CHECK(graph.users(at(x)).size() == 1);
  CHECK(graph.users(at(x))[0].user == at(a));
  CHECK(graph.between(at(x), at(b)) == std::vector<std::size_t>{at(x), at(a), at(b)});
  CHECK(graph.between(at(x), at(c)).size() == 5);
  CHECK(graph.between(at(w), at(b)).empty());
  CHECK(graph.between(at(b), at(x)).empty());
  CHECK(graph.position(a.node()->sequence()) == at(a));
}

}  // namespace attune::tests
