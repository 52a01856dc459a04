// The terminal stepper around a program: wrong commands, errors, many passes, files, widths, long tapes.

#include <algorithm>
#include <ctime>
#include <fstream>

#include "autograd/tape/op.h"
#include "tests/unit/trace/terminal_scripts.h"

namespace attune::tests {
namespace {

Tensor fails(const Tensor& x, Here here = Here::current()) {
  const Op op{"fails", here};
  return op.record(clone(x.detach()), of<fails>(x), "dx = none",
                   [](const Tensor&) -> Tensor { throw ValueError("the rule refuses"); });
}

}  // namespace

TEST_CASE("terminal: wrong commands are answered with the nearest right one") {
  CHECK_HOLDS(small("nxet\n"), "there is no command \"nxet\"; did you mean `next`?");
  CHECK_HOLDS(small("brake nan\n"), "did you mean `break`?");
  CHECK_HOLDS(small("xyzzy\n"), "there is no command \"xyzzy\"; `help` lists them");
  CHECK_HOLDS(small("pa\n"), "\"pa\" could be pass, path or page");
  CHECK_HOLDS(small("print gg\n"), "there is no node \"gg\"; did you mean g?");
  CHECK_HOLDS(small("print %99\n"), "there is no node %99: the tape has %0 to %8");
  CHECK_HOLDS(small("print %2.1\n"), "there is no %2.1");
  CHECK_HOLDS(small("print a [3]\n"), "index");
  CHECK_HOLDS(small("print a [x]\n"), "\"x\" in [x] is no index");
  CHECK_HOLDS(small("print a [0\n"), "do not match");
  CHECK_HOLDS(small("print a vlue\n"), "did you mean value?");
  CHECK_HOLDS(small("print %2 input z\n"), "it has 0 (a), 1 (b)");
  CHECK_HOLDS(small("break wonder\n"), "no breakpoint is like \"wonder\"");
  CHECK_HOLDS(small("break norm>x\n"), "\"x\" is no number");
  CHECK_HOLDS(small("set a\n"), "`set` takes a value behind =");
  CHECK_HOLDS(small("set a = x\n"), "\"x\" is no number");
  CHECK_HOLDS(small("set a = 1 2\n"), "2 values for the 1 elements of [1]");
  CHECK_HOLDS(small("next x\n"), "the number of steps is a whole number from 1, not \"x\"");
  CHECK_HOLDS(small("replay\n"), "nothing is changed");
  CHECK_HOLDS(small("page\n"), "nobody here writes");
  CHECK_HOLDS(small("help nxt\n"), "did you mean `next`?");
  CHECK_HOLDS(small("why q\n"), "there is no node \"q\" here, where all is from which the loss was computed; `list`");
}

TEST_CASE("terminal: help names every command, and says more about each") {
  const std::string all = small("help\n");
  for (const char* name : {"next",  "back",  "step",  "finish", "continue", "until", "goto",  "pass", "break", "delete",
                           "watch", "quit",  "print", "heat",   "formula",  "why",   "check", "list", "tree",  "path",
                           "info",  "where", "set",   "replay", "undo",     "page",  "save",  "help"}) {
    CAPTURE(name);
    CHECK_HOLDS(all, std::string("\n  ") + name);
    CHECK_HOLDS(small(std::string("help ") + name + "\n"), std::string("\n") + name);
  }
}

TEST_CASE("terminal: a rule that throws ends the pass with the program's own error, and gradients as before") {
  const Tracing on;
  Tensor x = name(leaf({1}), "x");
  x.set_grad(tensor({5}, float64));
  const Tensor loss = sum(fails(x) + x);
  std::istringstream in("c\nn\nback\nwhy nan\nq\n");
  std::ostringstream out;
  CHECK(refusal<ValueError>([&] { step_through(loss, {.in = &in, .out = &out, .width = 80}); }) ==
        "fails: the rule refuses");
  CHECK_HOLDS(out.str(), "the next step failed: fails: the rule refuses at terminal_programs.cpp");
  CHECK(values(x.grad()) == Values{5});
  const Tensor twice = sum(exp(x));
  twice.backward();
  std::istringstream none;
  CHECK(refusal<GradError>([&] {
          step_through(twice, {.in = &none, .out = &out});
        }).starts_with("sum: the graph was freed by an earlier backward pass"));
}

TEST_CASE("terminal: breakpoints, quit and pass hold over the passes of a program") {
  std::istringstream in("break op=exp\npass 2\nc\nc\nc\nquit\nnever\n");
  std::ostringstream out;
  StepTerminal terminal({.in = &in, .out = &out, .width = 80});
  const Tensor x = leaf({1, 2});
  const Tracing on;
  const auto run = [&](const Tensor& y) { terminal.backward(y, {}); };
  run(sum(x * x));
  run(sum(x * x));
  CHECK_HOLDS(out.str(), "On to backward pass 3.");
  run(sum(exp(x)));
  run(sum(x));
  CHECK(terminal.done());
  CHECK_HOLDS(out.str(), "Backward pass 3");
  CHECK_HOLDS(out.str(), "breakpoint 1 (op=exp)");
  CHECK_FALSE(holds(out.str(), "never"));
  run(sum(x));
  CHECK(x.grad().defined());
}

TEST_CASE("terminal: commands from a file") {
  const std::string path = "attune_step_commands.txt";
  {
    std::ofstream file(path);
    file << "# a comment\n\nnext\nquit\n";
  }
  std::ostringstream out;
  const Small s;
  step_through(s.loss, {.commands = path, .out = &out, .width = 80});
  CHECK_HOLDS(out.str(), "0/9> next\nstep 1 of 9");
  std::remove(path.c_str());
  const std::string message = refusal<FileError>([&] { step_through(s.loss, {.commands = path, .out = &out}); });
  CHECK(message == "step: attune_step_commands.txt: cannot read the commands");
}

TEST_CASE("terminal: lines keep to the width") {
  for (int width : {40, 50, 80}) {
    Mlp model;
    const std::string t = stepped(mlp_loss(model),
                                  "n 3\nlist\nprint up.weight\nheat up.weight\nwhy nan\ntree\ninfo\nhelp\nc\nwhy "
                                  "up.weight\nhelp print\n",
                                  {.width = width});
    INFO(t);
    CHECK(longest_line(t) <= static_cast<std::size_t>(std::max(width, 58)));  // a command itself may be longer
  }
}

TEST_CASE("terminal: values that were not recorded are said to be unknown") {
  const Tensor x = name(leaf({1, 2}), "x");
  const Tensor loss = sum(exp(x));
  const std::string t = stepped(loss, "n 2\np %1\np x\ncheck %1\nformula %1\nset x = 1\nreplay\nwhy nan\nstep %1\nc\n");
  CHECK_HOLDS(t, "run the forward pass under `const Tracing on;`");
  CHECK_HOLDS(t, "x, value: float64 [2]");
  CHECK_HOLDS(t, "not checked: it was not recorded under Tracing");
  CHECK_HOLDS(t, "cannot be run again: it was not recorded under Tracing");
}

TEST_CASE("terminal: page and save call what the program gave") {
  std::string asked;
  StepOptions options;
  options.page = options.save = [&](const Tensor& root, const Stepper& pass, const std::string& path) {
    asked += path + "|";
    return "wrote " + std::to_string(pass.tape().size()) + " nodes of " + std::to_string(root.numel()) + " loss";
  };
  const std::string t = stepped(Small().loss, "page\npage x.html\nsave\nsave y\n", options);
  CHECK(asked == "|x.html||y|");
  CHECK_HOLDS(t, "wrote 9 nodes of 1 loss");
}

TEST_CASE("terminal: a tape of 10^5 nodes") {
  const Tracing on;
  const Tensor x = name(leaf({1}), "x");
  Tensor y = x;
  for (int i = 0; i < 50'000; ++i) y = y * 1.0001 + x;
  std::ostringstream out;
  struct Clocked : std::streambuf {
    std::string text;
    std::size_t at = 0;
    std::vector<double> begun;
    int_type underflow() override {
      if (at == text.size()) return traits_type::eof();
      begun.push_back(static_cast<double>(std::clock()) / CLOCKS_PER_SEC);  // others use the machine, too
      const std::size_t end = text.find('\n', at) + 1;
      setg(text.data() + at, text.data() + at, text.data() + end);
      at = end;
      return traits_type::to_int_type(*gptr());
    }
  } clocked;
  clocked.text =
      "n\nn 5\nb\nlist\nlist %500\ntree\nprint %70000\nprint nothing\nwhy x\nwhy %99990\nformula\ncheck\ninfo\nwhere\n"
      "path %10 %30\npath x %1000\nbreak op=exp\nset x = 2\nundo\ngoto 9\ngoto 0\nb 3\nn 3\nhelp\nq\n";
  std::istream in(&clocked);
  step_through(y, {.in = &in, .out = &out, .width = 80});
  double worst = 0;
  for (std::size_t i = 2; i < clocked.begun.size(); ++i)  // the first command makes the tape's index
    worst = std::max(worst, clocked.begun[i] - clocked.begun[i - 1]);
  MESSAGE("the slowest answer took ", 1e3 * worst, " ms");
  CHECK(clocked.begun.size() == static_cast<std::size_t>(std::count(clocked.text.begin(), clocked.text.end(), '\n')));
  CHECK_HOLDS(out.str(), "100001 nodes");
}

}  // namespace attune::tests
