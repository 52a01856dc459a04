// The table of commands, and help.
#include <fmt/format.h>

#include "autograd/trace/internal/terminal_session.h"

namespace attune::stepping {

namespace {

std::vector<Command> moving() {
  return {
      {"next",
       {"n"},
       "[N]",
       "take the next step, or N steps",
       "A step is one node: it receives its whole gradient dy, its rule is run, and what comes out is sent to its "
       "inputs. In the forward pass, where `back` leads, it is one operation computed. An empty line repeats it.",
       next},
      {"back",
       {"b", "prev", "previous"},
       "[N]",
       "take the last step back, or N steps",
       "Every gradient is then bit for bit what it was. At the beginning of the backward pass it goes on into the "
       "forward pass, node by node.",
       back},
      {"step",
       {"s"},
       "[NODE]",
       "as next, but into a fused operation's parts",
       "An operation that is computed in one piece, such as linear or cross_entropy, is made of others for this: their "
       "own small pass begins with the gradient that the operation received. `step NODE` goes into one whose step was "
       "taken. `finish` leaves the parts.",
       step},
      {"finish",
       {"fin"},
       "",
       "leave a fused operation's parts",
       "Says how far the parts' gradients and the operation's own are apart.",
       finish},
      {"continue",
       {"c"},
       "",
       "run to the next breakpoint or the end of the pass",
       "At the end of the pass the program goes on, to the next stop: the beginning of its next backward pass.",
       continue_},
      {"until", {"u"}, "NODE", "run to the step of a node", "Stops at breakpoints on the way.", until},
      {"goto",
       {"g", "go"},
       "N",
       "go to step N, forwards or back",
       "`goto 0` is the beginning of the backward pass, `goto -3` three nodes back into the forward pass.",
       go_to},
      {"pass",
       {},
       "[N]",
       "let this pass end; stop in the next one, or the Nth",
       "Breakpoints stop on the way, in whichever pass.",
       pass_on},
      {"break",
       {"br"},
       "[WHERE]",
       "stop where something is so; without WHERE, list",
       "op=softmax: at an operation. module=encoder.layers.0: in a module. train.cpp:42: at a line. nan, inf: where a "
       "gradient (or, going forward, a result) holds one. norm>10, norm<1e-7: where a gradient's norm is so. fanout: "
       "where several contributions sum to a gradient.",
       break_},
      {"delete", {"d"}, "N|all", "take a breakpoint or a watch away", "`break` lists their numbers.", delete_},
      {"watch",
       {"w"},
       "NODE",
       "stop whenever a gradient arrives at a node",
       "As `watch w`. Says from where, how much, and the sum so far.",
       watch},
      {"quit",
       {"q", "exit"},
       "",
       "let the program run on, without further stops",
       "The pass is finished first, so the program notices nothing.",
       quit},
  };
}

std::vector<Command> showing() {
  return {
      {"print",
       {"p"},
       "[NODE] [value|grad|input K|saved K] [slice] [heat]",
       "show a tensor",
       "A node is called by its name, by %3 or 3, and its second output by %3.1. `print w`, `print w.grad`, `print %3 "
       "input 0 [0, 1:3]`, `print %3 saved 0`. A gradient that is not whole yet says so.",
       print},
      {"heat",
       {},
       "[NODE] [value|grad|input K|saved K] [slice]",
       "show a tensor as a heatmap",
       "Cells are means where the tensor is larger than the screen.",
       heat},
      {"formula",
       {"f"},
       "[NODE [INPUT]] [element]",
       "the rule with numbers put in",
       "`formula %3 a [0, 1]`: for the gradient sent to input a, at that element. Where an input was broadcast, an "
       "element of the output will do, too.",
       formula_},
      {"why",
       {},
       "NODE|nan",
       "what a gradient is the sum of, the largest first; who made the NaN",
       "`why w` shows each contribution with its share, the rule that it came by and the line. `why nan` looks through "
       "the whole pass for who made the first NaN or infinity, not for who passed it on.",
       why},
      {"check",
       {},
       "[NODE|all]",
       "compare a rule with finite differences",
       "Runs the node again in float64 with a random dy, a little to either side of each element. Where there is no "
       "derivative, at a kink or a jump, it says so.",
       check},
      {"list", {"l"}, "[NODE | FROM TO]", "the tape around here", "> marks the node that was shown last.", list},
      {"tree",
       {},
       "[MODULE]",
       "the modules, and how many of their steps were taken",
       "Equal neighbours are one line.",
       tree},
      {"path", {}, "A B", "the nodes on the ways from A to B", "As `path w loss`.", path},
      {"info", {"i"}, "[NODE]", "all that is known of a node", "Shape, rule, inputs, users, step, gradient.", info},
      {"where",
       {"bt"},
       "[NODE]",
       "where the pass is, and who called the operation",
       "The innermost call first.",
       where_},
  };
}

std::vector<Command> asking() {
  return {
      {"set",
       {},
       "NODE[slice] = VALUE",
       "a what-if: another value, for `replay`",
       "`set x[0, 1] = 2`, or several values for several elements. The program's own tensors stay as they are. Without "
       "arguments it lists what is set.",
       set},
      {"replay",
       {},
       "",
       "run forward and backward again with what was set",
       "Says how the loss and the gradients change, and goes to the beginning of the new backward pass.",
       replay},
      {"undo",
       {},
       "",
       "take the last `set` back",
       "After the last one the program's own pass is there again, where it was.",
       undo},
      {"page",
       {},
       "[PATH]",
       "write the pass as a page for the browser",
       "One HTML file, whose name ends in .html. Without PATH attune.html, attune-2.html, ...: none is overwritten.",
       page},
      {"save",
       {},
       "[PATH]",
       "write the pass to a trace file",
       "A safetensors file, whose name ends so. Without PATH attune.safetensors, attune-2.safetensors, ...",
       save},
      {"help",
       {"h", "?"},
       "[COMMAND]",
       "this list, or more about a command",
       "Any unambiguous beginning of a command's name will do.",
       help},
  };
}

}  // namespace

const std::vector<Command>& commands() {
  static const std::vector<Command> all = [] {
    std::vector<Command> c = moving();
    for (const auto& group : {showing(), asking()}) c.insert(c.end(), group.begin(), group.end());
    return c;
  }();
  return all;
}

void help(Session& s, const Words& w) {
  if (w.size() > 1) throw Refusal("`help` or `help COMMAND`");
  if (!w.empty()) {
    const Command& c = find_command(w[0]);
    s.say(s.style.bold(fmt::format("{}{}{}", c.name, *c.arguments ? " " : "", c.arguments)) + "  " + c.summary, 4);
    if (*c.help) s.say(std::string("  ") + c.help, 2);
    std::string aliases;
    for (const char* a : c.aliases) aliases += (aliases.empty() ? "" : ", ") + std::string(a);
    if (!aliases.empty()) s.say("  Short: " + aliases, 2);
    return;
  }
  for (const Command& c : commands()) {
    const std::string alias = c.aliases.empty() ? "" : std::string(", ") + c.aliases[0];
    const std::string head = fmt::format("  {:13} ", c.name + alias);
    s.say(head + c.summary, 16);
  }
  s.say("Nodes are called by name, %3 or 3. `help COMMAND` says more; any unambiguous beginning of a name will do.");
}

}  // namespace attune::stepping
