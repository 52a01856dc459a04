// The block that every stop prints: which step, the node's call, what came and what went where.
#include <fmt/format.h>

#include <algorithm>

#include "autograd/trace/formula.h"
#include "autograd/trace/internal/terminal_session.h"
#include "autograd/trace/why.h"

namespace attune::stepping {

namespace {

std::string one_of(std::size_t k, std::size_t n) { return fmt::format("{} of {}", k, n); }

/// A line with the site at its right end, or below if there is no room.
void say_with_site(Session& s, const std::string& text, const Node& node) {
  const std::string site = site_text(node);
  const auto width = static_cast<std::size_t>(s.style.width);
  if (site.empty()) return s.say(text, 4);
  if (columns(text) + 2 + columns(site) <= width) {
    s.out << text << std::string(width - columns(text) - columns(site), ' ') << s.style.dim(site) << "\n";
    return;
  }
  s.say(text, 4);
  s.out << s.style.dim("    at " + site) << "\n";
}

std::string joined(const Shape& from, const Shape& to) {
  return from == to ? "" : ", summed from " + from.str() + " to " + to.str() + " where it was broadcast";
}

/// The k-th contribution to an output, counted from 1, that came from an input of a node.
std::size_t which_arrival(const Node& to, std::uint32_t slot, std::uint64_t from, std::size_t input, Tensor& sum) {
  std::size_t k = 0;
  if (!to.trace()) return k;
  for (const Arrival& a : to.trace()->step.arrivals) {
    if (a.slot != slot) continue;
    ++k;
    sum = a.sum;
    if (a.from == from && a.input == input) return k;
  }
  return 0;
}

/// "da = b dy = 2 * 2 = 4" where all is one number; otherwise "da = b dy = [..]".
std::string gradient_text(Session& s, std::size_t position, std::size_t input, const InputLabel& label,
                          const Tensor& sent, int width) {
  Pass& p = s.pass();
  const Node& node = p.tape()[position];
  const Trace* trace = node.trace();
  std::string head = label.rule;
  if (head.empty()) head = label.parameter.empty() ? fmt::format("d input {}", input) : "d" + label.parameter;
  const bool scalar = sent.numel() == 1 && trace->step.received.size() == 1 && trace->step.received[0].numel() == 1;
  if (scalar && trace->replay) try {
      std::string with_numbers = formula_text(p.labels, position, input, {});
      if (static_cast<int>(columns(with_numbers)) < 2 * width) return with_numbers;
    } catch (const std::exception&) {  // NOLINT(bugprone-empty-catch): then without numbers
    }
  return head + " = " + brief(sent, width - static_cast<int>(columns(head)) - 20);
}

void show_sent(Session& s, std::size_t position) {
  Pass& p = s.pass();
  const Node& node = p.tape()[position];
  const BackwardStep& step = node.trace()->step;
  const std::vector<InputLabel> labels = p.labels.inputs(position);
  bool parts = false;
  for (const InputLabel& l : labels) parts |= !l.rule.empty();
  if (const std::string rule = p.labels.rule(position); !parts && !rule.empty()) s.say("  rule  " + rule, 8);
  for (std::size_t i = 0; i < step.sent.size() && i < labels.size(); ++i) {
    const Edge& e = node.edges()[i];
    if (!e.node) continue;
    const std::size_t to = p.tape().index_of(e.node.get());
    const std::string name = p.labels.of(to) + (e.slot ? fmt::format(".{}", e.slot) : "");
    if (!step.sent[i].defined()) {
      s.say(fmt::format("  nothing to {}: the rule gives it no gradient", name), 4);
      continue;
    }
    std::string line = "  " + gradient_text(s, position, i, labels[i], step.sent[i], s.style.width);
    if (i < step.returned.size() && step.returned[i].defined())
      line += joined(step.returned[i].shape(), step.sent[i].shape());
    line += ", to " + s.style.bold(name);
    const std::size_t all = p.graph().fan_out(to, e.slot);
    Tensor sum;
    const std::size_t k = which_arrival(*e.node, e.slot, node.sequence(), i, sum);
    if (all > 1 && k > 0)
      line += " (" + one_of(k, all) + (k > 1 ? ", sum " + brief(sum, s.style.width - 24) : "") + ")";
    s.say(line, 6);
  }
}

void show_received(Session& s, std::size_t position) {
  Pass& p = s.pass();
  const Node& node = p.tape()[position];
  const BackwardStep& step = node.trace()->step;
  for (std::uint32_t slot = 0; slot < step.received.size(); ++slot) {
    const std::string dy = step.received.size() > 1 ? fmt::format("dy.{}", slot) : "dy";
    std::vector<const Arrival*> came;
    for (const Arrival& a : step.arrivals)
      if (a.slot == slot) came.push_back(&a);
    std::string line = "  " + dy + " = " + brief(step.received[slot], s.style.width - 26);
    if (came.empty()) {
      s.say(line + ", as nothing came", 6);
      continue;
    }
    const auto from = [&](const Arrival& a) {
      return sender_text(p, a.from == 0 ? p.tape().size() : p.graph().position(a.from));
    };
    if (came.size() == 1) {
      s.say(line + ", from " + from(*came[0]), 6);
      continue;
    }
    s.say(line + fmt::format(", the sum of {}:", came.size()), 6);
    const std::size_t most = 6;
    for (std::size_t k = 0; k < std::min(most, came.size()); ++k)
      s.say("    " + one_of(k + 1, came.size()) + "  " + brief(came[k]->value, s.style.width - 36) + " from " +
                from(*came[k]),
            8);
    if (came.size() > most) s.say(fmt::format("    ... {} more; `why` shows the largest", came.size() - most), 8);
  }
}

void show_grads(Session& s, std::size_t position) {
  Pass& p = s.pass();
  for (const GradientChange& g : p.tape()[position].trace()->step.grads) {
    const std::string name = p.labels.of(position) + (g.slot ? fmt::format(".{}", g.slot) : "");
    s.say("  " + s.style.bold(name + ".grad()") + ": " + brief(g.before, s.style.width / 3) + " -> " +
              brief(g.after, s.style.width / 2),
          6);
  }
}

void show_backward(Session& s, std::size_t position) {
  Pass& p = s.pass();
  const Node& node = p.tape()[position];
  const std::string head = fmt::format("step {} of {}  ", p.stepper.taken(), p.tape().size());
  // Small inputs with their numbers, if that is a line.
  std::string text = node_text(p, position, true);
  if (columns(head) + columns(text) > static_cast<std::size_t>(s.style.width)) text = node_text(p, position);
  const int room = s.style.width - static_cast<int>(columns(head) + columns(text));
  say_with_site(s, head + s.style.bold(text) + value_text(p, position, room > 14 ? room - 3 : s.style.width - 8), node);
  show_received(s, position);
  if (!node.is_leaf()) show_sent(s, position);
  show_grads(s, position);
  if (node.trace()->composed && p.kind != Pass::Kind::parts)
    s.say(s.style.dim(fmt::format("  made of parts: `step {}` goes into them", p.labels.of(position))), 4);
}

void show_forward(Session& s, std::size_t position) {
  Pass& p = s.pass();
  const Node& node = p.tape()[position];
  const std::string head = fmt::format("forward {} of {}  ", position + 1, p.tape().size());
  say_with_site(s, head + s.style.bold(node_text(p, position, true)) + value_text(p, position, s.style.width - 8),
                node);
  if (const std::string rule = p.labels.rule(position); !rule.empty()) s.say("  rule  " + rule, 8);
}

void show_end(Session& s) {
  Pass& p = s.pass();
  const std::size_t n = p.tape().size(), steps = p.stepper.taken();
  s.say(fmt::format("The {} over after {} steps{}.", p.kind == Pass::Kind::parts ? "parts are" : "pass is", steps,
                    steps < n ? fmt::format("; no gradient reached {} of {} nodes", n - steps, n) : ""));
  std::size_t leaves = 0;
  for (std::size_t i = 0; i < n && leaves < 9; ++i) {
    if (!p.tape()[i].is_leaf() || !p.taken(i)) continue;
    if (++leaves == 1) s.say("Its gradients:");
    s.say(leaves < 9 ? "  " + s.style.bold(p.labels.of(i)) + "  " +
                           brief(p.tape()[i].trace()->step.received[0], s.style.width / 2)
                     : "  ...",
          4);
  }
  switch (p.kind) {
    case Pass::Kind::program:
      s.say(s.style.dim("`back` and `goto` go back, `continue` lets the program go on, `quit` stops no more."));
      break;
    case Pass::Kind::parts: s.say(s.style.dim("`finish` leaves them.")); break;
    case Pass::Kind::what_if: s.say(s.style.dim("`undo` returns to the program's own pass.")); break;
  }
}

}  // namespace

std::string site_text(const Node& node) {
  const std::string inner = Labels::inner_site(node), user = node.site().line ? node.site().str() : "";
  return inner.empty() ? user : user.empty() ? inner : user + ", " + inner;
}

std::string node_text(Pass& p, std::size_t position, bool values) {
  const Node& node = p.tape()[position];
  const std::string& label = p.labels.of(position);
  if (node.is_leaf()) return label + (p.labels.named(position) ? fmt::format(" (%{})", position) : "") + " leaf";
  return label + " " + p.labels.call(position, values);
}

std::string formula_text(const Labels& labels, std::size_t position, std::size_t input, const Dims& element) {
  std::string text = formula(labels, position, input, element, Here{});
  // "da = dy = 2 = 2" says "da = dy = 2".
  const std::size_t last = text.rfind(" = ");
  if (last == std::string::npos || last == 0) return text;
  const std::string result = text.substr(last);
  if (text.substr(0, last).ends_with(result)) text.resize(last);
  return text;
}

std::string value_text(Pass& p, std::size_t position, int width) {
  const Node& node = p.tape()[position];
  const Trace* trace = node.trace();
  if (!trace || trace->outputs.empty()) return " " + node.output(0).shape.str();
  if (trace->outputs.size() > 1) return fmt::format(", {} outputs", trace->outputs.size());
  return " = " + brief(trace->outputs[0], width);
}

std::string sender_text(Pass& p, std::size_t from) {
  if (from >= p.tape().size()) return "the beginning of the pass";
  return p.labels.of(from) + " " + p.tape()[from].name();
}

GradientNow gradient_now(Pass& p, Place at) {
  GradientNow now;
  const Node& node = p.tape()[at.position];
  now.all = p.graph().fan_out(at.position, at.slot);
  if (at.position + 1 == p.tape().size() && at.slot == p.root.slot()) ++now.all;
  const Trace* trace = node.trace();
  if (!trace) return now;
  const Node* root = &p.tape()[p.tape().size() - 1];
  if (!root->trace() || trace->step.pass != root->trace()->step.pass) return now;
  if (p.undone > 0) return now;
  for (const Arrival& a : trace->step.arrivals) {
    if (a.slot != at.slot) continue;
    const std::size_t from = a.from == 0 ? p.tape().size() : p.graph().position(a.from);
    if (from < p.tape().size() && !p.taken(from)) continue;
    ++now.come;
    now.value = a.sum;
  }
  // A hook may have replaced the sum.
  if (p.taken(at.position) && at.slot < trace->step.received.size()) now.value = trace->step.received[at.slot];
  return now;
}

void show_stop(Session& s) {
  Pass& p = s.pass();
  const auto at = p.current();
  if (!at) {
    const std::size_t n = p.tape().size();
    s.say(fmt::format("The beginning of the backward pass, at {}{}: {} nodes, all computed, no step taken.",
                      node_text(p, n - 1), value_text(p, n - 1, s.style.width / 2), n));
  } else if (p.undone > 0) {
    show_forward(s, *at);
  } else {
    show_backward(s, *at);
  }
  if (p.undone > 0) {
    s.say(s.style.dim("  next  " + node_text(p, *at + 1)), 8);
  } else if (const auto next = p.next()) {
    const bool parts = p.kind != Pass::Kind::parts && p.tape()[*next].trace() && p.tape()[*next].trace()->composed;
    s.out << s.style.dim(cut("  next  " + node_text(p, *next), s.style.width - (parts ? 13 : 0)) +
                         (parts ? ", with parts" : ""))
          << "\n";
  } else if (p.failure) {
    s.say("  " + s.style.bad("the next step failed") + ": " + p.failure_text, 4);
  } else {
    show_end(s);
  }
}

}  // namespace attune::stepping
