#include "autograd/trace/internal/record_pass.h"

#include <algorithm>
#include <chrono>
#include <limits>
#include <unordered_map>

#include "autograd/ops/movement.h"
#include "autograd/runtime/error.h"
#include "autograd/tape/modes.h"
#include "autograd/tape/sweep.h"
#include "autograd/tape/tracing.h"
#include "autograd/trace/check.h"
#include "autograd/trace/internal/words.h"

namespace attune {

namespace {

std::string joined(const std::vector<std::string>& words) {
  std::string s;
  for (std::size_t i = 0; i < words.size(); ++i) s += (i ? "\n" : "") + words[i];
  return s;
}

/// The words of each node's output, from those of its inputs as long as an axis is left for them.
class WordsOnTape {
 public:
  explicit WordsOnTape(const Tape& tape) : tape_(tape), of_(tape.size()) {
    for (std::size_t i = 0; i < tape.size(); ++i) {
      const Node& n = tape[i];
      for (std::size_t k = 0; k < std::max<std::size_t>(n.edges().size(), 1) && of_[i].empty(); ++k) {
        const std::vector<std::string> words = n.is_leaf() ? own(n) : of_input(i, k);
        for (std::uint32_t o = 0; o < n.output_count() && !words.empty(); ++o) {
          const Shape& shape = n.output(o).shape;
          const auto size = static_cast<std::int64_t>(words.size());
          if (std::find(shape.begin(), shape.end(), size) != shape.end()) of_[i] = words;
        }
      }
    }
  }
  std::vector<std::string> of_input(std::size_t node, std::size_t input) const {
    const Node& n = tape_[node];
    if (const Edge& e = n.edges()[input]; e.node) return of_[tape_.index_of(e.node.get())];
    const Trace* t = n.trace();
    return t && input < t->inputs.size() ? words_of(t->inputs[input]) : std::vector<std::string>();
  }

 private:
  static std::vector<std::string> own(const Node& leaf) {
    for (const auto& [slot, handle] : gradient_handles(leaf)) return words_of(handle);
    return {};
  }
  const Tape& tape_;
  std::vector<std::vector<std::string>> of_;
};

class PassRecorder {
 public:
  PassRecorder(const Labels& labels, Values& values, Recording& recording, const PassOptions& options)
      : labels_(labels),
        tape_(labels.tape()),
        values_(values),
        recording_(recording),
        options_(options),
        check_seconds_(options.check_seconds),
        words_(tape_) {}

  RecordedPass run(const Tensor& root) {
    RecordedPass pass;
    pass_ = root.node()->trace() ? root.node()->trace()->step.pass : 0;
    pass.root = place(root.node());
    pass.loss = root.numel() == 1 ? root.item() : std::numeric_limits<double>::quiet_NaN();
    for (std::size_t i = 0; i < tape_.size(); ++i) by_sequence_[tape_[i].sequence()] = static_cast<int>(i);
    for (std::size_t i = 0; i < tape_.size(); ++i) pass.nodes.push_back(node(i));
    std::vector<std::size_t> order;
    for (std::size_t i = 0; i < tape_.size(); ++i)
      if (ran(tape_[i])) order.push_back(i);
    std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
      return tape_[a].trace()->step.order < tape_[b].trace()->step.order;
    });
    for (std::size_t i : order) pass.steps.push_back(step(i));
    return pass;
  }

 private:
  bool ran(const Node& n) const { return n.trace() && n.trace()->step.pass == pass_ && n.trace()->step.order != 0; }
  int place(const Node* n) const {
    const std::size_t at = tape_.index_of(n);
    return at == tape_.size() ? -1 : static_cast<int>(at);
  }

  void add_source(Here here) {
    if (!options_.sources || here.line == 0) return;
    const std::map<int, std::string> lines = lines_around(here);
    if (!lines.empty()) recording_.sources[file_of(here)].insert(lines.begin(), lines.end());
  }
  static std::string file_of(Here here) {
    const std::string site = here.str();
    return site.substr(0, site.rfind(':'));
  }

  RecordedNode node(std::size_t i) {
    const Node& n = tape_[i];
    RecordedNode r;
    r.sequence = n.sequence();
    r.operation = n.name();
    r.label = labels_.of(i);
    r.leaf = n.is_leaf();
    r.module = Labels::module_of(n);
    r.site = n.site().line ? n.site().str() : "";
    r.rule = labels_.rule(i);
    add_source(n.site());
    const Trace* t = n.trace();
    if (t) {
      for (const CallSite& c : t->stack) {
        r.stack.push_back({c.module, c.name, c.here.line ? c.here.str() : ""});
        add_source(c.here);
      }
      r.arguments = labels_.arguments(i);
      for (const Tensor& y : t->outputs) r.outputs.push_back(values_.add(y));
    }
    const std::vector<InputLabel> inputs = labels_.inputs(i);
    for (std::size_t k = 0; k < inputs.size(); ++k) {
      const Edge& e = n.edges()[k];
      const Tensor x = t && k < t->inputs.size() ? t->inputs[k] : Tensor();
      r.inputs.push_back({inputs[k].parameter, place(e.node.get()), e.slot, values_.add(x), static_cast<bool>(e.node),
                          inputs[k].rule, joined(words_.of_input(i, k))});
    }
    if (t)
      for (const Tensor& x : t->saved) r.saved.emplace_back(name_of_saved(*t, inputs, x), values_.add(x));
    if (t && t->composed) r.parts = parts_of(n);
    if (t && t->replay && is_small(*t)) r.check = checked(n, inputs);
    return r;
  }

  static std::string name_of_saved(const Trace& t, const std::vector<InputLabel>& inputs, const Tensor& x) {
    for (std::size_t k = 0; k < inputs.size() && k < t.inputs.size(); ++k)
      if (t.inputs[k].defined() && (t.inputs[k].same_storage(x) || equal_copy(t.inputs[k], x)))
        return inputs[k].parameter.empty() ? "input " + std::to_string(k) : inputs[k].parameter;
    for (std::size_t o = 0; o < t.outputs.size(); ++o)
      if (t.outputs[o].same_storage(x)) return t.outputs.size() > 1 ? "y" + std::to_string(o) : "y";
    return "kept";
  }
  /// A parameter that a rule saved shares its elements with the module, its traced value is a copy.
  static bool equal_copy(const Tensor& a, const Tensor& b) {
    return a.shape() == b.shape() && a.dtype() == b.dtype() && a.numel() <= 4096 && is_floating(a.dtype()) &&
           a.to_vector<double>() == b.to_vector<double>();
  }

  RecordedStep step(std::size_t i) {
    const Node& n = tape_[i];
    const BackwardStep& s = n.trace()->step;
    RecordedStep r;
    r.node = static_cast<int>(i);
    std::vector<int> of_slot(n.output_count());
    for (const Arrival& a : s.arrivals) ++of_slot[a.slot];
    std::vector<int> k(n.output_count());
    for (const Arrival& a : s.arrivals) {
      const auto from = by_sequence_.find(a.from);
      r.arrivals.push_back({from == by_sequence_.end() ? -1 : from->second, static_cast<int>(a.input),
                            static_cast<int>(a.slot), values_.add(a.value), values_.add(a.sum), ++k[a.slot],
                            of_slot[a.slot]});
    }
    r.received = values_.add(s.received);
    r.returned = values_.add(s.returned);
    r.sent = values_.add(s.sent);
    for (const GradientChange& g : s.grads)
      r.grads.push_back({static_cast<int>(g.slot), values_.add(g.before), values_.add(g.after)});
    return r;
  }

  bool is_small(const Trace& t) const {
    std::int64_t elements = 0;
    for (const Tensor& x : t.inputs) elements += x.defined() ? x.numel() : 0;
    return elements <= options_.largest_parts;
  }

  /// The node's rule beside finite differences, while there is time.
  std::string checked(const Node& n, const std::vector<InputLabel>& inputs) {
    using Clock = std::chrono::steady_clock;
    if (check_seconds_ <= 0) return "";
    const auto begin = Clock::now();
    const NodeCheck check = check_node(n, {.elements = 8, .seconds = std::min(check_seconds_, 0.1)});  // throws nothing
    check_seconds_ -= std::chrono::duration<double>(Clock::now() - begin).count();
    std::vector<std::string> names;
    names.reserve(inputs.size());
    for (const InputLabel& i : inputs) names.push_back(i.parameter);
    return check.verdict == NodeCheck::Verdict::not_checked ? "" : to_string(check, names);
  }

  /// The node's composed form as a tape of its own, run with the node's inputs and the gradients that it received.
  int parts_of(const Node& n) {
    const Trace& t = *n.trace();
    if (!is_small(t) || std::string(n.name()) == "linear") return -1;
    Tensors inputs;
    const std::vector<InputLabel> labels = labels_.inputs(tape_.index_of(&n));
    for (std::size_t k = 0; k < t.inputs.size(); ++k) {
      Tensor x = t.inputs[k].defined() ? t.inputs[k].detach() : Tensor();
      if (n.edges()[k].node) name(x.requires_grad_(), labels[k].parameter.empty() ? "input" : labels[k].parameter);
      inputs.push_back(std::move(x));
    }
    const Tracing on;
    const EnableGrad grad;
    const Tensors outputs = t.composed(inputs);
    if (outputs.size() != t.outputs.size()) return -1;
    for (const Tensor& y : outputs)  // the variable of the operation's line is that of a later result
      if (y.defined() && y.node() && !y.is_leaf()) name(y, "result");
    for (std::size_t o = 0; o < outputs.size(); ++o) {
      if (!outputs[o].node()) continue;
      if (ran(n) && o < t.step.received.size())
        run_backward(outputs[o], {.gradient = t.step.received[o], .retain_graph = true}, {});
      const Labels names(Tape::of(outputs[o]));
      RecordedPass parts = PassRecorder(names, values_, recording_, {false, 0, 0}).run(outputs[o]);
      recording_.parts.push_back(std::move(parts));
      return static_cast<int>(recording_.parts.size()) - 1;
    }
    return -1;
  }

  const Labels& labels_;
  const Tape& tape_;
  Values& values_;
  Recording& recording_;
  PassOptions options_;
  double check_seconds_;
  WordsOnTape words_;
  std::uint64_t pass_ = 0;
  std::unordered_map<std::uint64_t, int> by_sequence_;
};

}  // namespace

RecordedPass record_pass(const Labels& labels, const Tensor& root, Values& values, Recording& recording,
                         const PassOptions& options) {
  return PassRecorder(labels, values, recording, options).run(root);
}

void keep_slice(const std::string& wanted, const RecordedPass& pass, Values& values, Here here) {
  const std::size_t bracket = wanted.find('[');
  if (bracket == 0 || bracket == std::string::npos || wanted.back() != ']')
    throw ValueError("slice \"" + wanted + "\" has not the form NAME[0, :4]");
  const std::string name = wanted.substr(0, bracket);
  for (std::size_t i = pass.nodes.size(); i-- > 0;) {
    const RecordedNode& n = pass.nodes[i];
    if ((n.label != name && n.module != name) || n.outputs.empty()) continue;
    try {
      values.keep_slice(n.outputs[0], wanted.substr(bracket));
    } catch (const Error& e) {
      throw ValueError("slice \"" + wanted + "\": " + std::string(e.what()), here);
    }
    return;
  }
}

}  // namespace attune
