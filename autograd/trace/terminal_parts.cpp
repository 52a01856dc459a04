// Commands that go into a fused operation's composed parts, and out again.
#include <fmt/format.h>

#include <cmath>

#include "autograd/ops/elementwise.h"
#include "autograd/ops/reduce.h"
#include "autograd/tape/modes.h"
#include "autograd/trace/internal/terminal_rerun.h"
#include "autograd/trace/internal/terminal_session.h"
#include "autograd/trace/why.h"

namespace attune::stepping {

StackAgain::StackAgain(const Trace& trace) : before_(Frame::top()) {
  Frame::set_top(nullptr);
  const auto path = [](const void* module) { return *static_cast<const std::string*>(module); };
  for (const CallSite& c : trace.stack) {
    // The operation's own level is here too: its call makes it again, but without a line.
    if (c.module.empty())
      frames_.push_back(std::make_unique<Frame>(c.name.c_str(), c.here, Frame::Kind::call));
    else
      frames_.push_back(std::make_unique<Frame>(c.name.c_str(), c.here, static_cast<const void*>(&c.module), +path));
  }
}

StackAgain::~StackAgain() {
  while (!frames_.empty()) frames_.pop_back();
  Frame::set_top(before_);
}

namespace {

/// The root of the parts' tape and the cotangent for it: the one output that got a gradient, or, of several, the sum of
/// each times its gradient.
std::pair<Tensor, Tensor> root_of(const Tensors& outputs, const Tensors& received) {
  std::vector<std::size_t> recorded;
  for (std::size_t i = 0; i < outputs.size() && i < received.size(); ++i)
    if (outputs[i].defined() && outputs[i].requires_grad()) recorded.push_back(i);
  if (recorded.empty()) throw Refusal("its parts record nothing to step through");
  if (recorded.size() == 1) return {outputs[recorded[0]], received[recorded[0]]};
  Tensor total;
  for (std::size_t i : recorded) {
    const Tensor part = sum(outputs[i] * received[i]);
    total = total.defined() ? total + part : part;
  }
  return {total, Tensor()};
}

void enter(Session& s, std::size_t position) {
  Pass& p = s.pass();
  const Node& node = p.tape()[position];
  const std::string name = p.labels.of(position);
  if (p.kind == Pass::Kind::parts) throw Refusal("these are parts already; `finish` leaves them");
  const Trace* trace = node.trace();
  if (node.is_leaf()) throw Refusal(name + " is a leaf: it has no parts");
  if (!trace || !trace->replay) throw Refusal(name + " was not recorded under Tracing: its parts are not known");
  if (!trace->composed)
    throw Refusal(fmt::format("{} {} has no parts: it is not made of other operations", name, node.name()));
  if (!p.taken(position))
    throw Refusal(fmt::format("the step of {} has not been taken; after `until {}` its gradient is there to go in with",
                              name, name));
  const std::vector<InputLabel> labels = p.labels.inputs(position);
  Tensors inputs = trace->inputs, leaves;
  for (std::size_t i = 0; i < inputs.size() && i < node.edges().size(); ++i) {
    if (!node.edges()[i].node || !inputs[i].defined()) continue;
    inputs[i] = inputs[i].detach().requires_grad_(true, node.site());
    attune::name(inputs[i], i < labels.size() && !labels[i].parameter.empty() ? labels[i].parameter
                            : i < labels.size()                               ? labels[i].source
                                                                              : fmt::format("input{}", i));
  }
  Tensors outputs;
  {
    const Tracing on;
    const EnableGrad grad;
    const StackAgain stack(*trace);
    outputs = trace->composed(inputs);
  }
  // The variable of the operation's line is that of a later result, not of this one.
  if (name.starts_with('%'))
    for (const Tensor& y : outputs)
      if (y.defined() && y.node() && !y.node()->is_leaf()) attune::name(y, "result");
  const auto [root, cotangent] = [&] {
    const Tracing on;
    const EnableGrad grad;
    return root_of(outputs, trace->step.received);
  }();
  auto inner = std::make_unique<Pass>(root, BackwardOptions{.gradient = cotangent, .retain_graph = true}, node.site());
  inner->kind = Pass::Kind::parts;
  inner->title = node.name();
  inner->parts_of = position;
  inner->leaves = inputs;
  for (const Tensor& x : inputs)
    inner->inputs.push_back(x.defined() && x.node() ? inner->tape().index_of(x.node()) : inner->tape().size());
  const std::size_t n = inner->tape().size();
  s.passes.push_back(std::move(inner));
  s.say(fmt::format("Into {} {}, which is computed in one piece, as its parts: {} nodes, with the gradient that it "
                    "received. `finish` leaves them.",
                    name, node.name(), n),
        2);
  s.out << s.style.dim(cut("  next  " + node_text(s.pass(), n - 1), s.style.width)) << "\n";
}

}  // namespace

void step(Session& s, const Words& w) {
  if (w.size() > 1) throw Refusal("`step` or `step NODE`");
  Pass& p = s.pass();
  const std::size_t none = p.tape().size();
  const std::size_t to = p.undone == 0 ? p.next().value_or(none) : none;
  if (!w.empty())
    if (const std::size_t asked = s.place(w[0]).position; asked != to) return enter(s, asked);
  if (to == none || p.kind == Pass::Kind::parts) return next(s, {});
  const Node& node = p.tape()[to];
  if (node.trace() && node.trace()->composed) {
    p.forward();
    for (const std::string& r : reasons_to_stop(s)) s.say(s.style.bold(r), 4);
    return enter(s, to);
  }
  next(s, {});
  if (!node.is_leaf()) s.say(s.style.dim(fmt::format("  {} has no parts to step into.", node.name())));
}

void finish(Session& s, const Words& w) {
  if (!w.empty()) throw Refusal("`finish` takes no argument");
  Pass& p = s.pass();
  if (p.kind != Pass::Kind::parts)
    throw Refusal("`finish` leaves the parts of an operation, and this is not inside of one; `continue` runs the pass");
  leave_parts(s);
}

void leave_parts(Session& s) {
  Pass& inner = s.pass();
  try {
    while (inner.forward()) {
    }
  } catch (const Refusal& e) {
    s.say(e.what());
  }
  const std::unique_ptr<Pass> parts = std::move(s.passes.back());
  s.passes.pop_back();
  Pass& p = s.pass();
  const Node& node = p.tape()[parts->parts_of];
  const BackwardStep& whole = node.trace()->step;
  const std::vector<InputLabel> labels = p.labels.inputs(parts->parts_of);
  s.say(fmt::format("Out of the parts of {} {}. What they sent, and what the operation's own rule sends:",
                    p.labels.of(parts->parts_of), node.name()),
        2);
  const NoGrad off;
  for (std::size_t i = 0; i < parts->inputs.size() && i < whole.sent.size(); ++i) {
    const std::size_t leaf = parts->inputs[i];
    if (!whole.sent[i].defined()) continue;
    const std::string name =
        i < labels.size() && !labels[i].parameter.empty() ? labels[i].parameter : fmt::format("input {}", i);
    Tensor theirs;
    if (leaf < parts->tape().size())
      if (const Trace* t = parts->tape()[leaf].trace(); t && !t->step.received.empty()) theirs = t->step.received[0];
    if (!theirs.defined() || theirs.shape() != whole.sent[i].shape()) {
      s.say(fmt::format("  d{}  nothing beside {}", name, brief(whole.sent[i], s.style.width / 2)), 4);
      continue;
    }
    const double apart = norm_of(theirs - whole.sent[i]), size = norm_of(whole.sent[i]);
    s.say(fmt::format("  d{}  {}", name, brief(whole.sent[i], s.style.width / 2)) +
              (apart == 0 ? ", bit for bit the same"
               : size > 0 ? ", apart by " + rough(apart / size) + " of the norm: rounding in another order"
                          : ", apart by " + rough(apart)),
          4);
  }
  show_stop(s);
}

}  // namespace attune::stepping
