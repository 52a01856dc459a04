#include "nn/init.h"

#include <algorithm>
#include <cmath>

#include "autograd/ops/create.h"
#include "autograd/ops/inplace.h"
#include "autograd/ops/random.h"
#include "autograd/runtime/error.h"
#include "autograd/tape/modes.h"

namespace attune::nn::init {

namespace {

struct Fans {
  double in, out;
};

Fans fans(const char* name, const Tensor& w) {
  if (w.rank() < 2) throw ShapeError(std::string(name) + ": fans need at least two axes, got " + w.shape().str());
  double field = 1;
  for (int i = 2; i < w.rank(); ++i) field *= static_cast<double>(w.shape()[i]);
  return {static_cast<double>(w.shape()[1]) * field, static_cast<double>(w.shape()[0]) * field};
}

/// w with these elements.
Tensor overwritten(Tensor w, const Tensor& values) {
  const NoGrad off;
  return copy_(w, values);
}

}  // namespace

Tensor uniform_(const Tensor& w, double low, double high, Generator& g) {
  const NoGrad off;
  Tensor into = w;
  return attune::uniform_(into, low, high, g);
}

Tensor normal_(const Tensor& w, double mean, double std, Generator& g) {
  const NoGrad off;
  Tensor into = w;
  return attune::normal_(into, mean, std, g);
}

Tensor trunc_normal_(const Tensor& w, double mean, double std, double low, double high, Generator& g) {
  if (!(low < high) || !(std > 0)) throw ValueError("trunc_normal_: needs low < high and std > 0");
  const auto below = [&](double v) { return 0.5 * std::erfc((mean - v) / (std * std::sqrt(2.0))); };
  if (below(high) - below(low) < 1e-3)
    throw ValueError("trunc_normal_: [" + std::to_string(low) + ", " + std::to_string(high) +
                     "] holds less than a thousandth of the normal distribution");
  const NoGrad off;
  std::vector<double> kept;
  while (static_cast<std::int64_t>(kept.size()) < w.numel())
    for (double z : randn({w.numel()}, DType::float64, g).to_vector<double>()) {
      const double v = mean + std * z;
      if (v >= low && v <= high && static_cast<std::int64_t>(kept.size()) < w.numel()) kept.push_back(v);
    }
  return overwritten(w, tensor(kept, w.shape(), DType::float64));
}

Tensor constant_(const Tensor& w, double value) {
  const NoGrad off;
  Tensor into = w;
  return fill_(into, value);
}
Tensor zeros_(const Tensor& w) { return init::constant_(w, 0); }
Tensor ones_(const Tensor& w) { return init::constant_(w, 1); }

Tensor xavier_uniform_(const Tensor& w, double gain, Generator& g) {
  const Fans f = fans("xavier_uniform_", w);
  const double a = gain * std::sqrt(6 / (f.in + f.out));
  return init::uniform_(w, -a, a, g);
}
Tensor xavier_normal_(const Tensor& w, double gain, Generator& g) {
  const Fans f = fans("xavier_normal_", w);
  return init::normal_(w, 0, gain * std::sqrt(2 / (f.in + f.out)), g);
}

namespace {

double fan_of(const char* name, const Tensor& w, Fan fan) {
  const Fans f = fans(name, w);
  return fan == Fan::in ? f.in : f.out;
}

}  // namespace

Tensor kaiming_uniform_(const Tensor& w, double gain, Fan fan, Generator& g) {
  const double a = gain * std::sqrt(3 / fan_of("kaiming_uniform_", w, fan));
  return init::uniform_(w, -a, a, g);
}
Tensor kaiming_normal_(const Tensor& w, double gain, Fan fan, Generator& g) {
  return init::normal_(w, 0, gain / std::sqrt(fan_of("kaiming_normal_", w, fan)), g);
}

namespace {

/// x . y in eight running sums, which the compiler can keep in vectors.
double dot(const double* x, const double* y, std::size_t n) {
  double sums[8] = {};
  std::size_t i = 0;
  for (; i + 8 <= n; i += 8)
    for (std::size_t lane = 0; lane < 8; ++lane) sums[lane] += x[i + lane] * y[i + lane];
  for (; i < n; ++i) sums[0] += x[i] * y[i];
  return ((sums[0] + sums[1]) + (sums[2] + sums[3])) + ((sums[4] + sums[5]) + (sums[6] + sums[7]));
}

}  // namespace

Tensor orthogonal_(const Tensor& w, double gain, Generator& g) {
  if (w.rank() < 2) throw ShapeError("orthogonal_: needs at least two axes, got " + w.shape().str());
  const std::size_t rows = static_cast<std::size_t>(w.shape()[0]),
                    columns = rows == 0 ? 0 : static_cast<std::size_t>(w.numel()) / rows;
  const std::size_t count = std::min(rows, columns), length = std::max(rows, columns);
  // `count` Gaussian vectors made orthonormal one after another (Gram-Schmidt, twice for accuracy).
  std::vector<double> v = randn({static_cast<std::int64_t>(count * length)}, DType::float64, g).to_vector<double>();
  for (std::size_t i = 0; i < count; ++i) {
    double* x = v.data() + i * length;
    for (int pass = 0; pass < 2; ++pass)
      for (std::size_t j = 0; j < i; ++j) {
        const double* y = v.data() + j * length;
        const double overlap = dot(x, y, length);
        for (std::size_t c = 0; c < length; ++c) x[c] -= overlap * y[c];
      }
    const double norm = std::sqrt(dot(x, x, length));
    for (std::size_t c = 0; c < length; ++c) x[c] /= norm;
  }
  std::vector<double> out(rows * columns);
  for (std::size_t r = 0; r < rows; ++r)
    for (std::size_t c = 0; c < columns; ++c)
      out[r * columns + c] = gain * (rows <= columns ? v[r * length + c] : v[c * length + r]);
  return overwritten(w, tensor(out, w.shape(), DType::float64));
}

Tensor eye_(const Tensor& w) {
  if (w.rank() != 2) throw ShapeError("eye_: needs a matrix, got " + w.shape().str());
  std::vector<double> v(static_cast<std::size_t>(w.numel()));
  for (std::int64_t i = 0; i < std::min(w.size(0), w.size(1)); ++i) v[static_cast<std::size_t>(i * w.size(1) + i)] = 1;
  return overwritten(w, tensor(v, w.shape(), DType::float64));
}

Tensor dirac_(const Tensor& w, std::int64_t groups) {
  if (w.rank() < 3 || w.rank() > 5)
    throw ShapeError("dirac_: needs the weight of a convolution, of 3 to 5 axes, got " + w.shape().str());
  if (groups < 1 || w.size(0) % groups != 0)
    throw ValueError("dirac_: groups = " + std::to_string(groups) + " does not divide the first size of " +
                     w.shape().str());
  std::int64_t window = 1, middle = 0;
  for (int i = 2; i < w.rank(); ++i) {
    window *= w.shape()[i];
    middle = middle * w.shape()[i] + w.shape()[i] / 2;
  }
  const std::int64_t out = w.size(0) / groups, in = w.size(1);
  std::vector<double> v(static_cast<std::size_t>(w.numel()));
  if (window > 0)
    for (std::int64_t g = 0; g < groups; ++g)
      for (std::int64_t i = 0; i < std::min(out, in); ++i)
        v[static_cast<std::size_t>(((g * out + i) * in + i) * window + middle)] = 1;
  return overwritten(w, tensor(v, w.shape(), DType::float64));
}

Tensor sparse_(const Tensor& w, double sparsity, double std, Generator& g) {
  if (w.rank() != 2) throw ShapeError("sparse_: needs a matrix, got " + w.shape().str());
  if (!(sparsity >= 0 && sparsity <= 1))
    throw ValueError("sparse_: sparsity = " + std::to_string(sparsity) + " is not in [0, 1]");
  const NoGrad off;
  const std::int64_t rows = w.size(0), columns = w.size(1);
  const auto zeros = static_cast<std::int64_t>(std::ceil(sparsity * static_cast<double>(rows)));
  std::vector<double> v = randn(w.shape(), DType::float64, g).to_vector<double>();
  for (double& x : v) x *= std;
  for (std::int64_t c = 0; c < columns; ++c) {
    const std::vector<std::int64_t> order = randperm(rows, g).to_vector<std::int64_t>();
    for (std::int64_t i = 0; i < zeros; ++i)
      v[static_cast<std::size_t>(order[static_cast<std::size_t>(i)] * columns + c)] = 0;
  }
  return overwritten(w, tensor(v, w.shape(), DType::float64));
}

}  // namespace attune::nn::init
