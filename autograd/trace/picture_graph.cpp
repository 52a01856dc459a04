// The tape as a picture.

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

#include "autograd/tape/tape.h"
#include "autograd/tape/tracing.h"
#include "autograd/trace/internal/drawing.h"
#include "autograd/trace/labels.h"
#include "autograd/trace/picture.h"

namespace attune::picture {

namespace {

constexpr std::size_t most_nodes = 120;

std::size_t depth_of(const std::string& module) {
  return module.empty() ? 0 : static_cast<std::size_t>(1 + std::count(module.begin(), module.end(), '.'));
}

/// The first `depth` names of a path.
std::string cut(const std::string& module, std::size_t depth) {
  if (depth == 0) return "";
  std::size_t at = 0;
  for (std::size_t i = 0; i < depth; ++i) {
    at = module.find('.', at);
    if (at == std::string::npos) return module;
    ++at;
  }
  return module.substr(0, at - 1);
}

/// A tape with its modules, those below a depth folded into one box each.
class Picture {
 public:
  explicit Picture(const Tape& tape) : tape_(tape) {
    for (std::size_t i = 0; i < tape.size(); ++i) {
      modules_.push_back(Labels::module_of(tape[i]));
      deepest_ = std::max(deepest_, depth_of(modules_.back()));
    }
    depth_ = deepest_ + 1;  // modules of this depth and below are folded
    while (depth_ > 1 && boxes() > most_nodes) --depth_;
    if (boxes() > most_nodes) {  // still too many: the last ones are shown
      first_ = tape.size() - most_nodes;
      boxes();
    }
  }

  std::string dot() const {
    std::string s =
        "digraph tape {\nrankdir=TB;\nbgcolor=\"white\";\nnodesep=0.25;\nranksep=0.35;\n"
        "graph [fontname=\"DejaVu Sans\", fontsize=11, fontcolor=\"#444444\", color=\"#999999\", style=\"rounded\", "
        "labeljust=l];\n"
        "node [fontname=\"DejaVu Sans\", fontsize=10, shape=box, style=\"filled,rounded\", color=\"#555555\", "
        "margin=\"0.09,0.05\", height=0.3];\nedge [color=\"#666666\", arrowsize=0.6, fontname=\"DejaVu Sans\", "
        "fontsize=8];\n";
    if (tape_.size() == 0) return s + "empty [label=\"nothing is recorded\", fillcolor=\"#ffffff\"];\n}\n";
    if (first_ > 0)
      s += fmt::format("earlier [label=\"{} earlier nodes\", fillcolor=\"#ffffff\", style=\"dashed,rounded\"];\n",
                       first_);
    s += inside("", 0);
    std::set<std::string> edges;
    for (std::size_t i = first_; i < tape_.size(); ++i)
      for (const Edge& e : tape_[i].edges()) {
        if (!e.node) continue;
        const std::size_t from = tape_.index_of(e.node.get());
        const std::string a = from < first_ ? "earlier" : box_of(from), b = box_of(i);
        if (a == b) continue;
        const std::string slot = e.slot == 0 ? "" : fmt::format(" [label=\"{}\"]", e.slot);
        edges.insert(fmt::format("{} -> {}{};\n", a, b, slot));
      }
    for (const std::string& edge : edges) s += edge;
    return s + "}\n";
  }

 private:
  bool folded(std::size_t i) const { return depth_of(modules_[i]) >= depth_; }
  std::string box_of(std::size_t i) const {
    return folded(i) ? "m" + std::to_string(folds_.at(cut(modules_[i], depth_))) : "n" + std::to_string(i);
  }

  /// How many boxes there are; remembers which modules are folded.
  std::size_t boxes() {
    folds_.clear();
    counts_.clear();
    std::size_t single = 0;
    for (std::size_t i = first_; i < tape_.size(); ++i) {
      if (!folded(i)) {
        ++single;
        continue;
      }
      const std::string module = cut(modules_[i], depth_);
      folds_.emplace(module, folds_.size());
      ++counts_[module];
    }
    return single + folds_.size();
  }

  /// What lies in a module of that depth, and boxes for the modules in it.
  std::string inside(const std::string& module, std::size_t depth) const {
    std::string s;
    std::vector<std::string> below;  // in order of execution
    std::set<std::string> seen;
    for (std::size_t i = first_; i < tape_.size(); ++i) {
      const std::string& own = modules_[i];
      if (cut(own, depth) != module) continue;
      if (depth_of(own) == depth)
        s += node(i);
      else if (const std::string next = cut(own, depth + 1); seen.insert(next).second)
        below.push_back(next);
    }
    for (const std::string& next : below) {
      if (depth + 1 >= depth_)
        s += fmt::format("m{} [label={}, fillcolor=\"#e8e3f4\", shape=box3d, style=filled];\n", folds_.at(next),
                         detail::dot_string(fmt::format("{} ({} nodes)", next, counts_.at(next))));
      else
        s += fmt::format("subgraph {} {{\nlabel={};\n{}}}\n", detail::dot_string("cluster " + next, 4096),
                         detail::dot_string(next), inside(next, depth + 1));
    }
    return s;
  }

  std::string node(std::size_t i) const {
    const Node& n = tape_[i];
    std::string shapes;
    for (std::uint32_t o = 0; o < n.output_count(); ++o) shapes += (o ? " " : "") + n.output(o).shape.str();
    const std::string name = name_of_output(n, 0), own = name.substr(name.rfind('.') + 1);
    const std::string label = (!n.is_leaf() ? n.name() : own.empty() ? "leaf" : own) + (" " + shapes);
    const char* const fill = n.is_leaf() ? "#fde0b2" : i + 1 == tape_.size() ? "#9bd3c0" : "#d6e6f5";
    const std::string hint = n.site().line != 0 ? n.rule_text() + "  " + n.site().str() : n.rule_text();
    return fmt::format("n{} [label={}, fillcolor=\"{}\"{}, tooltip={}];\n", i, detail::dot_string(label), fill,
                       n.is_leaf() ? ", shape=ellipse, style=filled" : "",
                       detail::dot_string(hint.empty() ? label : hint, 400));
  }

  const Tape& tape_;
  std::vector<std::string> modules_;  // a node each
  std::map<std::string, std::size_t> folds_, counts_;
  std::size_t deepest_ = 0, depth_ = 0, first_ = 0;
};

}  // namespace

bool graph(const std::string& path, const Tensor& loss, Here here) {
  const std::string kind = detail::kind_of_picture(path, here);
  const Tape tape = Tape::of(loss);
  return detail::draw(
      path, {"dot", "-T" + kind}, Picture(tape).dot(), [&] { return tape.str(); }, here);
}

}  // namespace attune::picture
