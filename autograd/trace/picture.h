// Pictures of tapes, matrices and runs, through Graphviz and gnuplot as installed programs.
//
//     picture::graph("tape.svg", loss);
//     picture::heatmap("weights.png", model.up.weight, {.title = "the first layer"});
//     picture::curve("loss.svg", {{.name = "train", .y = losses}}, {.log_y = true});
//
// A path ends in .svg or .png (ValueError otherwise). The file is written all or not at all, and whether it can be
// written is known before anything is drawn: FileError. All return whether it was drawn: without the program, or if it
// fails or takes longer than 30 seconds, a line on stderr says so, the data is written as text to the path with ".txt"
// behind it, and they return false. The programs are given a script on their standard input and never a path; labels
// are shown as they are, whatever is in them, with control characters as "\n" or "\x1b". Values may be of any dtype,
// NaN and infinite ones among them; a picture of nothing says so. Colours can be told apart by the colour-blind.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "autograd/tensor/tensor.h"

namespace attune::picture {

/// The tape that `loss` depends on, by dot: parameters by their names, operations with their shapes, and what the
/// gradients flow along. Nodes that were recorded under Tracing stand in a box a module, one inside the other; if
/// there are more than 120 of them, modules are folded, the deepest first, until there are fewer. As text: Tape::str().
bool graph(const std::string& path, const Tensor& loss, Here here = Here::current());

struct HeatmapOptions {
  std::vector<std::string> x_labels{};  ///< one a column; none: their numbers
  std::vector<std::string> y_labels{};  ///< one a row
  std::string title{};
};
/// A matrix, the first row on top; a vector is a row. Light to dark from the least value to the greatest, or, if there
/// are negative ones, blue over white to orange around 0; NaN is grey. Up to 12 x 16 elements are written out; more
/// than 1024 along an axis are drawn as means of neighbours. As text: aligned numbers. Throws ShapeError for other
/// ranks, ValueError for another number of labels.
bool heatmap(const std::string& path, const Tensor& matrix, const HeatmapOptions& options = {},
             Here here = Here::current());
/// weights [target, source] of an attention, in grey from 0 to 1 between the words, those of the source on top, as
/// Bahdanau et al. 2015 show them in their figure 3. Without words: their numbers. Throws as heatmap does.
bool alignment(const std::string& path, const Tensor& weights, const std::vector<std::string>& source_words = {},
               const std::vector<std::string>& target_words = {}, Here here = Here::current());

struct Series {
  std::string name;
  std::vector<double> y;
  std::vector<double> x{};  ///< none: 0, 1, 2, ...
};
struct CurveOptions {
  std::string title{}, x_label{}, y_label{};
  bool log_x = false, log_y = false;  ///< what is not positive is then left out
};
/// Lines over a common axis, with gaps where a value is not finite. Of a long series each 1/2000 of the width shows its
/// least and greatest value. As text: a table a series. Throws ValueError for x and y of different lengths.
bool curve(const std::string& path, const std::vector<Series>& series, const CurveOptions& options = {},
           Here here = Here::current());

/// Histograms of magnitudes on a common logarithmic axis, a tensor a row, the first on top: the gradient of a leaf that
/// requires one (so model.named_parameters() shows the layers' gradients), or else the elements themselves. Beside each
/// its root mean square, and how many elements are 0, NaN or infinite. As text: these numbers.
bool gradient_histograms(const std::string& path, const std::vector<std::pair<std::string, Tensor>>& tensors,
                         const std::string& title = "Gradients by layer", Here here = Here::current());

/// A gnuplot script of one's own: plot commands, data in blocks before them as `$name << EOD`. The terminal is set to
/// so many pixels, and file names are no part of it. As text: the script.
bool gnuplot(const std::string& path, int width, int height, const std::string& script, Here here = Here::current());

}  // namespace attune::picture
