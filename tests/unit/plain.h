// What tests of tensor operations share: tensors as plain arrays with an index, and exceptions as text.
#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "autograd/autograd.h"

namespace attune::tests {

using Values = std::vector<double>;

inline constexpr double inf = std::numeric_limits<double>::infinity();
inline constexpr double not_a_number = std::numeric_limits<double>::quiet_NaN();
inline constexpr std::int64_t lowest = std::numeric_limits<std::int64_t>::min();
inline constexpr std::int64_t highest = std::numeric_limits<std::int64_t>::max();

inline Values values(const Tensor& x) { return x.to_vector<double>(); }
inline Tensor leaf(std::initializer_list<double> v) { return tensor(v, float64).requires_grad_(); }

/// A tensor's elements in row-major order, which a reference may loop over without any kernel.
struct Plain {
  Shape shape;
  Values v;

  explicit Plain(const Shape& s, double fill = 0) : shape(s), v(static_cast<std::size_t>(numel(s)), fill) {}
  explicit Plain(const Tensor& x) : shape(x.shape()), v(x.to_vector<double>()) {}
  double& operator[](const Dims& at) { return v[place(at)]; }
  double operator[](const Dims& at) const { return v[place(at)]; }

 private:
  std::size_t place(const Dims& at) const {
    std::int64_t offset = 0;
    for (int i = 0; i < shape.rank(); ++i) offset = offset * shape[i] + at[i];
    return static_cast<std::size_t>(offset);
  }
};

/// visit(index) for every index of a shape, in row-major order.
template <class Visit>
void for_indices(const Shape& shape, Visit visit) {
  Dims at;
  at.resize(shape.rank());
  for (std::int64_t left = numel(shape); left > 0; --left) {
    visit(static_cast<const Dims&>(at));
    for (int i = shape.rank() - 1; i >= 0 && ++at[i] == shape[i]; --i) at[i] = 0;
  }
}

/// Equal in shape and in every bit pattern that counts: NaN equals NaN.
inline bool same(const Plain& a, const Plain& b) {
  if (a.shape != b.shape) return false;
  for (std::size_t i = 0; i < a.v.size(); ++i)
    if (a.v[i] != b.v[i] && !(std::isnan(a.v[i]) && std::isnan(b.v[i]))) return false;
  return true;
}
inline bool same(const Tensor& a, const Plain& b) { return same(Plain(a), b); }
inline bool same(const Tensor& a, const Tensor& b) { return a.dtype() == b.dtype() && same(Plain(a), Plain(b)); }
inline bool same(const Tensor& a, const Shape& shape, const Values& v) {
  Plain b(shape);
  b.v = v;
  return same(a, b);
}

/// Whether all elements agree within `tolerance`, relative to max(1, |b|).
inline bool close(const Plain& a, const Plain& b, double tolerance = 1e-12) {
  if (a.shape != b.shape) return false;
  for (std::size_t i = 0; i < a.v.size(); ++i)
    if (a.v[i] != b.v[i] && !(std::isnan(a.v[i]) && std::isnan(b.v[i])) &&
        !(std::abs(a.v[i] - b.v[i]) <= tolerance * std::max(1.0, std::abs(b.v[i]))))
      return false;
  return true;
}
inline bool close(const Tensor& a, const Plain& b, double tolerance = 1e-12) { return close(Plain(a), b, tolerance); }
/// The largest difference of two elements.
inline double difference(const Tensor& a, const Tensor& b) { return amax(abs(a.detach() - b.detach())).item(); }

/// Distinct values in random order, exact in every dtype of numbers.
inline Tensor shuffled(const Shape& shape, DType dtype = DType::float64, unsigned seed = 1) {
  Values v(static_cast<std::size_t>(numel(shape)));
  for (std::size_t i = 0; i < v.size(); ++i)
    v[i] = static_cast<double>(i) - std::floor(static_cast<double>(v.size()) / 2);
  std::mt19937 random(seed);
  std::shuffle(v.begin(), v.end(), random);
  return tensor(v, shape, dtype);
}

/// The same elements in other layouts: dense, axes stored in reverse, and inside of a larger tensor.
inline Tensors layouts(const Tensor& x) {
  Dims reverse;
  for (int i = x.rank() - 1; i >= 0; --i) reverse.push_back(i);
  Tensors all{clone(x), permute(clone(permute(x, reverse)), reverse)};
  if (x.rank() > 0) all.push_back(slice(pad(x, -1, 2, 1, x.dtype() == boolean ? 1 : 9), -1, 2, 2 + x.size(-1)));
  if (x.rank() > 0) all.push_back(select(stack({full_like(x, 7), x, full_like(x, 8)}, -1), -1, 1));
  return all;
}

/// f on every layout of a shuffled x of several shapes and of each dtype.
inline void for_inputs(const std::function<void(const Tensor& x, const Plain& plain)>& f) {
  const std::vector<Shape> shapes = {{}, {1}, {5}, {0}, {2, 3}, {3, 1}, {4, 0}, {2, 3, 4}, {1, 2, 1, 3}, {3, 0, 2}};
  for (const Shape& shape : shapes)
    for (DType dtype : {float64, float32, int64, int32, boolean})
      for (const Tensor& x : layouts(to(shuffled(shape), dtype))) {
        INFO("x ", x.shape().str(), " ", name_of(dtype), ", strides ", x.strides().str());
        f(x, Plain(x));
      }
}

/// The gradient of <f(x), dy> at x.
inline Tensor gradient(const std::function<Tensor(const Tensor&)>& f, const Tensor& x, const Tensor& dy = {}) {
  Tensor leaf = clone(x.detach()).requires_grad_();
  const Tensor y = f(leaf);
  return grad({y}, {leaf}, {.cotangents = {dy.defined() ? dy : ones_like(y)}})[0];
}

/// The first line of what f throws as E; "" if it throws nothing.
template <class E, class F>
std::string refusal(F&& f) {
  try {
    f();
  } catch (const E& e) {
    const std::string what = e.what();
    return what.substr(0, what.find('\n'));
  }
  return "";
}

/// The type and first line of what f throws; "" if it throws nothing.
inline std::string thrown(const std::function<void()>& f) {
  const auto line = [](const char* type, const std::exception& e) {
    const std::string text = e.what();
    return std::string(type) + text.substr(0, text.find('\n'));
  };
  try {
    f();
  } catch (const ShapeError& e) {
    return line("ShapeError: ", e);
  } catch (const DTypeError& e) {
    return line("DTypeError: ", e);
  } catch (const IndexError& e) {
    return line("IndexError: ", e);
  } catch (const ValueError& e) {
    return line("ValueError: ", e);
  } catch (const GradError& e) {
    return line("GradError: ", e);
  } catch (const FileError& e) {
    return line("FileError: ", e);
  } catch (const std::exception& e) {
    return line("other: ", e);
  }
  return "";
}

}  // namespace attune::tests
