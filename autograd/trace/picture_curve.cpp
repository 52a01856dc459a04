// Numbers over an axis as pictures: curves, histograms, scripts of one's own.

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "autograd/runtime/error.h"
#include "autograd/trace/internal/drawing.h"
#include "autograd/trace/picture.h"

namespace attune::picture {

namespace {

// Okabe and Ito's colours, which differ for everybody.
constexpr const char* colours[] = {"#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000"};

struct Point {
  double x, y;
};

/// What a series shows: NaN where there is a gap.
struct Line {
  std::string name;
  std::vector<Point> points;
  std::size_t left_out = 0;  // not finite, or not positive on a logarithmic axis
};

double x_of(const Series& s, std::size_t i) { return s.x.empty() ? static_cast<double>(i) : s.x[i]; }

Line line_of(const Series& s, const CurveOptions& o) {
  Line line{s.name, {}, 0};
  for (std::size_t i = 0; i < s.y.size(); ++i) {
    const double x = x_of(s, i), y = s.y[i];
    const bool drawn = std::isfinite(x) && std::isfinite(y) && (!o.log_x || x > 0) && (!o.log_y || y > 0);
    line.left_out += !drawn;
    line.points.push_back(drawn ? Point{x, y} : Point{NAN, NAN});
  }
  return line;
}

/// Of each run of neighbours the least and the greatest, in their order.
std::vector<Point> thinned(const std::vector<Point>& points) {
  constexpr std::size_t runs = 2000;
  const std::size_t n = (points.size() + runs - 1) / runs;
  if (n <= 2) return points;
  std::vector<Point> kept;
  for (std::size_t i = 0; i < points.size(); i += n) {
    const auto begin = points.begin() + static_cast<std::ptrdiff_t>(i);
    const auto end = points.begin() + static_cast<std::ptrdiff_t>(std::min(i + n, points.size()));
    const auto below = [](const Point& a, const Point& b) {
      return a.y < b.y || (std::isnan(b.y) && !std::isnan(a.y));
    };
    const auto above = [](const Point& a, const Point& b) {
      return a.y > b.y || (std::isnan(b.y) && !std::isnan(a.y));
    };
    auto first = std::min_element(begin, end, below), last = std::min_element(begin, end, above);
    if (last < first) std::swap(first, last);
    kept.push_back(*first);
    if (last != first) kept.push_back(*last);
  }
  return kept;
}

std::string block(std::size_t i, const std::vector<Point>& points) {
  std::string s = fmt::format("$s{} << EOD\n", i);
  for (const Point& p : points) s += std::isnan(p.y) ? "NaN NaN\n" : fmt::format("{:.9g} {:.9g}\n", p.x, p.y);
  return s + "EOD\n";
}

std::string table(const std::vector<Series>& series, const CurveOptions& o) {
  std::string s = o.title.empty() ? "" : detail::shown(o.title, 400) + "\n";
  for (const Series& each : series) {
    s += fmt::format("{}{:>14} {:>14}\n", s.empty() ? "" : "\n", o.x_label.empty() ? "x" : detail::shown(o.x_label, 14),
                     detail::shown(each.name, 60));
    for (std::size_t i = 0; i < each.y.size(); ++i) s += fmt::format("{:14.9g} {:14.9g}\n", x_of(each, i), each.y[i]);
  }
  return s;
}

/// A range for one axis if all values are the same, which gnuplot would complain of.
std::string range_of(const char* axis, const std::vector<Line>& lines, double Point::*value, bool logarithmic) {
  double least = INFINITY, most = -INFINITY;
  for (const Line& line : lines)
    for (const Point& p : line.points)
      if (!std::isnan(p.y)) least = std::min(least, p.*value), most = std::max(most, p.*value);
  if (least < most || least > most) return "";
  const double room = least == 0 ? 1 : 0.5 * std::abs(least);
  return fmt::format("set {} [{:.9g}:{:.9g}]\n", axis, logarithmic ? least / 2 : least - room,
                     logarithmic ? least * 2 : least + room);
}

/// The key stands beside the curves, or below them if names are long.
std::string common(const std::vector<Line>& lines, const CurveOptions& o) {
  std::size_t longest = 0;
  for (const Line& line : lines) longest = std::max(longest, detail::shown(line.name, 32).size());
  return fmt::format(
      "set title {}\nset xlabel {}\nset ylabel {}\nset border 3 lc rgb '#888888'\nset tics nomirror textcolor rgb "
      "'#333333'\n"
      "set grid lc rgb '#dddddd' lt 1\nset key outside {}\n{}{}",
      detail::gnuplot_string(o.title), detail::gnuplot_string(o.x_label), detail::gnuplot_string(o.y_label),
      longest > 16 ? "below center horizontal" : "right top", o.log_x ? "set logscale x\n" : "",
      o.log_y ? "set logscale y\n" : "");
}

}  // namespace

bool curve(const std::string& path, const std::vector<Series>& series, const CurveOptions& o, Here here) {
  detail::kind_of_picture(path, here);
  std::vector<Line> lines;
  for (const Series& s : series) {
    if (!s.x.empty() && s.x.size() != s.y.size())
      throw ValueError(fmt::format("curve: {} has {} x and {} y", detail::shown(s.name), s.x.size(), s.y.size()), here);
    lines.push_back(line_of(s, o));
  }
  std::string blocks, plots;
  for (std::size_t i = 0; i < lines.size(); ++i) {
    const Line& line = lines[i];
    if (line.left_out == line.points.size()) {  // nothing of it can be drawn; the key says so
      plots += fmt::format("{}NaN with lines lw 2 lc rgb '{}' title {}", plots.empty() ? "" : ", ",
                           colours[i % std::size(colours)],
                           detail::gnuplot_string(detail::shown(line.name, 40) + " (no points)"));
      continue;
    }
    blocks += block(i, thinned(line.points));
    std::string name = detail::shown(line.name, 32);
    if (line.left_out > 0) name += fmt::format(" ({} left out)", line.left_out);
    plots += fmt::format("{}$s{} using 1:2 with {} lw 2 dt {} pt 7 ps 0.6 lc rgb '{}' {}", plots.empty() ? "" : ", ", i,
                         line.points.size() <= 40 ? "linespoints" : "lines", 1 + i / std::size(colours) % 5,
                         colours[i % std::size(colours)],
                         name.empty() ? "notitle" : "title " + detail::gnuplot_string(name));
  }
  const bool empty = blocks.empty();
  std::string s = blocks + common(lines, o);
  if (empty)  // a frame, without scales that nothing belongs to
    s += "unset logscale\nset xrange [0:1]\nset yrange [0:1]\nunset tics\nset label \"no points\" at 0.5,0.5 center\n";
  else
    s += range_of("xrange", lines, &Point::x, o.log_x) + range_of("yrange", lines, &Point::y, o.log_y);
  return detail::draw_by_gnuplot(
      path, 900, 480, s + "plot " + (plots.empty() ? "NaN notitle" : plots), [&] { return table(series, o); }, here);
}

namespace {

/// Of one tensor's magnitudes, by powers of ten.
struct Histogram {
  static constexpr int per_decade = 4;
  std::string name, shape;
  bool missing = false;                      // a gradient that did not come
  std::vector<std::pair<int, double>> bins;  // of log10 |v| times per_decade, rounded down; share of the finite ones
  std::size_t count = 0, zeros = 0, nans = 0, infinities = 0;
  double rms = 0;

  std::string note() const {
    if (missing) return "no gradient";
    if (count == 0) return "no elements";
    std::string s = fmt::format("rms {:.2g}", rms);
    if (zeros > 0) s += fmt::format(", {:.3g} % zero", 100 * static_cast<double>(zeros) / static_cast<double>(count));
    if (nans > 0) s += fmt::format(", {} NaN", nans);
    if (infinities > 0) s += fmt::format(", {} infinite", infinities);
    return s;
  }
};

Histogram histogram_of(const std::string& name, const Tensor& given, Here here) {
  Histogram h;
  h.name = name;
  if (!given.defined()) return h.missing = true, h;
  h.shape = given.shape().str();
  Tensor x = given;
  if (given.is_leaf() && given.requires_grad()) x = given.grad();
  if (!x.defined()) return h.missing = true, h;
  const std::vector<double> v = x.to_vector<double>(here);
  h.count = v.size();
  double largest = 0;
  std::vector<int> at;
  for (const double each : v) {
    h.nans += std::isnan(each);
    h.infinities += std::isinf(each);
    h.zeros += each == 0;
    if (!std::isfinite(each)) continue;
    largest = std::max(largest, std::abs(each));
    if (each != 0) at.push_back(static_cast<int>(std::floor(std::log10(std::abs(each)) * Histogram::per_decade)));
  }
  double squares = 0;  // of the elements over the largest one, which cannot overflow
  for (const double each : v)
    if (std::isfinite(each) && largest > 0) squares += each / largest * (each / largest);
  const std::size_t finite = h.count - h.nans - h.infinities;
  h.rms = finite == 0 ? NAN : largest * std::sqrt(squares / static_cast<double>(finite));
  std::sort(at.begin(), at.end());
  for (std::size_t i = 0; i < at.size();) {
    std::size_t j = i;
    while (j < at.size() && at[j] == at[i]) ++j;
    h.bins.emplace_back(at[i], static_cast<double>(j - i) / static_cast<double>(at.size()));
    i = j;
  }
  return h;
}

std::string histogram_text(const std::vector<Histogram>& all, const std::string& title) {
  std::size_t width = 0;
  for (const Histogram& h : all) width = std::max(width, detail::shown(h.name).size());
  std::string s = detail::shown(title, 400) + "\n";
  for (const Histogram& h : all)
    s += detail::padded(detail::shown(h.name), width) + "  " + h.shape + "  " + h.note() + "\n";
  return s;
}

/// The outline of a row's bars, standing on its line.
std::string outline(std::size_t row, const Histogram& h) {
  const double base = -static_cast<double>(row), top = 0.85;
  double most = 0;
  for (const auto& [bin, share] : h.bins) most = std::max(most, share);
  std::string s = fmt::format("$h{} << EOD\n", row);
  for (const auto& [bin, share] : h.bins) {
    const double left = static_cast<double>(bin) / Histogram::per_decade;
    const double right = static_cast<double>(bin + 1) / Histogram::per_decade, height = base + top * share / most;
    s += fmt::format("{:.6g} {:.6g} {:.6g}\n", left, base, base);  // from the ground up: the bin before may be empty
    for (const double x : {left, right}) s += fmt::format("{:.6g} {:.6g} {:.6g}\n", x, base, height);
    s += fmt::format("{:.6g} {:.6g} {:.6g}\n", right, base, base);
  }
  return s + "EOD\n";
}

}  // namespace

bool gradient_histograms(const std::string& path, const std::vector<std::pair<std::string, Tensor>>& tensors,
                         const std::string& title, Here here) {
  detail::kind_of_picture(path, here);
  std::vector<Histogram> all;
  all.reserve(tensors.size());
  for (const auto& [name, x] : tensors) all.push_back(histogram_of(name, x, here));
  int least = 0, most = 0, any = 0;
  std::size_t label = 1, note = 1;
  std::string blocks, names, plots;
  for (std::size_t i = 0; i < all.size(); ++i) {
    const Histogram& h = all[i];
    label = std::max(label, detail::shown(h.name, 50).size());
    note = std::max(note, h.note().size());
    names += fmt::format("{}{} {}", i ? ", " : "", detail::gnuplot_string(h.name, 50), -static_cast<double>(i) + 0.3);
    names += "";
    blocks += fmt::format("set label {} at graph 1.02,first {} left textcolor rgb '#555555'\n",
                          detail::gnuplot_string(h.note()), -static_cast<double>(i) + 0.3);
    if (h.bins.empty()) continue;
    least = any++ ? std::min(least, h.bins.front().first) : h.bins.front().first;
    most = any > 1 ? std::max(most, h.bins.back().first) : h.bins.back().first;
    blocks += outline(i, h);
    plots += fmt::format("{}$h{} using 1:2:3 with filledcurves fc rgb '{}' fs solid 0.8 notitle",
                         plots.empty() ? "" : ", ", i, colours[0]);
  }
  const double low = std::floor(static_cast<double>(least) / Histogram::per_decade),
               high = std::max(low + 1, std::ceil(static_cast<double>(most + 1) / Histogram::per_decade));
  const auto rows = static_cast<double>(std::max<std::size_t>(all.size(), 1));
  const double left = 30 + 7.5 * static_cast<double>(label), right = 30 + 7.5 * static_cast<double>(note);
  const double across = 420, down = std::max(60.0, 34 * rows), width = left + across + right, height = down + 100;
  std::string tics;
  const int step = std::max(1, static_cast<int>((high - low) / 8));
  for (int e = static_cast<int>(low); e <= static_cast<int>(high); e += step)
    tics += fmt::format("{}\"1e{}\" {}", tics.empty() ? "" : ", ", e, e);
  std::string s = blocks + fmt::format(
                               "set title {}\nset xlabel \"magnitude\"\nset xrange [{}:{}]\nset yrange [{}:1]\n"
                               "set lmargin at screen {}\nset rmargin at screen {}\nset tmargin at screen {}\n"
                               "set bmargin at screen {}\nset xtics nomirror textcolor rgb '#333333' ({})\nset grid "
                               "xtics lc rgb '#dddddd' lt 1\n"
                               "set border 1 lc rgb '#888888'\nunset key\n",
                               detail::gnuplot_string(title), low, high, -rows + 0.85, left / width,
                               (left + across) / width, 1 - 40 / height, 60 / height, tics);
  s += all.empty() ? "unset ytics\nset label \"no tensors\" at graph 0.5,0.5 center\n"
                   : "set ytics scale 0 nomirror textcolor rgb '#333333' (" + names + ")\n";
  return detail::draw_by_gnuplot(
      path, static_cast<int>(width), static_cast<int>(height), s + "plot " + (plots.empty() ? "NaN notitle" : plots),
      [&] { return histogram_text(all, title); }, here);
}

bool gnuplot(const std::string& path, int width, int height, const std::string& script, Here here) {
  return detail::draw_by_gnuplot(
      path, width, height, script, [&] { return script; }, here);
}

}  // namespace attune::picture
