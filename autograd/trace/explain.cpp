#include "autograd/trace/explain.h"

#include <algorithm>

#include "autograd/runtime/error.h"
#include "autograd/tape/tracing.h"
#include "autograd/trace/formula.h"
#include "autograd/trace/internal/numbers.h"
#include "autograd/trace/labels.h"

namespace attune {

namespace {

/// "1 of 2, sum 2": which contribution to its target the gradient of an input is.
std::string contribution(const Labels& labels, const Node& from, std::size_t input) {
  const Edge& e = from.edges()[input];
  const Trace* t = e.node->trace();
  if (!t) return "";
  std::size_t k = 0, n = 0;
  Tensor sum;
  for (const Arrival& a : t->step.arrivals) {
    if (a.slot != e.slot) continue;
    ++n;
    sum = a.sum;
    if (a.from == from.sequence() && a.input == input) k = n;
  }
  const InputLabel in = labels.inputs(labels.tape().index_of(&from))[input];
  std::string s = ", to " + in.source;
  if (n > 1) s += " (" + std::to_string(k) + " of " + std::to_string(n) + ", sum " + value_text(sum) + ")";
  return s;
}

/// What hooks made of a gradient, if they did: "after its hook, from 3".
std::string after_hooks(const Trace& t) {
  for (const Arrival& a : t.step.arrivals)
    if (&a == &t.step.arrivals.back() && a.slot < t.step.received.size() && t.step.received[a.slot].defined() &&
        value_text(a.sum) != value_text(t.step.received[a.slot]))
      return " after its hook, from " + value_text(a.sum);
  return "";
}

std::string leaf_line(const Trace& t) {
  std::string s;
  for (const GradientChange& g : t.step.grads) {
    s += " | grad = " + value_text(g.after);
    if (g.before.defined())
      s += " = " + value_text(g.before) + " from before + " + value_text(t.step.received.at(g.slot));
  }
  if (t.step.grads.empty() && !t.step.received.empty()) s += " | grad = " + value_text(t.step.received[0]);
  s += after_hooks(t);
  if (const std::size_t n = t.step.arrivals.size(); n > 1) s += ", of " + std::to_string(n) + " contributions";
  return s;
}

/// A leaf's value as its first user on this tape had it: the leaf itself knows its latest.
Tensor value_when_used(const Tape& tape, const Node& leaf) {
  for (std::size_t i = 0; i < tape.size(); ++i)
    for (std::size_t k = 0; k < tape[i].edges().size(); ++k)
      if (const Trace* t = tape[i].trace(); tape[i].edges()[k].node.get() == &leaf && t && k < t->inputs.size())
        return t->inputs[k];
  return leaf.trace() && !leaf.trace()->outputs.empty() ? leaf.trace()->outputs[0] : Tensor();
}

std::string line_of(const Labels& labels, std::size_t i, std::uint64_t pass) {
  const Node& n = labels.tape()[i];
  const Trace& t = *n.trace();
  std::string s = "%" + std::to_string(i) + " ";
  if (n.is_leaf()) {
    const Tensor used = value_when_used(labels.tape(), n);
    s += (labels.named(i) ? labels.of(i) : "leaf") + (used.defined() ? " = " + value_text(used) : "");
    if (n.site().line) s += "  " + n.site().str();
    if (t.step.pass > pass) return s + " | a later backward pass has come by here since";
    return s + leaf_line(t);
  }
  if (labels.named(i)) s += labels.of(i) + " = ";
  s += labels.call(i, true);
  for (std::size_t o = 0; o < t.outputs.size(); ++o) s += (o ? ", " : " = ") + value_text(t.outputs[o]);
  if (n.site().line) s += "  " + n.site().str();
  if (t.step.pass > pass) return s + " | a later backward pass has come by here since";
  if (t.step.pass != pass) return s + " | no gradient reached it";
  if (t.step.order == 0) return s + " | the pass ended before its step";
  s += " | dy = ";
  for (std::size_t o = 0; o < t.step.received.size(); ++o) s += (o ? ", " : "") + value_text(t.step.received[o]);
  s += after_hooks(t);
  const std::vector<InputLabel> inputs = labels.inputs(i);
  for (std::size_t k = 0; k < inputs.size() && k < t.step.sent.size(); ++k) {
    const Tensor& dx = t.step.sent[k];
    if (!dx.defined()) continue;
    s += " | ";
    if (dx.numel() == 1 && t.outputs.size() == 1 && t.outputs[0].numel() == 1) {
      s += formula(labels, i, k);
    } else {
      const std::string& name = inputs[k].parameter;
      s += (inputs[k].rule.empty() ? "d" + (name.empty() ? "x" + std::to_string(k) : name) : inputs[k].rule) + " = " +
           value_text(dx);
    }
    s += contribution(labels, n, k);
  }
  for (const GradientChange& g : t.step.grads) s += " | grad = " + value_text(g.after);  // retain_grad()
  return s;
}

}  // namespace

std::string explain(const Tensor& loss, std::size_t most_lines, Here here) {
  if (!loss.defined() || !loss.node())
    throw GradError("explain: the tensor requires no gradient, so there is nothing to explain", here);
  const Trace* root = loss.node()->trace();
  if (root && root->step.pass != 0 && root->step.order == 0)
    throw ValueError("explain: the last backward pass from this tensor ended before its first step", here);
  if (!root || root->step.order == 0)
    throw ValueError(
        "explain: no backward pass from this tensor has been traced; let a Tracing guard live while it is "
        "computed and while backward() runs",
        here);
  const Tape tape = Tape::of(loss);
  const Labels labels(tape);
  std::vector<std::size_t> order;
  for (std::size_t i = tape.size(); i-- > 0;)
    if (const Trace* t = tape[i].trace(); t && (!tape[i].is_leaf() || t->step.pass >= root->step.pass))
      order.push_back(i);
  std::string s;
  const std::size_t half = most_lines / 2;
  for (std::size_t k = 0; k < order.size(); ++k) {
    if (most_lines != 0 && order.size() > most_lines && k == half) {
      const std::size_t left_out = order.size() - 2 * half;
      s += "... " + std::to_string(left_out) + " nodes left out\n";
      k += left_out;
    }
    s += line_of(labels, order[k], root->step.pass) + "\n";
  }
  return s;
}

}  // namespace attune
