// The table of operations: a row for each name that can appear on the tape. The rows drive the value, gradient,
// second-order, forward-mode, non-contiguous, error, thread-count and benchmark runs. No row can be skipped in any of
// them.
#pragma once

#include <cmath>
#include <functional>
#include <string>
#include <vector>

#include "autograd/autograd.h"

namespace attune::tests {

/// Where random inputs are drawn from: uniformly in [low, high], at least `margin` away from every kink.
struct Domain {
  double low = -2;
  double high = 2;
  std::vector<double> kinks = {};
  double margin = 0.05;
};

struct OpRow {
  /// As on the tape; what follows a comma tells rows of the same operation apart.
  std::string name;
  /// The public operation on floating inputs.
  std::function<Tensors(const Tensors&)> call;
  /// Cases: a shape an input; the first one is the typical one. They cover broadcasting, size 1, rank 0 and zero sizes
  /// wherever the operation is defined for them.
  std::vector<std::vector<Shape>> shapes;
  /// One an input; missing ones are the default.
  std::vector<Domain> domains = {};
  /// One wrong call, and the first line of its exception.
  std::function<void()> bad;
  std::string message;
  /// The shapes of the benchmark run.
  std::vector<Shape> bench = {};
  /// Where the row stands.
  const char* file = __builtin_FILE();
};

using Rows = std::vector<OpRow>;

/// Random values of a domain.
inline Tensor draw(const Shape& shape, const Domain& d, Generator& g, DType dtype) {
  std::vector<double> v;
  while (static_cast<std::int64_t>(v.size()) < numel(shape)) {
    const double x = d.low + (d.high - d.low) * rand({}, float64, g).item();
    bool safe = true;
    for (double kink : d.kinks) safe &= std::abs(x - kink) > d.margin;
    if (safe) v.push_back(x);
  }
  return tensor(v, shape, dtype);
}

/// Leaves for a row's call.
inline Tensors inputs_of(const OpRow& row, const std::vector<Shape>& shapes, DType dtype = float64,
                         std::uint64_t seed = 1) {
  Generator g(seed);
  Tensors xs;
  for (std::size_t i = 0; i < shapes.size(); ++i)
    xs.push_back(draw(shapes[i], i < row.domains.size() ? row.domains[i] : Domain{}, g, dtype).requires_grad_());
  return xs;
}

}  // namespace attune::tests
