// What if: values changed, the forward pass run again by the nodes' replays, and the backward pass on the new tape.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "autograd/ops/create.h"
#include "autograd/ops/elementwise.h"
#include "autograd/ops/movement.h"
#include "autograd/runtime/error.h"
#include "autograd/tape/modes.h"
#include "autograd/trace/internal/terminal_rerun.h"
#include "autograd/trace/internal/terminal_session.h"
#include "autograd/trace/why.h"

namespace attune::stepping {

namespace {

/// x with the values of a setting in it.
Tensor changed(const Tensor& x, const Setting& setting) {
  Tensor values = tensor(setting.values, {static_cast<std::int64_t>(setting.values.size())}, x.dtype());
  Indices at = indices_of(setting.slice);
  const Shape shape = [&] {
    const NoGrad off;
    return index(x.detach(), at).shape();
  }();
  const std::int64_t wanted = numel(shape), given = values.numel();
  if (given != 1 && given != wanted)
    throw Refusal(
        fmt::format("{} values for the {} elements of {}: one for all, or one each", given, wanted, shape.str()));
  if (at.empty()) at.emplace_back(ellipsis);
  return index_put(x, at, given == 1 ? reshape(values, {}) : reshape(values, shape));
}

/// The value of a leaf when it was used.
Tensor leaf_value(const Node& leaf) {
  if (const Trace* t = leaf.trace(); t && !t->outputs.empty()) return t->outputs[0];
  for (const auto& [slot, handle] : gradient_handles(leaf)) return handle.detach();
  throw Refusal("a leaf's value is not known: the forward pass did not run under Tracing");
}

/// The program's own tape, run again.
class Rerun {
 public:
  Rerun(Pass& own, const std::vector<Setting>& settings) : own_(own), settings_(settings) {}

  std::unique_ptr<Pass> run() {
    const Tracing tracing;
    const EnableGrad on;
    const std::size_t n = own_.tape().size();
    results_.resize(n);
    for (std::size_t i = 0; i < n; ++i) own_.tape()[i].is_leaf() ? leaf(i) : operation(i);
    const Tensor root = results_[n - 1].at(own_.root.slot());
    if (!root.requires_grad()) throw Refusal("with these values, the result no longer depends on anything");
    auto pass = std::make_unique<Pass>(root, own_.options, own_.here);
    pass->kind = Pass::Kind::what_if;
    pass->title = "what-if";
    pass->origin.assign(pass->tape().size(), n);
    for (std::size_t i = 0; i < n; ++i)
      for (const Tensor& y : results_[i])
        if (y.defined() && y.node())
          if (const std::size_t at = pass->tape().index_of(y.node()); at < pass->tape().size()) pass->origin[at] = i;
    pass->leaves = std::move(leaves_);
    return pass;
  }

 private:
  Tensor with_settings(Tensor x, std::size_t position) const {
    for (const Setting& s : settings_)
      if (s.position == position) x = changed(x, s);
    return x;
  }
  void leaf(std::size_t i) {
    const Node& node = own_.tape()[i];
    Tensor x = [&] {
      const NoGrad off;
      return clone(with_settings(leaf_value(node), i));
    }();
    x.requires_grad_(true, node.site());
    if (own_.labels.named(i)) name(x, own_.labels.of(i));
    leaves_.push_back(x);
    results_[i] = {x};
  }
  void operation(std::size_t i) {
    const Node& node = own_.tape()[i];
    const Trace* trace = node.trace();
    if (!trace || !trace->replay || trace->inputs.size() < node.edges().size())
      throw Refusal(
          fmt::format("{} {} cannot be run again: it was not recorded under Tracing", own_.labels.of(i), node.name()));
    Tensors inputs = trace->inputs;
    const auto positions = own_.graph().inputs(i);
    for (std::size_t k = 0; k < node.edges().size(); ++k)
      if (const Edge& e = node.edges()[k]; e.node) inputs[k] = results_[positions[k]].at(e.slot);
    const StackAgain stack(*trace);
    results_[i] = trace->replay(inputs);
    results_[i].at(0) = with_settings(results_[i].at(0), i);
    if (own_.labels.named(i) && results_[i][0].defined() && results_[i][0].node())
      name(results_[i][0], own_.labels.of(i));
  }

  Pass& own_;
  const std::vector<Setting>& settings_;
  std::vector<Tensors> results_;
  Tensors leaves_;
};

std::string value_of_root(Pass& p, int width) {
  const Trace* t = p.tape()[p.tape().size() - 1].trace();
  return brief(t && p.root.slot() < t->outputs.size() ? t->outputs[p.root.slot()] : p.root.detach(), width);
}

struct Changed {
  std::size_t position;
  double norm;
  Tensor before, after;
};

/// Runs both passes to their ends and back, and says which leaves' gradients differ.
void compare(Session& s, Pass& own, Pass& what_if) {
  const auto finish = [](Pass& p) {
    try {
      while (p.forward()) {
      }
    } catch (const Refusal&) {  // NOLINT(bugprone-empty-catch): as far as it goes
    }
  };
  const std::size_t taken = own.stepper.taken(), undone = std::exchange(own.undone, 0);
  finish(own);
  finish(what_if);
  const auto gradient = [](const Node& node) {
    const Trace* t = node.trace();
    return t && t->step.order > 0 && !t->step.received.empty() ? t->step.received[0] : Tensor();
  };
  std::vector<Changed> all;
  std::size_t same = 0;
  const NoGrad off;
  for (std::size_t i = 0; i < what_if.tape().size(); ++i) {
    const std::size_t from = what_if.origin[i];
    if (!what_if.tape()[i].is_leaf() || from >= own.tape().size()) continue;
    const Tensor before = gradient(own.tape()[from]), after = gradient(what_if.tape()[i]);
    if (!before.defined() && !after.defined()) continue;
    const double norm = before.defined() && after.defined() ? norm_of(after - before) : INFINITY;
    if (norm == 0)
      ++same;
    else
      all.push_back({i, norm, before, after});
  }
  while (own.stepper.taken() > taken && own.stepper.back()) {
  }
  own.undone = undone;
  while (what_if.stepper.back()) {
  }
  std::stable_sort(all.begin(), all.end(), [](const Changed& a, const Changed& b) { return a.norm > b.norm; });
  s.say(fmt::format("Gradients that changed: {}{}", all.size(), same ? fmt::format("; {} did not", same) : ""));
  for (std::size_t i = 0; i < std::min<std::size_t>(all.size(), 10); ++i)
    s.say(fmt::format("  {}: {} -> {}", s.style.bold(what_if.labels.of(all[i].position)),
                      brief(all[i].before, s.style.width / 3), brief(all[i].after, s.style.width / 3)),
          4);
  if (all.size() > 10) s.say(fmt::format("  ... and {} more", all.size() - 10));
}

std::string text_of(Session& s, const Setting& setting) {
  std::string values;
  for (double v : setting.values) values += (values.empty() ? "" : ", ") + number(v, DType::float64);
  return s.own_pass().labels.of(setting.position) + setting.slice + " = " + values;
}

}  // namespace

void set(Session& s, const Words& w) {
  std::string line;
  for (const std::string& word : w) line += (line.empty() ? "" : " ") + word;
  const std::size_t equals = line.find('=');
  if (equals == std::string::npos) {
    if (!line.empty()) throw Refusal("`set` takes a value behind =, as `set x[0, 1] = 2`");
    if (s.settings.empty()) return s.say("No value is changed. `set x[0, 1] = 2` changes one, `replay` runs with it.");
    for (const Setting& each : s.settings) s.say("  " + text_of(s, each), 4);
    return;
  }
  if (s.pass().kind == Pass::Kind::parts)
    throw Refusal("`finish` first: values are changed outside of an operation's parts");
  Words left = words_of(line.substr(0, equals)), right = words_of(line.substr(equals + 1));
  if (left.empty() || right.empty()) throw Refusal("`set` takes a name, = and a value, as `set x[0, 1] = 2`");
  Setting setting;
  auto [name, slice] = split_slice(left[0]);
  for (std::size_t i = 1; i < left.size(); ++i) slice += left[i];
  setting.slice = slice;
  setting.position = s.place(name).position;
  if (s.pass().kind == Pass::Kind::what_if) {
    setting.position = s.pass().origin[setting.position];
    if (setting.position >= s.own_pass().tape().size()) throw Refusal(name + " is not on the program's own tape");
  }
  for (const std::string& word : right) {
    std::string plain = word;
    std::replace_if(
        plain.begin(), plain.end(), [](char c) { return c == '[' || c == ']' || c == ','; }, ' ');
    for (const std::string& v : words_of(plain)) setting.values.push_back(parse_number(v));
  }
  if (setting.values.empty()) throw Refusal("`set` takes a value behind =, as `set x[0, 1] = 2`");
  Pass& own = s.own_pass();
  const Node& node = own.tape()[setting.position];
  const Trace* trace = node.trace();
  if (!node.is_leaf() && (!trace || trace->outputs.empty()))
    throw Refusal(name + " was not recorded under Tracing: there is no value to change");
  {
    const NoGrad off;
    changed(node.is_leaf() ? leaf_value(node) : trace->outputs[0], setting);  // refuses what does not fit
  }
  s.settings.push_back(setting);
  s.say(text_of(s, setting) +
        "; the program's own tensors stay as they are. `replay` runs the passes with it, `undo` "
        "takes it back.");
}

void replay(Session& s, const Words& w) {
  if (!w.empty()) throw Refusal("`replay` takes no argument");
  if (s.settings.empty()) throw Refusal("nothing is changed: `set x[0, 1] = 2` first");
  Pass& own = s.own_pass();
  std::unique_ptr<Pass> what_if = Rerun(own, s.settings).run();
  while (s.passes.size() > 1) s.passes.pop_back();
  const int room = s.style.width / 3;
  s.say(fmt::format("What if {}{}: {} {} -> {}", text_of(s, s.settings.back()),
                    s.settings.size() > 1 ? fmt::format(" and {} more", s.settings.size() - 1) : "",
                    own.root.numel() == 1 ? "loss" : "result", value_of_root(own, room),
                    value_of_root(*what_if, room)));
  compare(s, own, *what_if);
  s.passes.push_back(std::move(what_if));
  s.say(
      s.style.dim("Now at the beginning of this pass; `next` steps through it, `undo` returns to the program's own."));
}

void undo(Session& s, const Words& w) {
  if (!w.empty()) throw Refusal("`undo` takes no argument");
  if (s.settings.empty()) throw Refusal("there is nothing to undo: no value is changed");
  const bool inside = s.passes.size() > 1 && s.passes[1]->kind == Pass::Kind::what_if;
  const std::string last = text_of(s, s.settings.back());
  s.settings.pop_back();
  s.say("Undone: " + last);
  if (!inside) return;
  if (!s.settings.empty()) return replay(s, {});
  while (s.passes.size() > 1) s.passes.pop_back();
  s.say("Back in the program's own pass.");
  show_stop(s);
}

}  // namespace attune::stepping
