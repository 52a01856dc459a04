#include "autograd/trace/layout.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <chrono>
#include <map>
#include <set>
#include <sstream>
#include <stdexcept>

#include "autograd/trace/internal/filter.h"

namespace attune {

namespace {

/// The modules of a pass as a tree.
class Modules {
 public:
  explicit Modules(const RecordedPass& pass) {
    id("");
    for (const RecordedNode& node : pass.nodes)
      if (!node.leaf) own(id(node.module));
    for (const RecordedNode& node : pass.nodes) of_.push_back(node.leaf ? home(node) : id(node.module));
    see_through();
  }

  std::size_t size() const { return paths_.size(); }
  const std::string& path(int module) const { return paths_[static_cast<std::size_t>(module)]; }
  int parent(int module) const { return parents_[static_cast<std::size_t>(module)]; }
  int of(int node) const { return of_[static_cast<std::size_t>(node)]; }
  bool transparent(int module) const { return transparent_[static_cast<std::size_t>(module)]; }
  int find(const std::string& path) const {
    const auto at = ids_.find(path);
    return at == ids_.end() ? -1 : at->second;
  }

 private:
  int id(const std::string& path) {
    if (const int known = find(path); known >= 0) return known;
    const std::size_t dot = path.rfind('.');
    const int outer = path.empty() ? -1 : id(dot == std::string::npos ? "" : path.substr(0, dot));
    paths_.push_back(path), parents_.push_back(outer), owns_.push_back(false);
    return ids_[path] = static_cast<int>(paths_.size()) - 1;
  }
  void own(int module) { owns_[static_cast<std::size_t>(module)] = true; }

  /// A leaf belongs to the innermost module that its name or its record speaks of.
  int home(const RecordedNode& leaf) const {
    std::string path = leaf.module.empty() ? leaf.label : leaf.module + ".";
    for (std::size_t dot; (dot = path.rfind('.')) != std::string::npos;) {
      path.resize(dot);
      if (const int module = find(path); module >= 0) return module;
    }
    return 0;
  }

  /// Modules without operations of their own whose parts are numbered.
  void see_through() {
    transparent_.assign(size(), false);
    for (std::size_t m = 1; m < size(); ++m) transparent_[m] = !owns_[m];
    for (std::size_t m = 1; m < size(); ++m) {
      const std::string& path = paths_[m];
      const std::size_t from = path.rfind('.') + 1;  // npos + 1 is 0
      if (path.empty() || !std::all_of(path.begin() + static_cast<std::ptrdiff_t>(from), path.end(),
                                       [](unsigned char c) { return std::isdigit(c); }))
        transparent_[static_cast<std::size_t>(parents_[m])] = false;
    }
    std::vector<bool> has_parts(size(), false);
    for (std::size_t m = 1; m < size(); ++m) has_parts[static_cast<std::size_t>(parents_[m])] = true;
    for (std::size_t m = 0; m < size(); ++m)
      if (!has_parts[m] || m == 0) transparent_[m] = false;
  }

  std::vector<std::string> paths_;
  std::vector<int> parents_, of_;
  std::vector<bool> owns_, transparent_;
  std::map<std::string, int> ids_;
};

/// One level while it is put together.
struct Building {
  std::map<std::pair<int, int>, int> boxes;  // by (kind, node or module)
  std::set<std::pair<int, int>> lines;
  GraphLevel level;

  int box(GraphBox::Kind kind, int key, const std::string& label, int node) {
    const auto [at, fresh] = boxes.try_emplace({static_cast<int>(kind), key}, static_cast<int>(level.boxes.size()));
    if (fresh) {
      level.boxes.push_back({.kind = kind, .label = label, .node = node, .modules = {}});
      level.boxes.back().count = 0;
    }
    return at->second;
  }
};

class Levels {
 public:
  explicit Levels(const RecordedPass& pass) : pass_(pass), modules_(pass), building_(modules_.size()) {
    for (std::size_t m = 0; m < modules_.size(); ++m) building_[m].level.module = modules_.path(static_cast<int>(m));
    const int count = static_cast<int>(pass.nodes.size());
    for (int node = 0; node < count; ++node)
      for (int m = modules_.of(node); m >= 0; m = modules_.parent(m)) ++at(m).level.boxes[inside(m, node)].count;
    for (int node = 0; node < count; ++node)
      for (const RecordedInput& input : pass.nodes[static_cast<std::size_t>(node)].inputs)
        if (input.node >= 0) connect(input.node, node);
  }

  std::vector<GraphLevel> take();

 private:
  Building& at(int module) { return building_[static_cast<std::size_t>(module)]; }
  const RecordedNode& record(int node) const { return pass_.nodes[static_cast<std::size_t>(node)]; }
  bool holds(int module, int node) const {
    for (int m = modules_.of(node); m >= 0; m = modules_.parent(m))
      if (m == module) return true;
    return false;
  }
  std::string relative(int inner, int outer) const {
    const std::string& path = modules_.path(inner);
    return modules_.path(outer).empty() ? path : path.substr(modules_.path(outer).size() + 1);
  }

  /// The box in which `module`, when open, shows a node that it holds.
  std::size_t inside(int module, int node) {
    int closed = -1;
    for (int m = modules_.of(node); m != module; m = modules_.parent(m))
      if (m == modules_.of(node) || !modules_.transparent(m)) closed = m;
    if (closed < 0) {
      const RecordedNode& r = record(node);
      const std::string label = r.leaf ? r.label.substr(r.label.rfind('.') + 1) : r.operation;
      return static_cast<std::size_t>(at(module).box(GraphBox::Kind::node, node, label, node));
    }
    const int box = at(module).box(GraphBox::Kind::module, closed, relative(closed, module), node);
    GraphBox& made = at(module).level.boxes[static_cast<std::size_t>(box)];
    if (made.modules.empty()) made.modules.push_back(modules_.path(closed));
    return static_cast<std::size_t>(box);
  }

  void connect(int from, int to) {
    std::set<int> seen;
    for (const int end : {from, to})
      for (int m = modules_.of(end); m >= 0; m = modules_.parent(m)) seen.insert(m);
    for (const int m : seen) {
      const bool from_inside = holds(m, from), to_inside = holds(m, to);
      if (!to_inside && record(from).leaf) continue;  // somebody else's use of what is ours
      const int a = from_inside ? static_cast<int>(inside(m, from)) : outside(m, from, GraphBox::Kind::input);
      const int b = to_inside ? static_cast<int>(inside(m, to)) : outside(m, to, GraphBox::Kind::output);
      if (a != b) at(m).lines.insert({a, b});
    }
  }
  int outside(int module, int node, GraphBox::Kind kind) {
    const RecordedNode& r = record(node);
    const int box = at(module).box(kind, node, r.label.empty() || r.label[0] == '%' ? r.operation : r.label, node);
    at(module).level.boxes[static_cast<std::size_t>(box)].count = 1;
    return box;
  }

  std::string signature(int module) const;
  void fold(Building& b) const;

  const RecordedPass& pass_;
  Modules modules_;
  std::vector<Building> building_;
  mutable std::map<int, std::string> signatures_;  // of all modules, once somebody asks
  mutable bool signed_ = false;
};

/// What a block does: the operations inside it, in order, by relative path.
std::string Levels::signature(int module) const {
  if (!signed_) {
    signed_ = true;
    for (int node = 0; node < static_cast<int>(pass_.nodes.size()); ++node) {
      if (record(node).leaf) continue;
      for (int m = modules_.of(node); m > 0; m = modules_.parent(m))
        signatures_[m] += record(node).operation + '@' + record(node).module.substr(modules_.path(m).size()) + ';';
    }
  }
  const auto found = signatures_.find(module);
  return found == signatures_.end() ? "" : found->second;
}

/// "layers.0" and "layers.1" that do the same become "layers.0-1".
void Levels::fold(Building& b) const {
  std::map<std::string, int> first;  // container and signature -> box
  std::vector<int> into(b.level.boxes.size());
  std::vector<GraphBox> kept;
  for (std::size_t i = 0; i < b.level.boxes.size(); ++i) {
    GraphBox& box = b.level.boxes[i];
    const std::size_t dot = box.label.rfind('.') + 1;
    const bool numbered = box.kind == GraphBox::Kind::module && dot < box.label.size() &&
                          box.label.find_first_not_of("0123456789", dot) == std::string::npos;
    const std::string what = numbered ? signature(modules_.find(box.modules.empty() ? "" : box.modules[0])) : "";
    if (numbered && !what.empty()) {
      const auto [at, fresh] = first.try_emplace(box.label.substr(0, dot) + ' ' + what, static_cast<int>(kept.size()));
      if (!fresh) {
        GraphBox& one = kept[static_cast<std::size_t>(at->second)];
        const std::string last = one.modules.back().substr(one.modules.back().rfind('.') + 1);
        if (std::stoll(last.substr(0, 15)) + 1 == std::stoll(box.label.substr(dot, 15))) {
          one.modules.push_back(box.modules[0]), one.count += box.count;
          into[i] = at->second;
          continue;
        }
        at->second = static_cast<int>(kept.size());
      }
    }
    into[i] = static_cast<int>(kept.size());
    kept.push_back(std::move(box));
  }
  for (GraphBox& box : kept)
    if (box.modules.size() > 1) box.label += "-" + box.modules.back().substr(box.modules.back().rfind('.') + 1);
  b.level.boxes = std::move(kept);
  std::set<std::pair<int, int>> lines;
  for (const auto& [from, to] : b.lines) {
    const int a = into[static_cast<std::size_t>(from)], z = into[static_cast<std::size_t>(to)];
    if (a != z) lines.insert({a, z});
  }
  for (const auto& [from, to] : lines) b.level.lines.push_back({from, to, {}});
}

std::vector<GraphLevel> Levels::take() {
  std::vector<GraphLevel> all;
  for (std::size_t m = 0; m < building_.size(); ++m) {
    if (modules_.transparent(static_cast<int>(m))) continue;
    fold(building_[m]);
    all.push_back(std::move(building_[m].level));
  }
  std::stable_sort(all.begin(), all.end(), [](const GraphLevel& a, const GraphLevel& b) {
    return std::count(a.module.begin(), a.module.end(), '.') + !a.module.empty() <
           std::count(b.module.begin(), b.module.end(), '.') + !b.module.empty();
  });
  return all;
}

// ---- Graphviz

/// Boxes are numbered, so that no text of the recording gets into Graphviz's language; equal texts have equal layouts.
std::string dot_text(const GraphLevel& level) {
  std::string text = "digraph {\nnode [shape=box fixedsize=true label=\"\"]\nnodesep=0.2 ranksep=0.35\n";
  for (std::size_t i = 0; i < level.boxes.size(); ++i) {
    const GraphBox& box = level.boxes[i];
    const bool module = box.kind == GraphBox::Kind::module;  // it says too how many nodes it has
    const double letters = static_cast<double>(std::clamp<std::size_t>(box.label.size(), module ? 7 : 4, 24));
    const double height = module ? 0.55 : 0.4;
    text += fmt::format("n{} [width={:.2f} height={:.2f}]\n", i, 0.25 + 0.095 * letters, height);
  }
  for (const GraphLine& line : level.lines) text += fmt::format("n{} -> n{}\n", line.from, line.to);
  return text + "}\n";
}

constexpr double points_per_inch = 72;

/// One graph of dot's plain output, which ends in "stop"; false if it is not that.
bool read_plain(std::istream& in, GraphLevel& level) {
  std::map<std::pair<int, int>, std::size_t> line_of;
  for (std::size_t i = 0; i < level.lines.size(); ++i) line_of[{level.lines[i].from, level.lines[i].to}] = i;
  std::string text, word, tail, head;
  while (std::getline(in, text) && text != "stop") {
    std::istringstream words(text);
    words >> word;
    if (word == "graph") {
      double scale = 0;
      words >> scale >> level.width >> level.height;
      level.width *= points_per_inch, level.height *= points_per_inch;
    } else if (word == "node") {
      double x = 0, y = 0, w = 0, h = 0;
      words >> head >> x >> y >> w >> h;
      GraphBox& box = level.boxes.at(std::stoul(head.substr(1)));
      box.x = points_per_inch * x, box.y = level.height - points_per_inch * y;
      box.width = points_per_inch * w, box.height = points_per_inch * h;
    } else if (word == "edge") {
      std::size_t n = 0;
      words >> tail >> head >> n;
      GraphLine& line = level.lines[line_of.at({std::stoi(tail.substr(1)), std::stoi(head.substr(1))})];
      for (double x = 0, y = 0; n > 0 && words >> x >> y; --n)
        line.points.emplace_back(points_per_inch * x, level.height - points_per_inch * y);
    }
  }
  return text == "stop";
}

}  // namespace

std::vector<GraphLevel> graph_levels(const RecordedPass& pass) { return Levels(pass).take(); }

bool lay_out(std::vector<GraphLevel>& levels, std::size_t most_boxes) {
  std::map<std::string, std::size_t> first;  // of equal graphs one is enough
  std::vector<std::size_t> same_as(levels.size());
  std::vector<std::size_t> order;
  std::string input;
  for (std::size_t i = 0; i < levels.size(); ++i) {
    same_as[i] = levels.size();
    if (levels[i].boxes.empty() || levels[i].boxes.size() > most_boxes) continue;
    const std::string text = dot_text(levels[i]);
    const auto [at, fresh] = first.try_emplace(text, i);
    same_as[i] = at->second;
    if (fresh) order.push_back(i), input += text;
  }
  try {
    std::istringstream in(detail::filter({"dot", "-Tplain"}, input, std::chrono::seconds(10)));
    for (const std::size_t i : order) levels[i].laid_out = read_plain(in, levels[i]);
  } catch (const std::exception&) {  // there is no dot, or it is some other program
    for (GraphLevel& level : levels) level.laid_out = false;
    return false;
  }
  for (std::size_t i = 0; i < levels.size(); ++i) {
    if (same_as[i] >= levels.size() || same_as[i] == i || !levels[same_as[i]].laid_out) continue;
    const GraphLevel& like = levels[same_as[i]];
    levels[i].laid_out = true, levels[i].width = like.width, levels[i].height = like.height;
    for (std::size_t b = 0; b < like.boxes.size(); ++b) {
      GraphBox& box = levels[i].boxes[b];
      box.x = like.boxes[b].x, box.y = like.boxes[b].y, box.width = like.boxes[b].width;
      box.height = like.boxes[b].height;
    }
    for (std::size_t l = 0; l < like.lines.size(); ++l) levels[i].lines[l].points = like.lines[l].points;
  }
  return true;
}

}  // namespace attune
