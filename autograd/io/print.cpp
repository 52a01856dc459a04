#include "autograd/io/print.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <iostream>
#include <limits>
#include <ostream>
#include <string_view>
#include <type_traits>
#include <vector>

#include "autograd/runtime/dispatch.h"
#include "autograd/tape/node.h"
#include "autograd/tensor/tensor.h"

namespace attune {

namespace {

constexpr std::int64_t abridge_above = 1000;
constexpr std::int64_t edge = 3;
constexpr std::size_t line_width = 80;
constexpr std::size_t indent = 7;  // of "tensor("

/// The decimals of a formatted number, without zeros at their end.
int decimals(std::string_view text) {
  text = text.substr(0, text.find('e'));
  const std::size_t point = text.find('.');
  if (point == std::string_view::npos) return 0;
  return static_cast<int>(text.find_last_not_of('0') - point);
}

/// One format for all numbers of a tensor: six significant digits of the largest, without zeros that all end in;
/// scientific for very large and very small numbers, and if the largest's decimals would falsify a smaller one.
class NumberFormat {
 public:
  template <class T>
  explicit NumberFormat(const std::vector<T>& shown) {
    if constexpr (std::is_floating_point_v<T>) choose({shown.begin(), shown.end()});
    for (T v : shown) width_ = std::max(width_, plain(v).size());
  }
  std::size_t width() const { return width_; }
  template <class T>
  std::string operator()(T v) const {
    return fmt::format("{:>{}}", plain(v), width_);
  }

 private:
  void choose(std::vector<double> shown) {
    shown.erase(std::remove_if(shown.begin(), shown.end(), [](double v) { return !std::isfinite(v); }), shown.end());
    double largest = 0;
    for (double v : shown) largest = std::max(largest, std::abs(v));
    if (largest == 0) return;
    const int most = std::clamp(5 - static_cast<int>(std::floor(std::log10(largest))), 0, 9);
    const double unit = std::pow(10.0, most);
    const auto falsified = [=](double v) { return std::abs(std::nearbyint(v * unit) / unit - v) > 0.05 * std::abs(v); };
    scientific_ = largest >= 1e7 || largest < 1e-4 || std::any_of(shown.begin(), shown.end(), falsified);
    digits_ = scientific_ ? 5 : most;
    int needed = 0;
    for (double v : shown) needed = std::max(needed, decimals(plain(v)));
    digits_ = needed;
  }
  template <class T>
  std::string plain(T v) const {
    if constexpr (!std::is_floating_point_v<T>) {
      return fmt::format("{}", v);
    } else {
      if (std::isnan(v)) return "nan";
      if (std::isinf(v)) return v < 0 ? "-inf" : "inf";
      return scientific_ ? fmt::format("{:.{}e}", v, digits_) : fmt::format("{:.{}f}", v, digits_);
    }
  }

  bool scientific_ = false;
  int digits_ = 0;
  std::size_t width_ = 0;
};

/// Calls f(i, at) for the positions of `axis` that are shown, `at` the elements there; f(-1, at) where some
/// are left out.
template <class T, class F>
void each_shown(const Tensor& x, int axis, const T* at, F&& f) {
  const std::int64_t n = x.shape()[axis], stride = x.strides()[axis];
  const bool abridged = x.numel() > abridge_above && n > 2 * edge;
  for (std::int64_t i = 0; i < n; ++i) {
    if (abridged && i == edge) {
      f(-1, at);
      i = n - edge;
    }
    f(i, at + i * stride);
  }
}

template <class T>
void collect(const Tensor& x, int axis, const T* at, std::vector<T>& shown) {
  if (axis == x.rank())
    shown.push_back(*at);
  else
    each_shown(x, axis, at, [&](std::int64_t i, const T* next) {
      if (i >= 0) collect(x, axis + 1, next, shown);
    });
}

template <class T>
std::string brackets(const Tensor& x, int axis, const T* at, const NumberFormat& number) {
  if (axis == x.rank()) return number(*at);
  const bool row = axis == x.rank() - 1;
  const std::size_t margin = indent + 1 + static_cast<std::size_t>(axis);
  const std::size_t most = std::max<std::size_t>((line_width - margin) / (number.width() + 2), 1);  // on a line
  // A row goes on in the next line if it is full; the deeper what ends, the fewer lines are left free.
  const std::string next_line = std::string(row ? 1 : static_cast<std::size_t>(x.rank() - 1 - axis), '\n');
  std::string s = "[";
  std::size_t count = 0;
  each_shown(x, axis, at, [&](std::int64_t i, const T* next) {
    if (count > 0) s += row && count % most != 0 ? ", " : "," + next_line + std::string(margin, ' ');
    s += i < 0 ? "..." : brackets(x, axis + 1, next, number);
    ++count;
  });
  return s + "]";
}

}  // namespace

std::string to_string(const Tensor& x) {
  if (!x.defined()) return "tensor(undefined)";
  std::string body = "[]";
  if (x.numel() > 0)
    body = detail::with_any(x.dtype(), [&](auto zero) {
      using T = decltype(zero);
      const T* first = static_cast<const T*>(x.raw());
      std::vector<T> shown;
      collect(x, 0, first, shown);
      return brackets(x, 0, first, NumberFormat(shown));
    });
  if (x.numel() == 0 || x.numel() > abridge_above) body += ", shape " + x.shape().str();
  if (x.numel() == 0 || x.dtype() != DType::float32) body += std::string(", ") + name_of(x.dtype());
  if (x.requires_grad())
    body += x.is_leaf() ? std::string(", requires_grad") : std::string(", from ") + x.node()->name();
  return "tensor(" + body + ")";
}

std::string to_string(const Gradient& g) {
  if (g.defined()) return to_string(static_cast<const Tensor&>(g));
  return std::string("tensor(undefined: ") + g.why_undefined() + ")";
}

std::string to_string(const Tensors& xs) {
  std::string s = "[";
  for (std::size_t i = 0; i < xs.size(); ++i) {
    if (i > 0) s += ",\n ";
    for (const char c : to_string(xs[i])) {
      s += c;
      if (c == '\n') s += ' ';  // under the bracket
    }
  }
  return s + "]";
}

std::ostream& operator<<(std::ostream& out, const Tensor& x) { return out << to_string(x); }
std::ostream& operator<<(std::ostream& out, const Gradient& g) { return out << to_string(g); }
std::ostream& operator<<(std::ostream& out, const Tensors& xs) { return out << to_string(xs); }
std::ostream& operator<<(std::ostream& out, const Dims& shape) { return out << shape.str(); }
std::ostream& operator<<(std::ostream& out, DType t) { return out << name_of(t); }

void Tensor::print() const { std::cout << *this << std::endl; }
void Gradient::print() const { std::cout << *this << std::endl; }

}  // namespace attune
