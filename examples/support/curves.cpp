#include "examples/support/curves.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>

#include "examples/support/plot.h"

namespace examples {

namespace {

constexpr std::size_t points = 100;
constexpr const char* colours[] = {"#b03060", "#206080", "#228833", "#ccaa22",
                                   "#7a3fb0", "#33aabb", "#e07020", "#555555"};

}  // namespace

bool draw_curves(const std::string& path, const std::string& title, const Axis& left, const Axis& right) {
  std::string data, plot, axes;
  std::size_t n = 0;
  const auto add = [&](const Axis& axis, const char* which) {
    for (const Curve& curve : axis.curves) {
      data += data_block(fmt::format("curve{}", n), averaged(curve.values, points));
      plot += fmt::format("{} $curve{} using 1:({}*$2) axes {} with lines lw 2 lc rgb '{}' title '{}'",
                          n == 0 ? "plot" : ",", n, curve.scale, which, colours[n % std::size(colours)], curve.name);
      ++n;
    }
  };
  add(left, "x1y1");
  add(right, "x1y2");
  if (!right.curves.empty())
    axes = fmt::format("set y2label '{}'\nset ytics nomirror\nset y2tics\nset y2range {}\n", right.label, right.range);
  return draw(path, 900, 480,
              data + fmt::format("set title '{}'\nset xlabel 'step'\nset ylabel '{}'\nset yrange {}\n{}set grid\n"
                                 "set key center right\n{}",
                                 title, left.label, left.range, axes, plot));
}

bool draw_panels(const std::string& path, const std::vector<Panel>& panels) {
  std::string data, plots;
  std::size_t n = 0;
  for (const Panel& panel : panels) {
    const bool many = panel.curves.size() > 4;  // whose names would cover them
    plots += fmt::format("set title '{}'\nset xlabel '{}' offset 0,0.6\n{}\nset key {}\n", panel.title, panel.x_label,
                         panel.doubling ? "set logscale x 2" : "unset logscale x",
                         many             ? "outside below"
                         : panel.doubling ? "inside top left"
                                          : "inside top right");
    plots += panel.logarithmic ? "set logscale y 2\nset yrange [*:*]\n" : "unset logscale y\nset yrange [0:*]\n";
    for (std::size_t i = 0; i < panel.curves.size(); ++i, ++n) {
      const Curve& curve = panel.curves[i];
      data += data_block(fmt::format("curve{}", n), averaged(curve.values, points));
      plots += fmt::format("{} $curve{} using 1:({}*$2) with {} lw 2 lc rgb '{}' title '{}'", i == 0 ? "plot" : ",", n,
                           curve.scale, panel.doubling ? "linespoints pt 7" : "lines", colours[i % std::size(colours)],
                           curve.name);
    }
    plots += "\n";
  }
  return draw(path, 520 * static_cast<int>(panels.size()), 440,
              data + fmt::format("set multiplot layout 1,{}\nset grid\n{}unset multiplot", panels.size(), plots));
}

bool draw_images(const std::string& path, const std::string& x_label, const std::string& y_label,
                 const std::vector<Image>& images) {
  std::string data, plots;
  for (std::size_t i = 0; i < images.size(); ++i) {
    const Image& image = images[i];
    data += data_block(fmt::format("image{}", i), image.matrix);
    const double least = std::atof(image.range.c_str() + 1);
    plots += fmt::format(
        "set xrange [-0.5:{}]\nset yrange [{}:-0.5]\nset title '{}'\nset palette {}\nset cbrange {}\n{}\n"
        "plot $image{} matrix using 1:2:($3 < {} ? NaN : $3) with image notitle\n",
        static_cast<double>(image.matrix.size(1)) - 0.5, static_cast<double>(image.matrix.size(0)) - 0.5, image.title,
        image.palette, image.range, image.more, i, least);
  }
  return draw(path, 600 * static_cast<int>(images.size()), 620,
              data + fmt::format("set multiplot layout 1,{}\nset xlabel '{}'\nset ylabel '{}'\nset size square\n{}"
                                 "unset multiplot",
                                 images.size(), x_label, y_label, plots));
}

}  // namespace examples
