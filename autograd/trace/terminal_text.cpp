#include "autograd/trace/internal/terminal_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "autograd/ops/movement.h"
#include "autograd/tape/modes.h"
#include "autograd/trace/internal/numbers.h"
#include "autograd/trace/why.h"

namespace attune::stepping {

std::size_t columns(std::string_view s) {
  std::size_t n = 0;
  for (std::size_t i = 0; i < s.size(); ++i) {
    if (s[i] == '\033') {
      while (i < s.size() && s[i] != 'm') ++i;
    } else if ((s[i] & 0xC0) != 0x80) {
      ++n;
    }
  }
  return n;
}

std::string wrapped(std::string_view text, int width, int indent) {
  std::string out, margin(static_cast<std::size_t>(indent), ' ');
  const auto most = static_cast<std::size_t>(std::max(width, 20));
  std::size_t used = 0, at = 0;
  bool first = true;
  while (at < text.size()) {
    const std::size_t spaces = std::min(text.find_first_not_of(' ', at), text.size());
    const std::size_t end = std::min(text.find(' ', spaces), text.size());
    const std::string_view gap = text.substr(at, spaces - at), word = text.substr(spaces, end - spaces);
    const std::size_t size = columns(word);
    if (!first && used + gap.size() + size > most) {
      out += "\n" + margin;
      used = margin.size();
    } else {
      out += gap;
      used += gap.size();
    }
    out += word;
    used += size;
    first = false;
    at = end;
  }
  return out;
}

std::string cut(std::string_view text, int width) {
  const auto most = static_cast<std::size_t>(std::max(width, 4));
  if (columns(text) <= most) return std::string(text);
  std::size_t bytes = 0, seen = 0;
  while (bytes < text.size() && (seen < most - 3 || (text[bytes] & 0xC0) == 0x80))
    seen += (text[bytes++] & 0xC0) != 0x80;
  return std::string(text.substr(0, bytes)) + "...";
}

std::string number(double v, DType t) { return t == DType::boolean ? (v != 0 ? "true" : "false") : number_text(v, t); }

std::string rough(double v) { return fmt::format("{:.4g}", v); }

std::string brief(const Tensor& x, int width) {
  if (!x.defined()) return "none";
  if (x.numel() > 0 && x.numel() <= 64) {
    std::string all = attune::value_text(x, 64);
    if (columns(all) <= static_cast<std::size_t>(std::max(width, 12))) return all;
  }
  std::string text = x.dtype() == DType::float32 ? x.shape().str() : name_of(x.dtype()) + (" " + x.shape().str());
  if (x.numel() == 0 || x.dtype() == DType::boolean) return text;
  double low = INFINITY, high = -INFINITY;
  std::int64_t nans = 0, infinities = 0;
  for (double v : x.to_vector<double>()) {
    nans += std::isnan(v);
    infinities += std::isinf(v);
    if (std::isfinite(v)) low = std::min(low, v), high = std::max(high, v);
  }
  if (is_floating(x.dtype())) text += " norm " + rough(norm_of(x));
  if (low == high)
    text += (is_floating(x.dtype()) ? ", all " : " all ") + rough(low);
  else if (low < high)
    text += (is_floating(x.dtype()) ? ", " : " ") + rough(low) + " .. " + rough(high);
  if (nans) text += fmt::format(", {} NaN", nans);
  if (infinities) text += fmt::format(", {} infinite", infinities);
  return text;
}

// ---- tables

namespace {

struct Column {
  std::string head;
  std::vector<std::string> cells;
};

std::size_t before_point(const std::string& s) { return std::min(s.find_first_of(".e"), s.size()); }

/// Pads the cells so that their decimal points stand above each other.
void align(Column& c) {
  std::size_t whole = 0, fraction = 0;
  for (const std::string& s : c.cells) {
    whole = std::max(whole, before_point(s));
    fraction = std::max(fraction, s.size() - before_point(s));
  }
  for (std::string& s : c.cells) {
    const std::size_t left = whole - before_point(s), right = fraction - (s.size() - before_point(s));
    s = std::string(left, ' ') + s + std::string(right, ' ');
  }
  const std::size_t wide = std::max(whole + fraction, c.head.size());
  c.head = std::string(wide - c.head.size(), ' ') + c.head;
  for (std::string& s : c.cells) s = std::string(wide - s.size(), ' ') + s;
}

/// The indices of [0, n) that are shown if there is room for `most`; -1 stands for those left out.
std::vector<std::int64_t> shown(std::int64_t n, std::int64_t most) {
  std::vector<std::int64_t> at;
  const std::int64_t tail = n > most ? std::min<std::int64_t>(most / 4, 3) : 0;
  for (std::int64_t i = 0; i < std::min(n, most) - tail; ++i) at.push_back(i);
  if (n > most) at.push_back(-1);
  for (std::int64_t i = n - tail; i < n; ++i) at.push_back(i);
  return at;
}

/// One matrix: `first` is its first element's number.
std::string matrix(const Tensor& x, std::int64_t first, std::int64_t rows, std::int64_t across, bool heads,
                   const Style& style) {
  const std::vector<std::int64_t> down = shown(rows, 20);
  const std::size_t margin = heads ? std::to_string(rows).size() + 4 : 2;
  const auto column = [&](std::int64_t j) {
    Column c{j < 0 ? "..." : std::to_string(j), {}};
    for (std::int64_t i : down) c.cells.push_back(i < 0 || j < 0 ? "..." : element_text(x, first + i * across + j));
    align(c);
    return c;
  };
  // The columns that fit; the last one stays, so that one sees where it ends.
  std::vector<Column> columns_;
  std::size_t used = margin;
  const auto room = static_cast<std::size_t>(std::max(style.width, 20));
  for (std::int64_t j = 0; j < across; ++j) {
    Column c = column(j);
    const std::size_t reserve = j + 1 < across ? column(across - 1).head.size() + (j + 2 < across ? 7 : 2) : 0;
    if (j > 0 && used + 2 + c.head.size() + reserve > room) {
      if (j + 1 < across) columns_.push_back(column(-1));
      columns_.push_back(column(across - 1));
      break;
    }
    used += 2 + c.head.size();
    columns_.push_back(std::move(c));
  }
  std::string text(margin, ' '), line;
  for (const Column& c : columns_) text += "  " + c.head;
  text = style.dim(text) + "\n";
  for (std::size_t i = 0; i < down.size(); ++i) {
    const std::string head = down[i] < 0 ? "..." : std::to_string(down[i]);
    line = heads ? std::string(margin - std::min(margin, head.size()), ' ') + head : std::string(margin, ' ');
    text += style.dim(line);
    for (const Column& c : columns_) text += "  " + c.cells[i];
    text.erase(text.find_last_not_of(' ') + 1);
    text += "\n";
  }
  return text;
}

}  // namespace

std::string table(const Tensor& x, const Style& style) {
  if (x.numel() == 0) return "  no elements\n";
  if (x.rank() == 0) return "  " + element_text(x, 0) + "\n";
  const std::int64_t across = x.shape().back(), rows = x.rank() > 1 ? x.shape()[x.rank() - 2] : 1;
  const std::int64_t matrices = x.numel() / (rows * across);
  if (x.rank() <= 2) return matrix(x, 0, rows, across, x.rank() == 2, style);
  std::string text;
  const std::int64_t most = std::max<std::int64_t>(1, std::min<std::int64_t>(4, 40 / (rows + 2)));
  for (std::int64_t m = 0; m < std::min(matrices, most); ++m) {
    std::string head;
    std::int64_t rest = m;
    for (int a = x.rank() - 3; a >= 0; --a) {
      head = std::to_string(rest % x.shape()[a]) + ", " + head;
      rest /= x.shape()[a];
    }
    text += "  [" + head + ":, :]\n";
    text += matrix(x, m * rows * across, rows, across, true, style);
  }
  if (matrices > most)
    text += fmt::format("  and {} more matrices; a slice shows them, as [{}]\n", matrices - most, x.shape()[0] - 1);
  return text;
}

// ---- heatmaps

namespace {

/// Means of x over a grid; NaN where one of the elements is not finite.
struct Grid {
  std::int64_t rows, across;
  std::vector<double> cells;
};

Grid grid_of(const Tensor& x, std::int64_t most_rows, std::int64_t most_across) {
  const std::int64_t across = x.rank() > 0 ? x.shape().back() : 1, rows = x.numel() / across;
  Grid g{std::min(rows, most_rows), std::min(across, most_across), {}};
  const auto cells = static_cast<std::size_t>(g.rows * g.across);
  std::vector<double> sums(cells), counts(cells);
  const std::vector<double> v = x.to_vector<double>();
  for (std::int64_t i = 0; i < rows; ++i)
    for (std::int64_t j = 0; j < across; ++j) {
      const auto c = static_cast<std::size_t>(i * g.rows / rows * g.across + j * g.across / across);
      sums[c] += std::isfinite(v[static_cast<std::size_t>(i * across + j)])
                     ? v[static_cast<std::size_t>(i * across + j)]
                     : NAN;
      counts[c] += 1;
    }
  for (std::size_t c = 0; c < cells; ++c) g.cells.push_back(sums[c] / counts[c]);
  return g;
}

/// Of xterm's 256 colours: blue to black to orange; what is not finite stands out in magenta.
int colour_of(double v, double most) {
  static constexpr int blue[] = {233, 17, 18, 19, 20, 26, 32, 38, 75},
                       orange[] = {233, 52, 94, 130, 166, 172, 208, 214, 221};
  if (std::isnan(v)) return 201;
  const int level = most > 0 ? static_cast<int>(std::lround(std::abs(v) / most * 8)) : 0;
  return v < 0 ? blue[level] : orange[level];
}

std::string shade(double v, double most) {
  static constexpr const char* shades[] = {" ", "\u2591", "\u2592", "\u2593", "\u2588"};
  if (std::isnan(v)) return "!";
  return shades[most > 0 ? std::lround(std::abs(v) / most * 4) : 0];
}

}  // namespace

std::string heatmap(const Tensor& x, const Style& style) {
  if (x.numel() == 0) return "  no elements\n";
  const Grid g = grid_of(x, style.colour ? 48 : 32, std::max(style.width - 4, 8) / (style.colour ? 1 : 2));
  double most = 0;
  bool missing = false;
  for (double v : g.cells) std::isnan(v) ? void(missing = true) : void(most = std::max(most, std::abs(v)));
  const auto cell = [&](std::int64_t i, std::int64_t j) { return g.cells[static_cast<std::size_t>(i * g.across + j)]; };
  const bool wide = 2 * g.across <= style.width - 4;
  std::string text;
  if (style.colour) {
    for (std::int64_t i = 0; i < g.rows; i += 2) {
      text += "  ";
      for (std::int64_t j = 0; j < g.across; ++j) {
        text += fmt::format("\033[38;5;{}m", colour_of(cell(i, j), most));
        text +=
            i + 1 < g.rows ? fmt::format("\033[48;5;{}m", colour_of(cell(i + 1, j), most)) : std::string("\033[49m");
        text += wide ? "\u2580\u2580" : "\u2580";
      }
      text += "\033[0m\n";
    }
  } else {
    for (std::int64_t i = 0; i < g.rows; ++i) {
      text += "  ";
      for (std::int64_t j = 0; j < g.across; ++j) {
        const std::string s = shade(cell(i, j), most);
        text += s + s;
      }
      text += "\n";
    }
  }
  const std::int64_t across = x.rank() > 0 ? x.shape().back() : 1;
  std::string legend = style.colour ? fmt::format("blue: {} to 0, orange: 0 to {}", rough(-most), rough(most))
                                    : fmt::format("full: {} in absolute value, empty: 0", rough(most));
  if (missing) legend += style.colour ? ", magenta: not finite" : ", !: not finite";
  if (g.across < across || g.rows < x.numel() / across)
    legend += fmt::format("; {} x {} cells of means", g.rows, g.across);
  return text + style.dim(wrapped("  " + legend, style.width, 2)) + "\n";
}

}  // namespace attune::stepping
