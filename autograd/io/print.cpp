#include "autograd/io/print.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <ostream>
#include <vector>

#include "autograd/tape.h"

namespace attune {

namespace {

constexpr std::int64_t abridge_above = 1000;
constexpr std::int64_t edge = 3;

/// One format for all numbers of a tensor: as few digits as tell them apart at six significant ones, scientific only
/// where sizes differ widely.
class NumberFormat {
 public:
  NumberFormat(const std::vector<double>& shown, DType dtype) : dtype_(dtype) {
    double largest = 0, smallest = INFINITY;
    for (double v : shown)
      if (std::isfinite(v) && v != 0) {
        largest = std::max(largest, std::abs(v));
        smallest = std::min(smallest, std::abs(v));
      }
    scientific_ = largest >= 1e7 || (largest > 0 && smallest < 1e-4) || (largest > 0 && largest / smallest > 1e6);
    if (is_floating(dtype) && !scientific_) {
      const int whole = largest >= 1 ? static_cast<int>(std::floor(std::log10(largest))) + 1 : 1;
      const int most = std::clamp(
          6 - whole + (largest < 1 && largest > 0 ? static_cast<int>(-std::floor(std::log10(largest))) : 0), 0, 8);
      for (double v : shown)
        if (std::isfinite(v))
          while (digits_ < most &&
                 fmt::format("{:.{}f}", v, digits_) != trimmed(fmt::format("{:.{}f}", v, most), digits_))
            ++digits_;
    }
    for (double v : shown) width_ = std::max(width_, (*this)(v).size());
  }
  std::string operator()(double v) const {
    std::string s;
    if (dtype_ == DType::boolean)
      s = v != 0 ? "true" : "false";
    else if (is_integer(dtype_))
      s = fmt::format("{:.0f}", v);
    else if (std::isnan(v))
      s = "nan";
    else if (std::isinf(v))
      s = v < 0 ? "-inf" : "inf";
    else if (scientific_)
      s = fmt::format("{:.5e}", v);
    else
      s = fmt::format("{:.{}f}", v, digits_);
    return std::string(width_ > s.size() ? width_ - s.size() : 0, ' ') + s;
  }

 private:
  /// `text` without the zeros behind `digits` decimals.
  static std::string trimmed(const std::string& text, int digits) {
    const std::size_t point = text.find('.');
    if (point == std::string::npos) return text;
    std::string s = text;
    while (s.size() > point + 1 + static_cast<std::size_t>(digits) && s.back() == '0') s.pop_back();
    if (s.back() == '.') s.pop_back();
    return s;
  }
  DType dtype_;
  bool scientific_ = false;
  int digits_ = 0;
  std::size_t width_ = 0;
};

struct Printer {
  const Tensor& x;
  const std::vector<double>& values;
  bool abridged;

  bool shown(int axis, std::int64_t i) const {
    return !abridged || x.shape()[axis] <= 2 * edge || i < edge || i >= x.shape()[axis] - edge;
  }

  void collect(int axis, std::int64_t at, std::vector<double>& out) const {
    if (axis == x.rank()) {
      out.push_back(values[static_cast<std::size_t>(at)]);
      return;
    }
    for (std::int64_t i = 0; i < x.shape()[axis]; ++i)
      if (shown(axis, i)) collect(axis + 1, at * x.shape()[axis] + i, out);
  }

  std::string text(int axis, std::int64_t at, const NumberFormat& number) const {
    if (axis == x.rank()) return number(values[static_cast<std::size_t>(at)]);
    const bool last = axis == x.rank() - 1;
    std::string gap = ",";
    if (last)
      gap += " ";
    else
      gap += std::string(static_cast<std::size_t>(x.rank() - 1 - axis), '\n') +
             std::string(8 + static_cast<std::size_t>(axis), ' ');
    std::string s = "[";
    bool skipped = false;
    for (std::int64_t i = 0; i < x.shape()[axis]; ++i) {
      if (!shown(axis, i)) {
        if (!skipped) s += gap + "...";
        skipped = true;
        continue;
      }
      s += (i ? gap : "") + text(axis + 1, at * x.shape()[axis] + i, number);
    }
    return s + "]";
  }
};

}  // namespace

std::string to_string(const Tensor& x) {
  if (!x.defined()) return "tensor(undefined)";
  std::string body;
  if (x.numel() == 0) {
    body = "[]" + (x.shape() == Shape{0} ? std::string() : ", shape " + x.shape().str());
  } else {
    const std::vector<double> values = x.to_vector<double>();
    const Printer p{x, values, x.numel() > abridge_above};
    std::vector<double> shown;
    p.collect(0, 0, shown);
    body = p.text(0, 0, NumberFormat(shown, x.dtype()));
    if (p.abridged) body += ", shape " + x.shape().str();
  }
  if (x.dtype() != DType::float32) body += std::string(", ") + name_of(x.dtype());
  if (x.requires_grad())
    body += x.is_leaf() ? std::string(", requires_grad") : std::string(", from ") + x.node()->name();
  return "tensor(" + body + ")";
}

std::ostream& operator<<(std::ostream& out, const Tensor& x) { return out << to_string(x); }

}  // namespace attune
