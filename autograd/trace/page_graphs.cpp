// The graphs of a page, as its data block.
#include <fmt/format.h>

#include <iterator>

#include "autograd/trace/internal/page_data.h"
#include "autograd/trace/layout.h"

namespace attune::page {

namespace {

/// Levels, whose places, where they are the same, are written once.
class Graphs {
 public:
  std::string of(const std::vector<GraphLevel>& levels) {
    return list(levels, [&](const GraphLevel& level) { return this->level(level); });
  }
  std::string json(const std::string& passes, const std::string& parts) const {
    return "{\"texts\":" + texts_.json() + ",\"places\":" + list(places_, [](const std::string& p) { return p; }) +
           ",\"passes\":" + passes + ",\"parts\":" + parts + "}";
  }

 private:
  std::string level(const GraphLevel& level) {
    if (!level.laid_out) return fmt::format("[{},{}]", texts_.of(level.module), level.boxes.size());
    const std::string boxes = list(level.boxes, [&](const GraphBox& b) {
      return fmt::format(
          "[{},{},{},{}{}]", static_cast<int>(b.kind), texts_.of(b.label), b.node, b.count,
          b.modules.empty() ? "" : "," + list(b.modules, [&](const std::string& m) { return texts_.of(m); }));
    });
    std::string places = fmt::format("[{:.1f},{:.1f},", level.width, level.height);
    places += list(level.boxes, [](const GraphBox& b) {
      return fmt::format("{:.1f},{:.1f},{:.1f},{:.1f}", b.x, b.y, b.width, b.height);
    });
    places +=
        "," +
        list(level.lines,
             [](const GraphLine& l) {
               return fmt::format("[{},{},", l.from, l.to) +
                      list(l.points, [](const auto& p) { return fmt::format("{:.1f},{:.1f}", p.first, p.second); }) +
                      "]";
             }) +
        "]";
    const auto [at, fresh] = known_.try_emplace(places, places_.size());
    if (fresh) places_.push_back(places);
    return fmt::format("[{},{},{},{}]", texts_.of(level.module), level.boxes.size(), at->second, boxes);
  }

  Texts texts_;
  std::unordered_map<std::string, std::size_t> known_;
  std::vector<std::string> places_;
};

}  // namespace

bool add_graphs(const Recording& r, const PageOptions& options, PageData& data) {
  std::vector<GraphLevel> all;
  std::vector<std::size_t> counts;
  for (const auto* passes : {&r.passes, &r.parts})
    for (const RecordedPass& pass : *passes) {
      std::vector<GraphLevel> levels = options.graphs ? graph_levels(pass) : std::vector<GraphLevel>();
      counts.push_back(levels.size());
      std::move(levels.begin(), levels.end(), std::back_inserter(all));
    }
  const bool drawn = options.graphs && lay_out(all);
  Graphs graphs;
  auto at = all.begin();
  auto count = counts.begin();
  const auto take = [&](const RecordedPass&) {
    const auto end = at + static_cast<std::ptrdiff_t>(*count++);
    const std::vector<GraphLevel> levels(std::make_move_iterator(at), std::make_move_iterator(end));
    at = end;
    return graphs.of(levels);
  };
  const std::string passes = list(r.passes, take), parts = list(r.parts, take);
  data.graphs = graphs.json(passes, parts);
  return drawn;
}

}  // namespace attune::page
