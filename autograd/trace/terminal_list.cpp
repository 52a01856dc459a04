// Commands that show the tape: around the position, by module, between two nodes; and those that write files.
#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "autograd/trace/internal/terminal_session.h"

namespace attune::stepping {

namespace {

/// A line: whether it is the current node, whether its step was taken, call, value, gradient.
void show_line(Session& s, std::size_t position) {
  Pass& p = s.pass();
  const auto current = p.current();
  const bool here = current ? *current == position : p.next() == position && p.undone == 0;
  const bool computed = position + p.undone < p.tape().size();
  std::string text = fmt::format("{} {:5} ", current && here ? ">" : " ", fmt::format("%{}", position));
  std::string call = node_text(p, position);
  const std::string label = fmt::format("%{} ", position);
  if (call.starts_with(label)) call = call.substr(label.size());
  if (const std::size_t at = call.find(fmt::format(" (%{})", position)); at != std::string::npos)
    call.erase(at, call.find(')', at) + 1 - at);
  text += call + (computed ? value_text(p, position, s.style.width / 3) : ", not computed");
  const GradientNow now = gradient_now(p, {position, position + 1 == p.tape().size() ? p.root.slot() : 0});
  if (now.value.defined()) text += ", dy = " + brief(now.value, s.style.width / 3);
  text = cut(text, s.style.width);
  s.out << (current && here ? s.style.bold(text) : p.taken(position) || !computed ? s.style.dim(text) : text) << "\n";
}

}  // namespace

void list(Session& s, const Words& w) {
  Pass& p = s.pass();
  const std::size_t n = p.tape().size();
  std::size_t from = 0, to = n;
  if (w.size() == 2) {
    from = s.place(w[0]).position;
    to = s.place(w[1]).position;
    if (from > to) std::swap(from, to);
    ++to;
  } else if (w.size() <= 1) {
    std::size_t middle = n - 1;
    if (!w.empty())
      middle = s.place(w[0]).position;
    else if (const auto current = p.current())
      middle = *current;
    from = middle > 5 ? middle - 5 : 0;
    to = std::min(n, from + 11);
    from = to > 11 ? std::min(from, to - 11) : 0;
  } else {
    throw Refusal("`list`, `list NODE` or `list FROM TO`");
  }
  if (from > 0) s.out << s.style.dim(fmt::format("  ... {} before", from)) << "\n";
  const std::size_t most = 60;
  for (std::size_t i = from; i < to; ++i) {
    if (to - from > most && i == from + most / 2) {
      const std::size_t jump = to - most / 2;
      s.out << s.style.dim(fmt::format("  ... {} between", jump - i)) << "\n";
      i = jump;
    }
    show_line(s, i);
  }
  if (to < n) s.out << s.style.dim(fmt::format("  ... {} after", n - to)) << "\n";
}

namespace {

/// Nodes recorded in a module, those of its children included.
struct Module {
  std::size_t nodes = 0, taken = 0;
  std::map<std::string, Module> children;
};

/// "3" and "layers.3" have a number at their end.
bool numbered(const std::string& name) {
  return !name.empty() && name.find_first_not_of("0123456789") == std::string::npos;
}

void show_module(Session& s, const std::string& name, const Module& m, int depth, int most_depth) {
  const std::string margin(static_cast<std::size_t>(2 * depth + 2), ' ');
  const std::string bar =
      m.taken == m.nodes ? "all steps taken" : fmt::format("{} of {} steps taken", m.taken, m.nodes);
  s.out << cut(fmt::format("{}{}  {} node{}, {}", margin, name, m.nodes, m.nodes == 1 ? "" : "s", bar), s.style.width)
        << "\n";
  if (depth == most_depth) {
    if (!m.children.empty())
      s.out << s.style.dim(fmt::format("{}  ... {} modules inside", margin, m.children.size())) << "\n";
    return;
  }
  // Numbers in their order; equal neighbours are one line.
  std::vector<std::pair<std::string, const Module*>> in_order;
  for (const auto& [child, inside] : m.children) in_order.emplace_back(child, &inside);
  std::stable_sort(in_order.begin(), in_order.end(), [](const auto& a, const auto& b) {
    return numbered(a.first) && numbered(b.first) && a.first.size() < 9 && b.first.size() < 9
               ? std::stol(a.first) < std::stol(b.first)
               : false;
  });
  for (std::size_t i = 0; i < in_order.size();) {
    std::size_t end = i + 1;
    while (numbered(in_order[i].first) && end < in_order.size() && numbered(in_order[end].first) &&
           in_order[end].second->nodes == in_order[i].second->nodes &&
           in_order[end].second->taken == in_order[i].second->taken)
      ++end;
    const std::string child =
        end - i > 1 ? in_order[i].first + " to " + in_order[end - 1].first + ", each" : in_order[i].first;
    show_module(s, child, *in_order[i].second, depth + 1, most_depth);
    i = end;
  }
}

}  // namespace

void tree(Session& s, const Words& w) {
  if (w.size() > 1) throw Refusal("`tree` or `tree MODULE`");
  Pass& p = s.pass();
  Module all;
  std::size_t outside = 0, leaves = 0;
  for (std::size_t i = 0; i < p.tape().size(); ++i) {
    const std::string path = Labels::module_of(p.tape()[i]);
    const bool taken = p.taken(i);
    if (p.tape()[i].is_leaf()) {
      ++leaves;
      continue;
    }
    if (path.empty()) ++outside;
    Module* at = &all;
    for (std::size_t from = 0, dot = 0; !path.empty() && dot != std::string::npos; from = dot + 1) {
      dot = path.find('.', from);
      at = &at->children[path.substr(from, dot == std::string::npos ? dot : dot - from)];
      ++at->nodes;
      at->taken += taken;
    }
  }
  const Module* shown = &all;
  std::string name = w.empty() ? "" : w[0];
  for (std::size_t from = 0, dot = 0; !name.empty() && dot != std::string::npos; from = dot + 1) {
    dot = name.find('.', from);
    const std::string part = name.substr(from, dot == std::string::npos ? dot : dot - from);
    const auto child = shown->children.find(part);
    if (child == shown->children.end()) {
      std::vector<std::string> names;
      for (const auto& [each, _] : shown->children) names.push_back(each);
      const std::string near = nearest(part, names);
      throw Refusal("there is no module " + cut(name, 40) +
                    (near.empty() ? "; `tree` lists them" : "; did you mean " + name.substr(0, from) + near + "?"));
    }
    shown = &child->second;
  }
  if (!name.empty()) return show_module(s, name, *shown, 0, 3);
  if (all.children.empty())
    return s.say(fmt::format("No node was recorded in a module: {} operations, {} leaves.", outside, leaves));
  for (const auto& [child, inside] : all.children) show_module(s, child, inside, 0, 2);
  s.say(fmt::format("  outside of modules: {} operations; leaves: {}", outside, leaves));
}

void path(Session& s, const Words& w) {
  if (w.size() != 2) throw Refusal("`path A B` shows the nodes between two nodes, as `path w loss`");
  Pass& p = s.pass();
  std::size_t from = s.place(w[0]).position, to = s.place(w[1]).position;
  if (from > to) std::swap(from, to);
  const std::vector<std::size_t> between = p.graph().between(from, to);
  if (between.empty())
    return s.say(fmt::format("No way leads from {} to {}: {} does not depend on it.", p.labels.of(from),
                             p.labels.of(to), p.labels.of(to)));
  s.say(fmt::format("{} to {}: {} nodes, in order of execution; gradients go the other way.", p.labels.of(from),
                    p.labels.of(to), between.size()));
  const std::size_t most = 30;
  for (std::size_t i = 0; i < between.size(); ++i) {
    if (between.size() > most && i == most / 2) {
      const std::size_t jump = between.size() - most / 2;
      s.out << s.style.dim(fmt::format("  ... {} between", jump - i)) << "\n";
      i = jump;
    }
    show_line(s, between[i]);
  }
}

namespace {

void write(Session& s, const Words& w, const StepOptions::Write& with, const char* what) {
  if (w.size() > 1) throw Refusal(fmt::format("`{} PATH` takes one path", what));
  if (!with) throw Refusal(fmt::format("nobody here writes for `{}`: the program gave StepOptions without it", what));
  const Pass& p = s.pass();
  s.say(with(p.root, p.stepper, w.empty() ? "" : w[0]));
}

}  // namespace

void page(Session& s, const Words& w) { write(s, w, s.options.page, "page"); }

void save(Session& s, const Words& w) { write(s, w, s.options.save, "save"); }

}  // namespace attune::stepping
