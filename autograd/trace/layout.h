// The graphs of a recorded pass, a module at a time, laid out by Graphviz.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "autograd/trace/recording.h"

namespace attune {

/// A box of a graph: an operation, a module that is closed, or what lies outside of the open one.
struct GraphBox {
  enum class Kind : std::uint8_t { node, module, input, output };
  Kind kind = Kind::node;
  std::string label;                           ///< "softmax", "layers.0-5"
  int node = -1;                               ///< the (first) node of the pass that it stands for
  int count = 1;                               ///< how many nodes it stands for
  std::vector<std::string> modules;            ///< their paths; several are repeated blocks, folded into one box
  double x = 0, y = 0, width = 0, height = 0;  ///< the centre, in points from the upper left
};

struct GraphLine {
  int from = 0, to = 0;                           ///< boxes
  std::vector<std::pair<double, double>> points;  ///< of a chain of cubic Bezier curves: 3 k + 1 of them
};

/// What one module shows when it is open: its own operations, the modules directly inside it, and ends of lines that
/// come from or go to the outside.
struct GraphLevel {
  std::string module;  ///< its path; "" is the whole program
  std::vector<GraphBox> boxes;
  std::vector<GraphLine> lines;
  bool laid_out = false;
  double width = 0, height = 0;
};

/// The levels of a pass, the outer ones first, not laid out. A container of blocks that has no operations of its own is
/// seen through ("layers.0" stands beside its container's neighbours), and consecutive blocks of equal operations are
/// one box. Leaves stand in the module that owns them.
std::vector<GraphLevel> graph_levels(const RecordedPass& pass);

/// Lets Graphviz's `dot` place boxes and lines, all levels in one run. Levels of more than `most_boxes` boxes are left
/// as they are, and so are all if there is no dot or if it takes more than ten seconds. Returns whether dot ran.
bool lay_out(std::vector<GraphLevel>& levels, std::size_t most_boxes = 120);

}  // namespace attune
