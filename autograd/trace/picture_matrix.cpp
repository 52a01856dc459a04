// Matrices as pictures.

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "autograd/runtime/error.h"
#include "autograd/trace/internal/drawing.h"
#include "autograd/trace/picture.h"

namespace attune::picture {

namespace {

using Labels = std::vector<std::string>;

struct Grid {
  std::size_t rows = 0, columns = 0;
  std::vector<double> v;
  double at(std::size_t i, std::size_t j) const { return v[i * columns + j]; }
};

/// What the elements are, apart from their places.
struct Range {
  double least = 0, most = 0;  // of the finite ones; 0 without any
  std::size_t nans = 0, infinities = 0, finite = 0;
};

Grid grid_of(const char* what, const Tensor& x, Here here) {
  if (!x.defined()) throw ShapeError(std::string(what) + ": the tensor is undefined", here);
  if (x.rank() > 2) throw ShapeError(std::string(what) + ": a matrix is drawn, got " + x.shape().str(), here);
  const auto size = [&x](int axis) { return static_cast<std::size_t>(x.size(axis)); };
  return {x.rank() < 2 ? 1 : size(0), x.rank() == 0 ? 1 : size(-1), x.to_vector<double>(here)};
}

void check_labels(const char* what, const char* which, const Labels& labels, std::size_t n, Here here) {
  if (!labels.empty() && labels.size() != n)
    throw ValueError(fmt::format("{}: {} {} for {} of them", what, labels.size(), which, n), here);
}

Range range_of(const Grid& g) {
  Range r;
  for (const double v : g.v) {
    r.nans += std::isnan(v);
    r.infinities += std::isinf(v);
    if (!std::isfinite(v)) continue;
    r.least = r.finite == 0 ? v : std::min(r.least, v);
    r.most = r.finite == 0 ? v : std::max(r.most, v);
    ++r.finite;
  }
  return r;
}

/// At most `most` along each axis: means of neighbours.
Grid reduced(const Grid& g, std::size_t most) {
  const std::size_t down = (g.rows + most - 1) / most, across = (g.columns + most - 1) / most;
  if (down <= 1 && across <= 1) return g;
  Grid r{(g.rows + down - 1) / down, (g.columns + across - 1) / across, {}};
  for (std::size_t i = 0; i < r.rows; ++i)
    for (std::size_t j = 0; j < r.columns; ++j) {
      double sum = 0, n = 0;
      for (std::size_t k = i * down; k < std::min(g.rows, (i + 1) * down); ++k)
        for (std::size_t l = j * across; l < std::min(g.columns, (j + 1) * across); ++l) sum += g.at(k, l), ++n;
      r.v.push_back(sum / n);
    }
  return r;
}

std::string number(double v) {
  if (std::isnan(v)) return "NaN";
  if (std::isinf(v)) return v > 0 ? "inf" : "-inf";
  return fmt::format("{:.3g}", v == 0 ? 0.0 : v);
}

std::string label_of(const Labels& labels, std::size_t i) {
  return labels.empty() ? std::to_string(i) : detail::shown(labels[i], 40);
}

/// "set xtics (...)": each label, or as many as fit into `room` places.
std::string tics(const char* axis, const Labels& labels, std::size_t n, std::size_t room, const char* how) {
  const std::size_t step = std::max<std::size_t>(1, (n + room - 1) / room);
  std::string s = fmt::format("set {} {} scale 0 textcolor rgb '#333333' (", axis, how);
  for (std::size_t i = 0; i < n; i += step)
    s += fmt::format("{}{} {}", i ? ", " : "", detail::gnuplot_string(label_of(labels, i), 40), i);
  return s + ")\n";
}

std::size_t longest(const Labels& labels, std::size_t n) {
  std::size_t most = labels.empty() ? std::to_string(n == 0 ? 0 : n - 1).size() : 1;
  for (const std::string& label : labels) most = std::max(most, detail::shown(label, 40).size());
  return most;
}

std::string as_text(const Grid& g, const Labels& x, const Labels& y, const std::string& title) {
  std::vector<std::size_t> widths(g.columns + 1, 0);
  const auto width = [](const std::string& s) {
    return static_cast<std::size_t>(
        std::count_if(s.begin(), s.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0u) != 0x80u; }));
  };
  for (std::size_t i = 0; i < g.rows; ++i) widths[0] = std::max(widths[0], width(label_of(y, i)));
  for (std::size_t j = 0; j < g.columns; ++j) {
    widths[j + 1] = width(label_of(x, j));
    for (std::size_t i = 0; i < g.rows; ++i) widths[j + 1] = std::max(widths[j + 1], number(g.at(i, j)).size());
  }
  std::string s = title.empty() ? "" : detail::shown(title, 400) + "\n";
  s += fmt::format("[{}, {}]\n", g.rows, g.columns) + std::string(widths[0], ' ');
  for (std::size_t j = 0; j < g.columns; ++j) s += "  " + detail::padded(label_of(x, j), widths[j + 1], true);
  s += "\n";
  for (std::size_t i = 0; i < g.rows; ++i) {
    s += detail::padded(label_of(y, i), widths[0]);
    for (std::size_t j = 0; j < g.columns; ++j) s += "  " + detail::padded(number(g.at(i, j)), widths[j + 1], true);
    s += "\n";
  }
  return s;
}

/// How a matrix becomes colours.
struct Colours {
  std::string palette;
  double low, high;
  bool dark_is_high;  // numbers on dark cells are white
  bool diverging = false;
};

Colours colours_for(const Range& r) {
  if (r.least < 0) {
    const double most = std::max(-r.least, r.most);
    return {"defined (0 '#08519c', 0.25 '#6baed6', 0.5 '#ffffff', 0.75 '#fd8d3c', 1 '#a63603')", -most, most, true,
            true};
  }
  const double high = r.most > r.least ? r.most : r.least + (r.least == 0 ? 1 : std::abs(r.least));
  return {"defined (0 '#f7fbff', 0.25 '#c6dbef', 0.5 '#6baed6', 0.75 '#2171b5', 1 '#08306b')", r.least, high, true};
}

/// Whether a number on a cell of this value has to be light.
bool on_dark(const Colours& c, double v) {
  const double share = (std::clamp(v, c.low, c.high) - c.low) / (c.high - c.low);
  if (c.diverging) return std::abs(share - 0.5) > 0.32;
  return c.dark_is_high ? share > 0.6 : share < 0.5;
}

std::string cell_numbers(const Grid& g, const Colours& c) {
  std::string s;
  for (std::size_t i = 0; i < g.rows; ++i)
    for (std::size_t j = 0; j < g.columns; ++j) {
      const double v = g.at(i, j);
      s += fmt::format("set label \"{}\" at {},{} center front textcolor rgb '{}'\n", number(v), j, i,
                       !std::isnan(v) && on_dark(c, v) ? "#ffffff" : "#222222");
    }
  return s;
}

std::string notes(const Range& r, bool means) {
  std::string s;
  const auto add = [&s](const std::string& part) { s += (s.empty() ? "" : ", ") + part; };
  if (r.nans > 0) add(fmt::format("{} NaN (grey)", r.nans));
  if (r.infinities > 0) add(fmt::format("{} infinite (at the ends of the scale)", r.infinities));
  if (means) add("means of neighbours are shown");
  return s;
}

std::string nothing(const Grid& g, const std::string& title) {
  return "set title " + detail::gnuplot_string(title) +
         "\nunset tics\nunset key\nset xrange [0:1]\nset yrange [0:1]\n" + "set label " +
         detail::gnuplot_string(fmt::format("no elements: [{}, {}]", g.rows, g.columns)) +
         " at 0.5,0.5 center\nplot NaN\n";
}

/// gnuplot draws no image of a single row or column: it is given twice, in halves of a cell.
std::string matrix_block(const Grid& g, const Colours& c) {
  std::string s = "$m << EOD\n";
  for (std::size_t i = 0; i < std::max<std::size_t>(g.rows, 2); ++i) {
    for (std::size_t j = 0; j < std::max<std::size_t>(g.columns, 2); ++j) {
      const double v = g.at(std::min(i, g.rows - 1), std::min(j, g.columns - 1));
      s += std::isnan(v) ? "NaN " : fmt::format("{:.9g} ", std::clamp(v, c.low, c.high));
    }
    s += "\n";
  }
  return s + "EOD\n";
}
std::string matrix_plot(const Grid& g, bool vectors) {
  const char* const x = g.columns == 1 ? "($1 * 0.5 - 0.25)" : "1";
  const char* const y = g.rows == 1 ? "($2 * 0.5 - 0.25)" : "2";
  return fmt::format("plot $m matrix using {}:{}:3 with image{}\n", x, y, vectors ? " pixels" : "");
}

struct Drawing {
  Labels x, y;
  std::string title;
  Colours colours;
  bool x_on_top = false;
};

bool drawn(const std::string& path, const Grid& whole, const Drawing& d, Here here) {
  const auto text = [&] { return as_text(whole, d.x, d.y, d.title); };
  if (whole.v.empty()) return detail::draw_by_gnuplot(path, 480, 240, nothing(whole, d.title), text, here);
  constexpr std::size_t most = 1024;
  const Grid g = reduced(whole, most);
  const bool means = g.v.size() != whole.v.size();
  const Range r = range_of(whole);
  const Colours& c = d.colours;
  const bool numbered = g.rows <= 12 && g.columns <= 16;
  const double cell = std::clamp(720.0 / static_cast<double>(std::max(g.rows, g.columns)), 1.0, numbered ? 56.0 : 26.0);
  const Labels &x = means ? Labels{} : d.x, &y = means ? Labels{} : d.y;
  const std::size_t x_label = longest(x, g.columns), y_label = longest(y, g.rows);
  const bool turned = x_label > 3;
  const double left = 40 + 8.0 * static_cast<double>(y_label),
               ends = turned ? 24 + 7.5 * static_cast<double>(x_label) : 36;
  const double across = std::max(cell * static_cast<double>(g.columns), 160.0);
  const double down = std::max(cell * static_cast<double>(g.rows), 48.0);
  const double top = (d.title.empty() ? 16 : 40) + (d.x_on_top ? ends : 0), note = notes(r, means).empty() ? 0 : 24;
  const double bottom = 16 + (d.x_on_top ? 0 : ends) + note, width = left + across + 110, height = top + down + bottom;
  std::string s = matrix_block(g, c);
  s += fmt::format(
      "set lmargin at screen {}\nset rmargin at screen {}\nset tmargin at screen {}\nset bmargin at screen {}\n",
      left / width, (left + across) / width, 1 - top / height, bottom / height);
  if (!d.title.empty())
    s += fmt::format("set label {} at screen 0.5,{} center\n", detail::gnuplot_string(d.title), 1 - 20 / height);
  if (note > 0)
    s += fmt::format("set label {} at screen 0.5,{} center textcolor rgb '#555555'\n",
                     detail::gnuplot_string(notes(r, means)), 14 / height);
  s += fmt::format("set palette {}\nset cbrange [{:.9g}:{:.9g}]\nset xrange [-0.5:{}]\nset yrange [{}:-0.5]\n",
                   c.palette, c.low, c.high, static_cast<double>(g.columns) - 0.5, static_cast<double>(g.rows) - 0.5);
  s += "unset key\nset border lc rgb '#888888'\nset cbtics textcolor rgb '#333333'\n"
       "set object 1 rectangle from graph 0,0 to graph 1,1 behind fillcolor rgb '#b8b8b8' fillstyle solid noborder\n";
  const auto places = [](double pixels) { return static_cast<std::size_t>(std::max(1.0, pixels / 17)); };
  const char* const how = !turned ? "norotate" : d.x_on_top ? "rotate by 60 left" : "rotate by 60 right";
  if (d.x_on_top)
    s += "unset xtics\nset x2range [-0.5:" + fmt::format("{}", static_cast<double>(g.columns) - 0.5) + "]\n";
  s += tics(d.x_on_top ? "x2tics" : "xtics", x, g.columns,
            places(turned ? across : across / static_cast<double>(x_label)), how);
  s += tics("ytics", y, g.rows, places(down), "norotate");
  if (down < 120) s += fmt::format("set cbtics ({:.3g}, {:.3g})\n", c.low, c.high);
  if (numbered) s += cell_numbers(g, c);
  return detail::draw_by_gnuplot(path, static_cast<int>(width), static_cast<int>(height),
                                 s + matrix_plot(g, path.ends_with("svg") && g.v.size() <= 4096), text, here);
}

}  // namespace

bool heatmap(const std::string& path, const Tensor& matrix, const HeatmapOptions& o, Here here) {
  detail::kind_of_picture(path, here);
  const Grid g = grid_of("heatmap", matrix, here);
  check_labels("heatmap", "labels of columns", o.x_labels, g.columns, here);
  check_labels("heatmap", "labels of rows", o.y_labels, g.rows, here);
  return drawn(path, g, {o.x_labels, o.y_labels, o.title, colours_for(range_of(g))}, here);
}

bool alignment(const std::string& path, const Tensor& weights, const Labels& source, const Labels& target, Here here) {
  detail::kind_of_picture(path, here);
  if (weights.defined() && weights.rank() != 2)
    throw ShapeError("alignment: the weights must be [target, source], got " + weights.shape().str(), here);
  const Grid g = grid_of("alignment", weights, here);
  check_labels("alignment", "source words", source, g.columns, here);
  check_labels("alignment", "target words", target, g.rows, here);
  return drawn(path, g, {source, target, "", {"gray", 0, 1, false}, true}, here);
}

}  // namespace attune::picture
