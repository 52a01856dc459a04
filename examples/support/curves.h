// Pictures that most examples draw: curves against the step, and matrices as images.
#pragma once

#include <string>
#include <vector>

#include "autograd/tensor/tensor.h"
#include "nn/training/metrics_log.h"

namespace examples {

/// A line of a picture. Long ones are averaged over hundredths of the run.
struct Curve {
  std::string name;
  attune::nn::Series values;
  double scale = 1;  ///< of the values: 100 for shares in percent
};

struct Axis {
  std::string label;
  std::vector<Curve> curves;
  std::string range = "[0:*]";
};

/// Curves against the step by the left axis and, if it has any, by the right one. Returns as draw() does.
bool draw_curves(const std::string& path, const std::string& title, const Axis& left, const Axis& right = {});

/// Curves of one kind, beside others of another.
struct Panel {
  std::string title, x_label;
  std::vector<Curve> curves;
  bool doubling = false;     ///< a logarithmic x axis, and a mark at each value
  bool logarithmic = false;  ///< the y axis too
};

bool draw_panels(const std::string& path, const std::vector<Panel>& panels);

/// A matrix as an image, rows from the top; what is below the range is not drawn.
struct Image {
  std::string title;
  attune::Tensor matrix;
  std::string range = "[0:1]";
  std::string palette = "defined (0 'white', 0.25 '#9ecae1', 1 '#08306b')";
  std::string more = "";  ///< further commands of gnuplot
};

/// Square images side by side.
bool draw_images(const std::string& path, const std::string& x_label, const std::string& y_label,
                 const std::vector<Image>& images);

}  // namespace examples
