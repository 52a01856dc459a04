#include "autograd/trace/labels.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <tuple>
#include <unordered_map>
#include <unordered_set>

#include "autograd/runtime/error.h"
#include "autograd/tape/tracing.h"
#include "autograd/trace/internal/numbers.h"
#include "autograd/trace/internal/parameters.h"
#include "autograd/trace/internal/source.h"

namespace attune {

namespace {

/// The variables of lines, each line read once.
class Variables {
 public:
  const std::vector<std::string>& of(Here here) {
    const auto [at, fresh] = known_.try_emplace({here.file, here.line});
    if (!fresh) return at->second;
    const std::vector<std::string>* lines = source_lines(here.file);
    if (lines && here.line > 0 && here.line <= static_cast<int>(lines->size()))
      at->second = assigned_variables((*lines)[static_cast<std::size_t>(here.line) - 1]);
    return at->second;
  }

 private:
  std::map<std::pair<const char*, int>, std::vector<std::string>> known_;
};

/// Names for the nodes of one kind, leaves or results, from the lines that made them. Of a line's results the last is
/// the variable's; leaves are named if there are as many as variables.
void name_by_variables(const Tape& tape, bool leaves, Variables& variables, std::vector<std::string>& names) {
  std::vector<std::size_t> run;
  const auto end_run = [&] {
    if (run.empty()) return;
    const std::vector<std::string>& v = variables.of(tape[run[0]].site());
    if (leaves && v.size() == run.size())
      for (std::size_t i = 0; i < run.size(); ++i) names[run[i]] = names[run[i]].empty() ? v[i] : names[run[i]];
    else if (!leaves && v.size() == 1 && names[run.back()].empty())
      names[run.back()] = v[0];
    run.clear();
  };
  for (std::size_t i = 0; i < tape.size(); ++i) {
    const Node& n = tape[i];
    if (n.is_leaf() != leaves || n.site().line == 0) continue;
    if (!run.empty()) {
      const Here before = tape[run[0]].site();
      if (before.line != n.site().line || std::string(before.file) != n.site().file) end_run();
    }
    run.push_back(i);
  }
  end_run();
}

/// In one line, without control characters, of a bearable length.
std::string readable(const std::string& name) {
  constexpr std::size_t longest = 80;
  std::string s;
  for (char c : name) {
    if (s.size() >= longest) return s + "...";
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) {
      char text[8];
      std::snprintf(text, sizeof text, "\\x%02x", static_cast<unsigned>(c));
      s += text;
    } else {
      s += c;
    }
  }
  return s;
}

/// "c", "c#2", "c#3": a name that comes again says the how manieth it is.
void number_repeated(std::vector<std::string>& names) {
  std::unordered_set<std::string> taken;
  std::unordered_map<std::string, int> count;
  for (std::string& n : names) {
    if (n.empty()) continue;
    const std::string own = n;
    int& k = count[own];
    if (++k > 1) n = own + "#" + std::to_string(k);
    while (!taken.insert(n).second) n = own + "#" + std::to_string(++k);
  }
}

std::string constant_text(const Edge& e, const Tensor& traced) {
  constexpr std::int64_t most = 4;
  if (traced.defined()) return traced.numel() <= most ? value_text(traced) : "const " + traced.shape().str();
  return std::isfinite(e.constant) ? number_text(static_cast<double>(e.constant), DType::float32) : "const";
}

/// Whether a file is one of the library's that are no models: what happens there is not what a reader of a tape wants
/// to know.
bool is_inside_library(const char* file) {
  const std::string own = __FILE__, at = file;
  const std::string root = own.substr(0, own.size() - std::string("autograd/trace/labels.cpp").size());
  for (const char* room :
       {"autograd/", "optim/", "nn/layers/", "nn/recurrent/", "nn/attention/", "nn/loss", "nn/module"})
    if (at.starts_with(root + room)) return true;
  return false;
}

/// Whether an argument's text is what the header has as its default: numbers by their value, {} for an empty list.
bool is_default(const std::string& value, const std::string& text) {
  if (text.empty()) return false;
  if (value == text || (text == "{}" && value == "[]") || text.ends_with("::" + value)) return true;
  char *value_end = nullptr, *text_end = nullptr;
  const double v = std::strtod(value.c_str(), &value_end), d = std::strtod(text.c_str(), &text_end);
  return *value_end == '\0' && *text_end == '\0' && v == d;
}

bool is_word(char c) { return std::isalnum(static_cast<unsigned char>(c)) || c == '_'; }

}  // namespace

Tensor name(const Tensor& x, const std::string& as, Here here) {
  if (as.starts_with('%')) throw ValueError("name: \"" + as + "\" is how positions are called", here);
  name_output(x, as, here);
  return x;
}

Labels::Labels(const Tape& tape) : tape_(tape), names_(tape.size()) {
  for (std::size_t i = 0; i < tape.size(); ++i) names_[i] = readable(name_of_output(tape[i], 0));
  Variables variables;
  name_by_variables(tape, true, variables, names_);
  name_by_variables(tape, false, variables, names_);
  number_repeated(names_);
  for (std::size_t i = 0; i < tape.size(); ++i)
    if (names_[i].empty()) names_[i] = "%" + std::to_string(i);
}

std::size_t Labels::find(const std::string& name) const {
  const std::string digits = name.starts_with('%') ? name.substr(1) : name;
  if (!digits.empty() && digits.size() < 10 && digits.find_first_not_of("0123456789") == std::string::npos)
    return std::min(tape_.size(), static_cast<std::size_t>(std::stoul(digits)));
  for (std::size_t i = names_.size(); i-- > 0;)
    if (names_[i] == name) return i;
  return tape_.size();
}

std::string Labels::module_of(const Node& node) {
  if (node.is_leaf()) {
    const std::string name = name_of_output(node, 0);
    const std::size_t dot = name.rfind('.');
    return dot == std::string::npos ? "" : name.substr(0, dot);
  }
  const Trace* t = node.trace();
  if (!t) return "";
  for (std::size_t i = t->stack.size(); i-- > 0;)
    if (!t->stack[i].module.empty()) return t->stack[i].module;
  return "";
}

std::string Labels::inner_site(const Node& node) {
  const Trace* t = node.trace();
  if (!t) return "";
  std::string inner;
  for (const CallSite& c : t->stack)
    if (c.here.line != 0 && !is_inside_library(c.here.file)) inner = c.here.str();
  return inner == node.site().str() ? "" : inner;
}

std::vector<InputLabel> Labels::inputs(std::size_t position) const {
  const Node& n = tape_[position];
  const Trace* t = n.trace();
  const RuleParts rule = rule_parts(whole_rule(position));
  const OperationParameters* known = parameters_of(n.name(), n.edges().size(), t ? t->arguments.size() : any_number);
  if (!known) known = parameters_of(n.name(), n.edges().size(), any_number);  // an inner form of a public operation
  const auto edges = n.edges();
  std::size_t differentiable = 0;
  for (const Edge& e : edges) differentiable += e.node ? 1 : 0;
  const bool each = rule.parts.size() == edges.size(), wanted = rule.parts.size() == differentiable;
  std::vector<InputLabel> all;
  std::size_t part = 0;
  for (std::size_t i = 0; i < edges.size(); ++i) {
    InputLabel in{"", index_of_node(edges[i].node.get()), edges[i].slot, "", ""};
    const std::size_t p = each ? i : part;
    if (each || (wanted && edges[i].node)) {
      in.parameter = rule.names[p];
      if (edges[i].node) in.rule = rule.parts[p];
      ++part;
    }
    if (known) {
      in.parameter = known->tensors[i];
      const auto own = std::find(rule.names.begin(), rule.names.end(), in.parameter);
      if (own != rule.names.end() && edges[i].node)
        in.rule = rule.parts[static_cast<std::size_t>(own - rule.names.begin())];
    }
    if (in.node < tape_.size()) {
      const std::string own = in.slot ? name_of_output(tape_[in.node], in.slot) : "";
      in.source = in.slot == 0 ? of(in.node) : !own.empty() ? own : of(in.node) + "." + std::to_string(in.slot);
    } else {
      in.source = constant_text(edges[i], t && i < t->inputs.size() ? t->inputs[i] : Tensor());
    }
    all.push_back(std::move(in));
  }
  return all;
}

std::string Labels::rule(std::size_t position) const {
  std::string s;
  const std::vector<InputLabel> all = inputs(position);
  for (const InputLabel& in : all)
    if (!in.rule.empty()) s += (s.empty() ? "" : ", ") + in.rule;
  if (s.empty()) return whole_rule(position);
  const std::string definitions = rule_parts(whole_rule(position)).definitions;
  return definitions.empty() ? s : s + ", " + definitions;
}

std::size_t Labels::index_of_node(const Node* node) const { return node ? tape_.index_of(node) : tape_.size(); }

std::string Labels::call(std::size_t position, bool values) const {
  const Node& n = tape_[position];
  const Trace* t = n.trace();
  std::string s = std::string(n.name()) + "(";
  bool first = true;
  const std::vector<InputLabel> all = inputs(position);
  for (std::size_t i = 0; i < all.size(); ++i) {
    const InputLabel& in = all[i];
    const bool constant = in.node == tape_.size();
    if (constant && t && i < t->inputs.size() && !t->inputs[i].defined()) continue;
    s += first ? "" : ", ";
    first = false;
    const std::string as = in.parameter.empty() || in.parameter == in.source ? "" : in.parameter + " = ";
    std::string shown = as + in.source;
    if (values && !constant && t && i < t->inputs.size() && t->inputs[i].numel() <= 6) {
      const bool anonymous = in.source.starts_with('%') && !in.parameter.empty();
      shown = (anonymous ? in.parameter : shown) + " = " + value_text(t->inputs[i]);
    }
    s += shown;
  }
  for (const auto& [parameter, value] : arguments(position, false)) {
    s += first ? "" : ", ";
    if (!parameter.empty()) s += parameter + " = ";
    s += value;
    first = false;
  }
  return s + ")";
}

std::vector<std::pair<std::string, std::string>> Labels::arguments(std::size_t position, bool defaults) const {
  std::vector<std::pair<std::string, std::string>> all;
  const Trace* t = tape_[position].trace();
  if (!t) return all;
  const OperationParameters* known =
      parameters_of(tape_[position].name(), tape_[position].edges().size(), t->arguments.size());
  if (!known && parameters_of(tape_[position].name(), tape_[position].edges().size(), any_number)) return all;
  for (std::size_t i = 0; i < t->arguments.size(); ++i)
    if (t->arguments[i] != "..." && (defaults || !known || !is_default(t->arguments[i], known->defaults[i])))
      all.emplace_back(known ? known->arguments[i] : "", t->arguments[i]);
  return all;
}

std::string Labels::whole_rule(std::size_t position) const {
  const Trace* t = tape_[position].trace();
  return t && !t->rule.empty() ? t->rule : tape_[position].rule_text();
}

RuleParts rule_parts(const std::string& rule) {
  RuleParts out;
  // A part begins with "dNAME = ", at the beginning or behind ", "; what has another form ends the parts.
  std::vector<std::pair<std::size_t, std::string>> begins;
  std::size_t end = rule.size();
  for (std::size_t at = 0; at < rule.size();) {
    std::size_t stop = at;
    while (stop < rule.size() && is_word(rule[stop])) ++stop;
    const bool assigned = stop > at && rule.compare(stop, 3, " = ") == 0;
    if (assigned && rule[at] == 'd' && stop > at + 1) {
      begins.emplace_back(at, rule.substr(at + 1, stop - at - 1));
    } else if (assigned) {
      end = at;
      break;
    }
    const std::size_t comma = rule.find(", ", at);
    if (comma == std::string::npos) break;
    at = comma + 2;
  }
  for (std::size_t i = 0; i < begins.size(); ++i) {
    const std::size_t stop = i + 1 < begins.size() ? begins[i + 1].first : end;
    std::string part = rule.substr(begins[i].first, stop - begins[i].first);
    while (part.ends_with(' ') || part.ends_with(',')) part.pop_back();
    out.names.push_back(begins[i].second);
    out.parts.push_back(std::move(part));
  }
  if (end < rule.size()) out.definitions = rule.substr(end);
  return out;
}

}  // namespace attune
