// Commands that show a node: its tensors, its formula, where it stands.
#include <fmt/format.h>

#include <algorithm>

#include "autograd/runtime/error.h"
#include "autograd/tape/modes.h"
#include "autograd/trace/internal/terminal_session.h"

namespace attune::stepping {

namespace {

/// What print and heat are asked for.
struct Asked {
  Place place;
  std::string what, slice;  // "value", "w, input 1 of %3"
  Tensor tensor;
};

/// An input of a node by number or by the operation's name for it.
std::size_t input_of(Session& s, std::size_t position, const std::string& word) {
  const std::vector<InputLabel> inputs = s.pass().labels.inputs(position);
  std::string all;
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    if (inputs[i].parameter == word && !word.empty()) return i;
    all += (i ? ", " : "") + std::to_string(i) + (inputs[i].parameter.empty() ? "" : " (" + inputs[i].parameter + ")");
  }
  const std::string node = s.pass().labels.of(position);
  if (inputs.empty()) throw Refusal(node + " has no inputs: it is a leaf");
  if (word.empty()) throw Refusal("which input of " + node + "? It has " + all);
  if (word.find_first_not_of("0123456789") != std::string::npos || word.size() > 9 || std::stoul(word) >= inputs.size())
    throw Refusal(node + " has no input \"" + cut(word, 40) + "\"; it has " + all);
  return std::stoul(word);
}

[[noreturn]] void not_recorded(const std::string& node) {
  throw Refusal("what " + node +
                " computed is not known: run the forward pass under `const Tracing on;`, or the "
                "program with ATTUNE_STEP=1");
}

Tensor value_of(Pass& p, Place at) {
  const Node& node = p.tape()[at.position];
  const Trace* trace = node.trace();
  if (trace && at.slot < trace->outputs.size()) return trace->outputs[at.slot];
  if (node.is_leaf())
    for (const auto& [slot, handle] : gradient_handles(node)) return handle.detach();
  not_recorded(p.labels.of(at.position));
}

Tensor gradient_of(Session& s, Place at, std::string& what) {
  Pass& p = s.pass();
  const std::string name = p.labels.of(at.position);
  const GradientNow now = gradient_now(p, at);
  if (!now.value.defined()) {
    if (p.at_end())
      throw Refusal("no gradient reached " + name + " in this pass: nothing that the loss depends on let one through");
    throw Refusal(fmt::format("no gradient has reached {} yet: {} will come; `until {}` goes there", name,
                              now.all == 1 ? "1 contribution" : fmt::format("{} contributions", now.all), name));
  }
  what = "gradient";
  if (now.come < now.all && !p.taken(at.position)) what += fmt::format(" so far, {} of {}", now.come, now.all);
  return now.value;
}

Tensor saved_of(Session& s, Place at, const std::string& word, std::string& what) {
  Pass& p = s.pass();
  const Trace* trace = p.tape()[at.position].trace();
  const std::string name = p.labels.of(at.position);
  if (!trace || (!trace->replay && trace->saved.empty())) not_recorded(name);
  const std::size_t n = trace->saved.size();
  if (n == 0) throw Refusal(name + " saves no tensors for its backward pass");
  if (word.empty() && n > 1) {
    for (std::size_t i = 0; i < n; ++i)
      s.say(fmt::format("  saved {}  {}", i, brief(trace->saved[i], s.style.width - 12)), 4);
    throw Refusal(fmt::format("`print {} saved K` shows one of them", name));
  }
  const std::int64_t k = word.empty() ? 0 : parse_count(word, "a saved tensor", 0);
  if (k >= static_cast<std::int64_t>(n))
    throw Refusal(fmt::format("{} saves {} tensor{}, counted from 0", name, n, n == 1 ? "" : "s"));
  what = fmt::format("saved {}", k);
  return trace->saved[static_cast<std::size_t>(k)];
}

Tensor input_value(Session& s, Place at, const std::string& word, std::string& what) {
  Pass& p = s.pass();
  const std::size_t k = input_of(s, at.position, word);
  const Trace* trace = p.tape()[at.position].trace();
  if (!trace || k >= trace->inputs.size()) not_recorded(p.labels.of(at.position));
  const InputLabel label = p.labels.inputs(at.position)[k];
  what = fmt::format("input {}{}, {}", k, label.parameter.empty() ? "" : " " + label.parameter, label.source);
  if (!trace->inputs[k].defined()) throw Refusal(what + " was left out");
  return trace->inputs[k];
}

[[noreturn]] void too_many(const std::string& word) {
  throw Refusal("\"" + cut(word, 40) + "\" is one word too many: print [NODE] [value|grad|input K|saved K] [slice]");
}

/// "w", "w[0]", "w.grad", then a field and a slice, in any order that makes sense. `heat`: the word was among them.
Asked asked_for(Session& s, const Words& words, bool& as_heat) {
  Asked a;
  std::string name, field, argument;
  bool node_named = false;  // or it is the current one
  // A word that says what of a node names none, unless there is one of that name.
  const auto is_field = [&](const std::string& word) {
    static const Words fields = {"value", "grad", "gradient", "input", "saved", "heat"};
    return std::find(fields.begin(), fields.end(), word) != fields.end() &&
           s.pass().labels.find(word) >= s.pass().tape().size();
  };
  for (const std::string& word : words) {
    if (!node_named && is_field(split_slice(word).first)) node_named = true;
    if (word[0] == '[')
      a.slice += word;
    else if (word == "heat" && node_named)
      as_heat = true;
    else if (!node_named)
      std::tie(name, a.slice) = split_slice(word), node_named = true;
    else if (field.empty())
      std::tie(field, a.slice) = split_slice(word);
    else if (argument.empty())
      std::tie(argument, a.slice) = split_slice(word);
    else
      too_many(word);
  }
  if (!argument.empty() && field != "input" && field != "saved") too_many(argument);
  for (const char* ending : {".grad()", ".grad"})
    if (field.empty() && name.size() > std::string_view(ending).size() && name.ends_with(ending))
      name.resize(name.size() - std::string_view(ending).size()), field = "grad";
  a.place = s.place_or_current(name.empty() ? Words{} : Words{name});
  if (field.empty() || field == "value")
    a.what = "value", a.tensor = value_of(s.pass(), a.place);
  else if (field == "grad" || field == "gradient")
    a.tensor = gradient_of(s, a.place, a.what);
  else if (field == "input")
    a.tensor = input_value(s, a.place, argument, a.what);
  else if (field == "saved")
    a.tensor = saved_of(s, a.place, argument, a.what);
  else {
    const std::string near = nearest(field, {"value", "grad", "input", "saved", "heat"});
    throw Refusal("a node has value, grad, input K and saved K, no \"" + cut(field, 40) + "\"" +
                  (near.empty() ? "" : "; did you mean " + near + "?"));
  }
  if (!a.slice.empty()) {
    const NoGrad off;
    a.tensor = index(a.tensor.detach(), indices_of(a.slice), Here{});
  }
  return a;
}

void show(Session& s, const Asked& a, bool as_heat) {
  Pass& p = s.pass();
  const std::string name =
      p.labels.of(a.place.position) + (a.place.slot ? fmt::format(".{}", a.place.slot) : "") + ", " + a.what + a.slice;
  const Tensor& x = a.tensor;
  if (x.rank() == 0 && !as_heat) return s.say(s.style.bold(name) + " = " + number(x.item(), x.dtype()), 4);
  s.say(fmt::format("{}: {} {}", s.style.bold(name), name_of(x.dtype()), x.shape().str()), 4);
  s.out << (as_heat ? heatmap(x, s.style) : table(x, s.style));
}

}  // namespace

void print(Session& s, const Words& w) {
  bool as_heat = false;
  const Asked a = asked_for(s, w, as_heat);
  show(s, a, as_heat);
}

void heat(Session& s, const Words& w) {
  bool as_heat = true;
  const Asked a = asked_for(s, w, as_heat);
  show(s, a, true);
}

namespace {

bool has(const Shape& shape, const Dims& element) {
  if (element.rank() != shape.rank()) return element.rank() == 0;
  for (int a = 0; a < shape.rank(); ++a)
    if (element[a] < -shape[a] || element[a] >= shape[a]) return false;
  return true;
}

/// The element of an input of shape `x` that an element is: of the input, or of the output of shape `y`, to which
/// broadcasting put it. Nothing if it is neither.
std::optional<Dims> element_of(const Shape& x, const Shape& y, const Dims& element) {
  if (has(x, element)) return element;
  Shape joint;
  if (!has(y, element) || !broadcast(x, y, joint) || joint != y) return std::nullopt;
  Dims own;
  for (int a = 0, lead = y.rank() - x.rank(); a < x.rank(); ++a) own.push_back(x[a] == 1 ? 0 : element[a + lead]);
  return own;
}

/// The rules of a node's inputs, or of one, with numbers. An element that no input has is refused.
void show_formulas(Session& s, std::size_t position, std::optional<std::size_t> only, const Dims& element) {
  Pass& p = s.pass();
  const Node& node = p.tape()[position];
  const std::vector<InputLabel> inputs = p.labels.inputs(position);
  const BackwardStep& step = node.trace()->step;
  std::vector<std::string> lines;
  std::string others;
  for (std::size_t i = 0; i < node.edges().size(); ++i) {
    if (!node.edges()[i].node || (only && i != *only)) continue;
    std::optional<Dims> own = element;
    if (i < step.sent.size() && step.sent[i].defined())
      own = element_of(step.sent[i].shape(), node.output(0).shape, element);
    if (!own) {
      const std::string input = inputs[i].parameter.empty() ? "input " + std::to_string(i) : inputs[i].parameter;
      others += (others.empty() ? "" : ", ") + input + " has the shape " + step.sent[i].shape().str();
      continue;
    }
    try {
      lines.push_back(formula_text(p.labels, position, i, *own));
    } catch (const Error& e) {
      lines.push_back(one_line(e.what()));
    }
  }
  if (lines.empty() && others.empty()) return s.say("  No gradient is wanted there: it is a constant.", 4);
  if (lines.empty()) throw Refusal("there is no element " + element.str() + ": " + others);
  for (const std::string& line : lines) s.say("  " + line, 6);
  if (!others.empty()) s.say("  No element " + element.str() + " elsewhere: " + others, 4);
}

}  // namespace

void formula_(Session& s, const Words& w) {
  Words words = w;
  std::string element;
  if (!words.empty()) {
    const auto [name, slice] = split_slice(words[0]);
    if (name.empty())
      words.insert(words.begin(), s.pass().labels.of(s.place_or_current({}).position));
    else if (!slice.empty())
      words[0] = name, words.push_back(slice);
  }
  Pass& p = s.pass();
  const Place at = s.place_or_current(words);
  const Node& node = p.tape()[at.position];
  const std::string name = p.labels.of(at.position);
  if (node.is_leaf())
    throw Refusal(name + " is a leaf: it has no rule, gradients add up there; `why " + name + "` shows which");
  if (!p.taken(at.position)) {
    const std::string rule = p.labels.rule(at.position);
    s.say("  rule  " + (rule.empty() ? "(not written down)" : rule), 8);
    return s.say(fmt::format("  Its step has not been taken; after `until {}` the formula has numbers.", name), 4);
  }
  std::optional<std::size_t> only;
  std::size_t from = 1;
  if (words.size() > 1 && words[1][0] != '[') only = input_of(s, at.position, words[1]), from = 2;
  show_formulas(s, at.position, only, parse_element(words, from));
}

void info(Session& s, const Words& w) {
  Pass& p = s.pass();
  const Place at = s.place_or_current(w);
  const Node& node = p.tape()[at.position];
  const auto line = [&](const char* head, const std::string& text) {
    if (!text.empty()) s.say(fmt::format("  {:9} {}", head, text), 12);
  };
  s.say(s.style.bold(node_text(p, at.position, true)), 4);
  line("node", fmt::format("%{} of %0 to %{}, sequence number {}", at.position, p.tape().size() - 1, node.sequence()));
  line("line", site_text(node));
  line("module", Labels::module_of(node));
  line("rule", p.labels.rule(at.position));
  for (std::uint32_t o = 0; o < node.output_count(); ++o)
    line(o ? "" : "shape", node.output(o).shape.str() + " " + name_of(node.output(o).dtype));
  const Trace* trace = node.trace();
  for (std::size_t i = 0; trace && i < trace->outputs.size(); ++i)
    line(i ? "" : "value", brief(trace->outputs[i], s.style.width - 14));
  const std::vector<InputLabel> inputs = p.labels.inputs(at.position);
  for (std::size_t i = 0; i < inputs.size(); ++i)
    line(i ? "" : "inputs", (inputs[i].parameter.empty() ? std::to_string(i) : inputs[i].parameter) + " = " +
                                inputs[i].source +
                                (trace && i < trace->inputs.size() && trace->inputs[i].defined()
                                     ? " = " + brief(trace->inputs[i], s.style.width - 30)
                                     : ""));
  std::string users;
  for (const Graph::Use& u : p.graph().users(at.position))
    if (columns(users) < 200)
      users += (users.empty() ? "" : ", ") + p.labels.of(u.user) + " " + p.tape()[u.user].name();
  line("used by", users);
  if (trace && !trace->saved.empty())
    line("saved", fmt::format("{} tensor{}; `print {} saved K`", trace->saved.size(),
                              trace->saved.size() == 1 ? "" : "s", p.labels.of(at.position)));
  if (trace && trace->composed) line("parts", fmt::format("`step {}` goes into them", p.labels.of(at.position)));
  const std::int64_t step = p.stepper.step_of(&node);
  line("step", p.taken(at.position) ? fmt::format("{}, taken", step + 1) : "not taken yet");
  const GradientNow now = gradient_now(p, at);
  if (now.value.defined())
    line("gradient", fmt::format("{} ({} of {} came)", brief(now.value, s.style.width - 34), now.come, now.all));
}

void where_(Session& s, const Words& w) {
  Pass& p = s.pass();
  if (w.empty()) {
    for (const auto& each : s.passes) {
      const std::size_t n = each->tape().size();
      const std::string site = each->here.line ? " at " + each->here.str() : "";
      const std::string what = each->kind == Pass::Kind::program
                                   ? fmt::format("backward pass {}{}", s.memory.passes, site)
                               : each->kind == Pass::Kind::parts ? "the parts of " + each->title
                                                                 : "what if: the values as `set` changed them";
      const std::string place = each->undone ? fmt::format("forward, node {} of {}", n - each->undone, n)
                                             : fmt::format("step {} of {}", each->stepper.taken(), n);
      s.say(what + ", " + place, 4);
    }
  }
  const Place at = s.place_or_current(w);
  const Node& node = p.tape()[at.position];
  s.say(s.style.bold(node_text(p, at.position)) + ", recorded by", 4);
  const Trace* trace = node.trace();
  bool known = false;
  for (std::size_t i = trace ? trace->stack.size() : 0; i-- > 0;) {
    const CallSite& level = trace->stack[i];
    if (level.module.empty() && !level.here.line) continue;  // the operation itself, of which the line above speaks
    known = true;
    s.say(fmt::format("  {}{}{}", level.name, level.module.empty() ? "" : " " + level.module,
                      level.here.line ? " at " + level.here.str() : ""),
          4);
  }
  const std::string site = site_text(node);
  if (!known) s.say("  " + std::string(node.name()) + (site.empty() ? ", of no known line" : " at " + site), 4);
}

}  // namespace attune::stepping
