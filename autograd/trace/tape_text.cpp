// Tape::str(): the tape as a table that folds.
#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "autograd/trace/labels.h"

namespace attune {

namespace {

/// A line: of a node, of nodes that are folded, or a module's title.
struct Line {
  std::string label, call, shape, rule, site;
  bool title = false;
};

std::size_t width_of(const std::string& s) {
  return static_cast<std::size_t>(std::count_if(s.begin(), s.end(), [](char c) { return (c & 0xC0) != 0x80; }));
}

std::string padded(const std::string& s, std::size_t width) {
  const std::size_t own = width_of(s);
  return s + std::string(width > own ? width - own : 0, ' ');
}

Line line_of(const Labels& labels, std::size_t i) {
  const Node& n = labels.tape()[i];
  Line l;
  l.label = "%" + std::to_string(i) + (labels.named(i) ? " " + labels.of(i) : "");
  l.call = n.is_leaf() ? "leaf" : labels.call(i);
  for (std::uint32_t o = 0; o < n.output_count(); ++o) l.shape += (o ? " " : "") + n.output(o).shape.str();
  l.rule = labels.rule(i);
  if (n.site().line) l.site = n.site().str();
  if (const std::string inner = Labels::inner_site(n); !inner.empty()) l.site += " > " + inner;
  return l;
}

/// "12 nodes: 4 linear, 2 softmax, ...", the operations that occur most first.
Line folded(const Labels& labels, std::size_t begin, std::size_t end) {
  std::map<std::string, int> count;
  for (std::size_t i = begin; i < end; ++i) ++count[labels.tape()[i].name()];
  std::vector<std::pair<std::string, int>> order(count.begin(), count.end());
  std::stable_sort(order.begin(), order.end(), [](const auto& a, const auto& b) { return a.second > b.second; });
  std::string all;
  for (std::size_t i = 0; i < order.size() && i < 5; ++i)
    all += fmt::format("{}{} {}", i ? ", " : "", order[i].second, order[i].first);
  if (order.size() > 5) all += ", ...";
  Line l;
  l.label = fmt::format("%{} .. %{}", begin, end - 1);
  l.call = fmt::format("{} nodes: {}", end - begin, all);
  return l;
}

/// A run of nodes of one module: [begin, end).
struct Group {
  std::string module;
  std::size_t begin, end;
};

std::vector<Group> groups_of(const Labels& labels) {
  std::vector<Group> groups;
  for (std::size_t i = 0; i < labels.tape().size(); ++i) {
    const Node& n = labels.tape()[i];
    const std::string module = n.is_leaf() ? "" : Labels::module_of(n);  // parameters have their paths
    if (groups.empty() || groups.back().module != module) groups.push_back({module, i, i});
    groups.back().end = i + 1;
  }
  return groups;
}

std::vector<Line> lines_of(const Labels& labels, std::size_t most) {
  std::vector<Line> lines;
  const std::vector<Group> groups = groups_of(labels);
  const bool fold = most != 0 && labels.tape().size() > most;
  for (const Group& g : groups) {
    // What is outside of modules is the reader's own program.
    const bool whole = !fold || g.module.empty() || g.end - g.begin <= 2;
    if (groups.size() > 1 && !g.module.empty() && whole) lines.push_back({g.module + ":", "", "", "", "", true});
    if (whole) {
      for (std::size_t i = g.begin; i < g.end; ++i) {
        lines.push_back(line_of(labels, i));
        if (!g.module.empty()) lines.back().label.insert(0, "  ");
      }
    } else {
      lines.push_back(folded(labels, g.begin, g.end));
      if (!g.module.empty()) lines.back().call = g.module + ": " + lines.back().call;
    }
  }
  return lines;
}

}  // namespace

std::string Tape::str(std::size_t most_lines) const {
  const Labels labels(*this);
  std::vector<Line> lines = lines_of(labels, most_lines);
  if (most_lines != 0 && lines.size() > most_lines) {
    const std::size_t half = std::max<std::size_t>(1, most_lines / 2), left_out = lines.size() - 2 * half;
    lines.erase(lines.begin() + static_cast<std::ptrdiff_t>(half), lines.end() - static_cast<std::ptrdiff_t>(half));
    Line l;
    l.label = fmt::format("... {} lines left out; str(0) has them", left_out);
    l.title = true;
    lines.insert(lines.begin() + static_cast<std::ptrdiff_t>(half), l);
  }
  constexpr std::size_t widest = 60;  // a longer entry pushes its own line to the right alone
  std::size_t label = 0, call = 0, shape = 0, rule = 0;
  for (const Line& l : lines) {
    if (l.title) continue;
    label = std::max(label, std::min(widest, width_of(l.label)));
    call = std::max(call, std::min(widest, width_of(l.call)));
    shape = std::max(shape, std::min(widest, width_of(l.shape)));
    rule = std::max(rule, std::min(widest, width_of(l.rule)));
  }
  std::string s;
  for (const Line& l : lines) {
    std::string line = l.title ? l.label
                               : padded(l.label, label) + "  " + padded(l.call, call) + "  " + padded(l.shape, shape) +
                                     "  " + padded(l.rule, rule) + "  " + l.site;
    while (line.ends_with(' ')) line.pop_back();
    s += line + "\n";
  }
  return s;
}

}  // namespace attune
