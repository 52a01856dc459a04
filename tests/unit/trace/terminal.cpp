// The terminal stepper's commands, by scripts: what they answer, and that they leave the program alone.

#include "tests/unit/trace/terminal_scripts.h"

namespace attune::tests {

TEST_CASE("terminal: next shows what came, the rule with numbers, and what went where") {
  const std::string t = small("next\nnext\nnext\n");
  CHECK_HOLDS(t, "Backward pass 1");
  CHECK_HOLDS(t, "0/9> next\nstep 1 of 9  g sum");
  CHECK_HOLDS(t, "dy = 1, from the beginning of the pass");
  CHECK_HOLDS(t, "step 2 of 9");
  CHECK_HOLDS(t, "mul(a = d = 1, b = 1) = 1");
  CHECK_HOLDS(t, "da[0] = b dy = 1 * 1 = 1, to d (1 of 2)");
  CHECK_HOLDS(t, "step 3 of 9");
  CHECK_HOLDS(t, "to d (2 of 2, sum 2)");
  CHECK_HOLDS(t, "The commands have ended; the program goes on.");
}

TEST_CASE("terminal: the program's gradients are those of a plain pass, whatever was done in between") {
  const Small plain;
  plain.loss.backward();
  const char* scripts[] = {"quit\n",
                           "",
                           "next 3\nback 2\nquit\n",
                           "continue\ncontinue\n",
                           "goto 5\ngoto 1\nback 4\nset a = 7\nreplay\nnext 2\nquit\n",
                           "why nan\ncheck all\nundo\nfoo\nprint a [9]\n"};
  for (const char* script : scripts) {
    CAPTURE(script);
    const Small s;
    stepped(s.loss, script);
    CHECK(same(s.a.grad(), plain.a.grad()));
    CHECK(same(s.b.grad(), plain.b.grad()));
    CHECK(values(s.a) == Values{-4});
  }
}

TEST_CASE("terminal: back takes gradients away again, and goes on into the forward pass") {
  const Small s;
  const std::string t = stepped(s.loss, "c\nb 9\nb\nb 2\nn\nb 100\nb\nn 8\nquit\n");
  CHECK_HOLDS(t, "The pass is over after 9 steps.");
  CHECK_HOLDS(t, "a.grad(): none -> 4");
  CHECK_HOLDS(t, "The beginning of the backward pass, at g sum");
  CHECK_HOLDS(t, "forward 8 of 9");
  CHECK_HOLDS(t, "rule  da = b dy, db = a dy");
  CHECK_HOLDS(t, "forward 1/9> b\nThis is the beginning of the forward pass.");
  const Small again;
  std::string seen;
  std::istringstream in("c\nb 2\nprint b.grad\nb 2\nprint b.grad\nb 5\nprint b.grad\nq\n");
  std::ostringstream out;
  step_through(again.loss, {.in = &in, .out = &out, .width = 80});
  CHECK_HOLDS(out.str(), "no gradient has reached b yet: 2 contributions will come");
}

TEST_CASE("terminal: until, goto, breakpoints and watches") {
  CHECK_HOLDS(small("until d\n"), "d add");
  CHECK_HOLDS(small("until d\nuntil d\n"), "The step of d was step 4; `goto 4` goes back there.");
  CHECK_HOLDS(small("goto 3\ngoto 1\n"), "3/9> goto 1\nstep 1 of 9");
  CHECK_HOLDS(small("goto -2\n"), "forward 7 of 9");
  CHECK_HOLDS(small("goto 99\n"), "The pass has 9 steps.");
  CHECK_HOLDS(small("goto 0\n"), "This is step 0.");
  CHECK_HOLDS(small("break op=relu\nc\n"), "breakpoint 1 (op=relu): it is a relu\nstep 3 of 9");
  CHECK_HOLDS(small("break fanout\nc\n"), "breakpoint 1 (fanout): 2 contributions\nstep 4 of 9");
  CHECK_HOLDS(small("break norm > 10\nc\n"), "breakpoint 1 (norm>10): the norm is ");
  CHECK_HOLDS(small("break norm<1e-7\nc\n"), "The pass is over");
  CHECK_HOLDS(small("break terminal.cpp:1\nbreak\ndelete 1\nbreak\n"), "There are no breakpoints.");
  CHECK_HOLDS(small("watch b\nc\nc\n"), "watch 1 (b): 1 of 2 came from ");
  CHECK_HOLDS(small("watch b\nc\nc\n"), "watch 1 (b): 2 of 2 came from ");
  const int line = __LINE__ + 3;
  const Tracing on;
  const Tensor x = leaf({1, 2});
  const Tensor here = sum(exp(x));
  CHECK_HOLDS(stepped(here, "break terminal.cpp:" + std::to_string(line) + "\nc\n"), "this line\nstep 1 of 3");
  Mlp model;
  CHECK_HOLDS(stepped(mlp_loss(model), "break module=up\nc\n"), "breakpoint 1 (module=up): in up step 7 of 11");
  CHECK_HOLDS(stepped(sum(sqrt(name(leaf({0, 1}), "x"))), "break inf\nc\nbreak nan\nc\n"),
              "breakpoint 1 (inf): infinity; `why nan` says who made it step 2 of 3");
  const Tensor nan = sum(sqrt(name(leaf({0, 1}), "x")) * 0);
  CHECK_HOLDS(stepped(nan, "break nan\nc\n"), "breakpoint 1 (nan): NaN; `why nan` says who made it\nstep 3 of 4");
}

TEST_CASE("terminal: print, heat, formula, info and where") {
  Mlp model;
  const Tensor loss = mlp_loss(model);
  CHECK_HOLDS(stepped(loss, "print up.weight\n"), "up.weight, value: float32 [4, 2]\n");
  CHECK_HOLDS(stepped(loss, "print up.weight[0, 1]\n"), "up.weight, value[0, 1] = ");
  CHECK_HOLDS(stepped(loss, "c\np up.weight.grad [1:3]\n"), "up.weight, gradient[1:3]: float32 [2, 2]");
  CHECK_HOLDS(stepped(loss, "heat up.weight\n"), "in absolute value");
  CHECK_HOLDS(stepped(loss, "info %4\n"), "linear");
  CHECK_HOLDS(stepped(loss, "where\n"), "backward pass 1");
  CHECK_HOLDS(stepped(loss, "until %5\nformula\n"), "dx[0,0]");
  CHECK_HOLDS(stepped(loss, "formula %5\n"), "Its step has not been taken; after `until %5`");
  CHECK_HOLDS(small("p a\nprint %2\n"), "a, value: float64 [1]");
  CHECK_HOLDS(small("p a value [0]\n"), "a, value[0] = -4");
  CHECK_HOLDS(small("until d\nformula d a\n"), "da[0] = dy = 2");
  CHECK_HOLDS(small("p %2 input a\n"), "%2, input 0 a, b: float64 [1]");
  CHECK_HOLDS(small("p %2 saved\np %2 saved 0\n"), "saved 0");
  CHECK_HOLDS(small("p d grad\n"), "no gradient has reached d yet: 2 contributions will come; `until d` goes there");
  CHECK_HOLDS(small("n 2\np d grad\n"), "d, gradient so far, 1 of 2");
}

TEST_CASE("terminal: a field without a node is that of the node that was shown") {
  CHECK_HOLDS(small("goto -6\nprint value\n"), "%2, value: float64 [1]");
  CHECK_HOLDS(small("until d\nprint grad [0]\n"), "d, gradient[0] = 2");
  CHECK_HOLDS(small("until d\nprint grad[0]\n"), "d, gradient[0] = 2");
  CHECK_HOLDS(small("goto -6\nprint input b\n"), "%2, input 1 b, 3 = 3");
  CHECK_HOLDS(small("until d\nheat value\n"), "d, value: float64 [1]\n");
  CHECK_HOLDS(small("until d\nprint heat\n"), "in absolute value");
  CHECK_HOLDS(small("until d\nprint [0]\n"), "d, value[0] = 1");
  CHECK_HOLDS(small("print value value\n"), "one word too many");
  // A tensor of that name comes first.
  const Tracing on;
  const Tensor loss = sum(exp(name(leaf({1, 2}), "grad")));
  CHECK_HOLDS(stepped(loss, "print grad\n"), "grad, value: float64 [2]");
}

TEST_CASE("terminal: formula takes elements of inputs and of outputs, and refuses others with the shapes") {
  const Tracing on;
  const Tensor x = name(leaf({1, 2, 3}), "x"), w = name(leaf({5}), "w");
  const Tensor loss = sum(name(x * w, "h"));
  const std::string at_two = stepped(loss, "c\nformula h [2]\n");
  CHECK_HOLDS(at_two, "da[2] = b dy = 5 * 1 = 5");
  CHECK_HOLDS(at_two, "db[0] = a dy, summed where it was broadcast = 1 * 1 + 2 * 1 + 3 * 1 = 6");
  CHECK_HOLDS(stepped(loss, "c\nformula h [3]\n"), "there is no element [3]: a has the shape [3], b has the shape [1]");
  const Tensor v = name(reshape(leaf({1, 2, 3, 4, 5, 6}), {3, 2}), "v");
  const Tensor y = sum(name(matmul(reshape(x, {1, 3}), v), "m"));
  CHECK_HOLDS(stepped(y, "c\nformula m b [2, 1]\n"), "db[2,1] = a^T dy = 1 * 3 = 3");
  CHECK_HOLDS(stepped(y, "c\nformula m a [2, 1]\n"), "there is no element [2, 1]: a has the shape [1, 3]");
  CHECK_HOLDS(stepped(y, "c\nformula m [2, 1]\n"), "No element [2, 1] elsewhere: a has the shape [1, 3]");
}

TEST_CASE("terminal: answers to wrong indices name no line, least of all one of Attune's") {
  for (const char* script : {"print a [9]\n", "c\nformula d [9]\n", "c\nprint a grad [0, 0]\n"}) {
    CAPTURE(script);
    const std::string t = small(script);
    CHECK_FALSE(holds(t.substr(t.rfind("> ") + 2), "terminal_"));
  }
}

TEST_CASE("terminal: breakpoints that nothing of this pass matches say so, with the nearest that would") {
  CHECK_HOLDS(small("break op=relo\n"), "breakpoint 1: op=relo no node of this pass is so; did you mean op=relu?");
  CHECK_HOLDS(small("break op=conv2d\nbreak\n"), "no node of this pass is so\n0/9> break\n 1 op=conv2d");
  CHECK_FALSE(holds(small("break op=relu\nbreak nan\n"), "is so"));
  CHECK_HOLDS(small("break terminal_scripts.h:1\n"), "no node of this pass is so; did you mean terminal_scripts.h:2");
  CHECK_HOLDS(small("break nosuch.cpp:4\n"), "no node of this pass is so\n");
  CHECK_HOLDS(small("break terminal_scirpts.h:21\n"), "did you mean terminal_scripts.h:2");
  CHECK_HOLDS(small("break module=foo\n"), "no node of this pass is so\n");
  Mlp model;
  CHECK_HOLDS(stepped(mlp_loss(model), "break module=upp\n"), "did you mean module=up?");
  CHECK_FALSE(holds(stepped(mlp_loss(model), "break module=up\n"), "is so"));
}

TEST_CASE("terminal: contributions that are not finite have no share, and come first") {
  const Tracing on;
  const Tensor x = name(leaf({0, 4}), "x");
  const std::string t = stepped(sum(sqrt(x) * 0 + x * 3), "c\nwhy x\n");
  CHECK_HOLDS(t, "\n nan [nan, 0] norm nan");
  CHECK_HOLDS(t, "\n - [3, 3] norm 4.243");
  CHECK(t.find("norm nan") < t.find("norm 4.243"));
  CHECK_FALSE(holds(t, " %  "));
  CHECK_HOLDS(stepped(sum(sqrt(x) + x * 3), "c\nwhy x\n"), "\n inf [inf, 0.25] norm inf");
}

TEST_CASE("terminal: where shows levels with a line or a module only") {
  const Tracing on;
  const std::string t = stepped(sum(name(log(name(leaf({1, 2}), "x")), "l")), "where l\nwhere x\n");
  CHECK_HOLDS(t, "recorded by log at terminal.cpp:");
  CHECK(t.find("\n  log\n") == std::string::npos);
}

TEST_CASE("terminal: numbers are the run's own, to the last bit") {
  const Tracing on;
  const Tensor x = name(tensor({0.1, 1.0 / 3, 1e-30, 123456.789}).requires_grad_(), "x");
  const Tensor loss = sum(exp(x));
  const std::string t = stepped(loss, "c\nprint x\nprint x grad\n");
  for (const Tensor& shown : {x.detach(), static_cast<const Tensor&>(x.grad())})
    for (double v : shown.to_vector<double>()) {
      if (!std::isfinite(v)) continue;
      bool found = false;
      std::istringstream words(t);
      for (std::string word; words >> word;) {
        char* end = nullptr;
        const float read = std::strtof(word.c_str(), &end);
        found |= *end == '\0' && read == static_cast<float>(v);
      }
      CHECK(found);
    }
}

TEST_CASE("terminal: why, check, path, list and tree") {
  CHECK_HOLDS(small("c\nwhy b\n"), "The gradient of b is 16: the sum of 2 contributions");
  CHECK_HOLDS(small("c\nwhy b\n"), "75.0 %  24  norm 24");
  CHECK_HOLDS(small("why nan\n"), "There is none");
  CHECK_HOLDS(small("check all\n"), "rules agree with finite differences, 0 do not");
  CHECK_HOLDS(small("check %2\n"), "right: 1 element");
  CHECK_HOLDS(small("path a g\n"), "a to g: ");
  CHECK_HOLDS(small("path b a\n"), "No way leads from a to b");
  CHECK_HOLDS(small("n\nlist\n"), "> %8");
  CHECK_HOLDS(small("list %0 %2\n"), "... 6 after");
  CHECK_HOLDS(small("tree\n"), "No node was recorded in a module");
  Mlp model;
  const Tensor loss = mlp_loss(model);
  CHECK_HOLDS(stepped(loss, "tree\n"), "up  1 node");
  CHECK_HOLDS(stepped(loss, "tree upp\n"), "there is no module upp; did you mean up?");
}

TEST_CASE("terminal: step goes into the parts of a fused operation, and finish comes out with the same gradients") {
  Mlp model;
  const Tensor loss = mlp_loss(model);
  const std::string t =
      stepped(loss, "break op=linear\nc\nstep %4\ndelete 1\nn\nstep\nback\nfinish\nstep %4\nn 100\nn\nq\n");
  CHECK_HOLDS(t, "has not been taken");
  CHECK_HOLDS(t, "Into %4 linear, which is computed in one piece");
  CHECK_HOLDS(t, "linear 0/");
  CHECK_HOLDS(t, "What they sent, and what the operation's own rule sends:");
  CHECK((holds(t, "bit for bit the same") || holds(t, "rounding in another order")));
  CHECK_HOLDS(stepped(loss, "until %5\nstep %4\n"), "Into %4 linear");  // whose step comes next
  // On the line of `hidden = relu(up(x))` the relu is called hidden; the last of up's parts is not.
  {
    const Tracing on;
    const Tensor x = ones({1, 2});
    const Tensor hidden = relu(linear(x, ones({3, 2}).requires_grad_()));
    CHECK_HOLDS(stepped(sum(hidden), "n 3\nstep %1\nq\n"), "next result matmul(");
  }
  CHECK_HOLDS(small("step\n"), "sum has no parts to step into.");
  CHECK_HOLDS(small("step a\n"), "a is a leaf: it has no parts");
  CHECK_HOLDS(small("finish\n"), "this is not inside of one");
}

TEST_CASE("terminal: set and replay say how loss and gradients change; the program's own stay") {
  const Small s;
  const std::string t = stepped(s.loss, "n 2\nset a = 1\nset\nreplay\nn\nset b[0] = 3\nreplay\nundo\nundo\nundo\nq\n");
  CHECK_HOLDS(t, "a = 1; the program's own tensors stay");
  CHECK_HOLDS(t, "What if a = 1: loss 1 -> 121");
  CHECK_HOLDS(t, "  a: 4 -> 44\n");
  CHECK_HOLDS(t, "what-if 1/9> ");
  CHECK_HOLDS(t, "What if b[0] = 3 and 1 more: loss 1 -> 961");
  CHECK_HOLDS(t, "Undone: b[0] = 3\nWhat if a = 1: loss 1 -> 121");
  CHECK_HOLDS(t, "Back in the program's own pass.\nstep 2 of 9");
  CHECK_HOLDS(t, "there is nothing to undo");
  CHECK(values(s.a) == Values{-4});
  CHECK(values(s.a.grad()) == Values{4});
  // Of a result in between: those elements become constants, so no gradient goes through them.
  CHECK_HOLDS(small("set d = 5\nreplay\n"), "loss 1 -> 25");
}

}  // namespace attune::tests
