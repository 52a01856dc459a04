#include <fmt/format.h>

#include <cmath>

#include "autograd/trace/internal/numbers.h"

namespace attune {

std::string number_text(double v, DType dtype) {
  if (std::isnan(v)) return "nan";
  if (std::isinf(v)) return v < 0 ? "-inf" : "inf";
  if (dtype == DType::float32) return fmt::format("{}", static_cast<float>(v));
  return fmt::format("{}", v);
}

namespace {

/// Elements in row-major order, as text.
class Elements {
 public:
  explicit Elements(const Tensor& x) : x_(x) {
    if (is_floating(x.dtype()))
      reals_ = x.to_vector<double>();
    else
      integers_ = x.to_vector<std::int64_t>();
  }
  std::string operator[](std::size_t i) const {
    if (is_floating(x_.dtype())) return number_text(reals_[i], x_.dtype());
    if (x_.dtype() == DType::boolean) return integers_[i] ? "true" : "false";
    return fmt::format("{}", integers_[i]);
  }

 private:
  const Tensor& x_;
  std::vector<double> reals_;
  std::vector<std::int64_t> integers_;
};

std::string nested(const Elements& elements, const Shape& shape, int axis, std::size_t& at) {
  if (axis == shape.rank()) return elements[at++];
  std::string s = "[";
  for (std::int64_t i = 0; i < shape[axis]; ++i) s += (i ? ", " : "") + nested(elements, shape, axis + 1, at);
  return s + "]";
}

}  // namespace

std::string element_text(const Tensor& x, std::int64_t at) { return Elements(x)[static_cast<std::size_t>(at)]; }

std::string value_text(const Tensor& x, std::int64_t most) {
  if (!x.defined()) return "none";
  if (x.numel() == 1) return element_text(x, 0);
  std::size_t at = 0;
  if (x.numel() <= most) return nested(Elements(x), x.shape(), 0, at);
  if (!is_floating(x.dtype())) return x.shape().str() + " " + name_of(x.dtype());
  double largest = 0, squares = 0;
  bool finite = true;
  const std::vector<double> v = x.to_vector<double>();
  for (double each : v) largest = std::max(largest, std::abs(each)), finite &= std::isfinite(each);
  if (!finite) return x.shape().str() + " not finite";
  for (double each : v) squares += largest > 0 ? each / largest * (each / largest) : 0;
  return fmt::format("{} norm {:.4g}", x.shape().str(), largest * std::sqrt(squares));
}

}  // namespace attune
