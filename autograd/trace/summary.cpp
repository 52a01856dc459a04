// Summaries of tensors: two passes over the elements, in pieces that threads share.
#include <algorithm>
#include <cmath>
#include <limits>

#include "autograd/ops/movement.h"
#include "autograd/runtime/parallel.h"
#include "autograd/tape/modes.h"
#include "autograd/trace/internal/summary.h"

namespace attune {

namespace {

constexpr std::int64_t piece = 1 << 15;
constexpr std::int64_t most_bins = 32, most_cells = 32, most_sampled = 4096;

/// Sums are of differences from one of the elements, which loses nothing where all lie far from zero.
struct Moments {
  double min = std::numeric_limits<double>::infinity(), max = -min, sum = 0, squares = 0;
  std::int64_t zeros = 0, nans = 0, infinities = 0;
};

/// Of numbers that are all finite; nothing where they are not, or where squares overflow.
template <class T>
bool quick_moments(const T* x, std::int64_t n, double origin, Moments& m) {
  T least = std::numeric_limits<T>::max(), most = std::numeric_limits<T>::lowest();
  double sum = 0, squares = 0;
  std::int64_t zeros = 0;
#pragma omp simd reduction(+ : sum, squares, zeros) reduction(min : least) reduction(max : most)
  for (std::int64_t i = 0; i < n; ++i) {
    const T v = x[i];
    const double d = static_cast<double>(v) - origin;
    sum += d;
    squares += d * d;
    zeros += v == T{0};
    least = v < least ? v : least;
    most = v > most ? v : most;
  }
  if (!std::isfinite(squares) || n == 0) return false;
  m.min = static_cast<double>(least), m.max = static_cast<double>(most);
  m.sum = sum, m.squares = squares, m.zeros = zeros;
  return true;
}

template <class T>
Moments moments(const T* x, std::int64_t n, double origin) {
  Moments m;
  if (quick_moments(x, n, origin, m)) return m;
  m = Moments();
  for (std::int64_t i = 0; i < n; ++i) {
    const auto v = static_cast<double>(x[i]);
    m.zeros += v == 0;
    m.nans += std::isnan(v);
    m.infinities += std::isinf(v);
    if (!std::isfinite(v)) continue;
    m.min = std::min(m.min, v), m.max = std::max(m.max, v), m.sum += v - origin;
    m.squares += (v - origin) * (v - origin);
  }
  return m;
}

/// Standard deviation and norm of numbers whose squares overflow.
template <class T>
void scaled(const T* x, std::int64_t n, std::int64_t finite, Summary& s) {
  const double largest = std::max(std::abs(s.min), std::abs(s.max));
  double mean = 0, deviations = 0, squares = 0;
  for (std::int64_t i = 0; i < n; ++i)
    if (const auto v = static_cast<double>(x[i]); std::isfinite(v)) mean += v / largest / static_cast<double>(finite);
  for (std::int64_t i = 0; i < n; ++i)
    if (const auto v = static_cast<double>(x[i]) / largest; std::isfinite(v))
      deviations += (v - mean) * (v - mean), squares += v * v;
  s.mean = largest * mean;
  s.std = largest * std::sqrt(deviations / static_cast<double>(finite));
  s.norm = largest * std::sqrt(squares);
}

/// Of at most most_sampled elements from all over.
template <class T>
void histogram(const T* x, std::int64_t n, Summary& s) {
  const double width = s.max - s.min;
  const std::int64_t bins = width > 0 && std::isfinite(width) ? most_bins : 1;
  const double scale = bins > 1 ? static_cast<double>(bins) / width : 0;
  s.histogram.resize(static_cast<std::size_t>(bins));
  const std::int64_t sampled = std::min(n, most_sampled);
  for (std::int64_t k = 0; k < sampled; ++k) {
    const auto v = static_cast<double>(x[n <= most_sampled ? k : k * n / sampled]);
    if (!std::isfinite(v)) continue;
    const auto bin = static_cast<std::int64_t>((v - s.min) * scale);
    ++s.histogram[static_cast<std::size_t>(std::clamp<std::int64_t>(bin, 0, bins - 1))];
  }
}

template <class T>
void picture(const T* x, std::int64_t rows, std::int64_t columns, Summary& s) {
  s.picture.resize(static_cast<std::size_t>(s.picture_rows * s.picture_columns));
  if (rows == 0 || columns == 0) return;
  const std::int64_t grain = std::max<std::int64_t>(1, piece * s.picture_rows / (rows * columns));
  parallel_for(s.picture_rows, grain, [&](std::int64_t begin, std::int64_t end) {
    std::vector<double> sums(static_cast<std::size_t>(columns));  // down a cell's rows
    double* const sum = sums.data();
    for (std::int64_t r = begin; r < end; ++r) {
      const std::int64_t top = r * rows / s.picture_rows, bottom = (r + 1) * rows / s.picture_rows;
      std::fill(sums.begin(), sums.end(), 0.0);
      for (std::int64_t i = top; i < bottom; ++i) {
        const T* row = x + i * columns;
#pragma omp simd
        for (std::int64_t j = 0; j < columns; ++j) sum[j] += static_cast<double>(row[j]);
      }
      for (std::int64_t c = 0; c < s.picture_columns; ++c) {
        const std::int64_t left = c * columns / s.picture_columns, right = (c + 1) * columns / s.picture_columns;
        double all = 0;
        for (std::int64_t j = left; j < right; ++j) all += sum[j];
        s.picture[static_cast<std::size_t>(r * s.picture_columns + c)] =
            static_cast<float>(all / static_cast<double>((bottom - top) * (right - left)));
      }
    }
  });
}

/// An element to measure from: the first that is finite.
template <class T>
double origin_of(const T* x, std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i)
    if (std::isfinite(static_cast<double>(x[i]))) return static_cast<double>(x[i]);
  return 0;
}

template <class T>
Summary numbers_of(const Tensor& dense) {
  Summary s;
  const auto* x = static_cast<const T*>(dense.raw());
  const std::int64_t n = dense.numel(), pieces = (n + piece - 1) / piece;
  const double origin = origin_of(x, n);
  std::vector<Moments> of_pieces(static_cast<std::size_t>(pieces));
  parallel_for(pieces, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t p = begin; p < end; ++p)
      of_pieces[static_cast<std::size_t>(p)] = moments(x + p * piece, std::min(piece, n - p * piece), origin);
  });
  Moments all;
  for (const Moments& m : of_pieces) {
    all.min = std::min(all.min, m.min), all.max = std::max(all.max, m.max);
    all.sum += m.sum, all.squares += m.squares;
    all.zeros += m.zeros, all.nans += m.nans, all.infinities += m.infinities;
  }
  s.zeros = all.zeros, s.nans = all.nans, s.infinities = all.infinities;
  const std::int64_t finite = n - all.nans - all.infinities;
  if (finite > 0) {
    s.min = all.min, s.max = all.max;
    const auto count = static_cast<double>(finite);
    const double offset = all.sum / count;
    s.mean = std::clamp(origin + offset, s.min, s.max);
    s.std = std::sqrt(std::max(0.0, all.squares / count - offset * offset));
    s.norm = std::sqrt(std::max(0.0, all.squares + 2 * origin * all.sum + count * origin * origin));
    if (!std::isfinite(s.norm) || !std::isfinite(s.std)) scaled(x, n, finite, s);
    s.histogram_low = s.min, s.histogram_high = s.max;
  }
  return s;
}

std::int64_t columns_of(const Shape& shape) { return shape.rank() == 0 ? 1 : shape[shape.rank() - 1]; }

template <class T>
void draw_dense(Summary& s, const Tensor& dense) {
  const auto* x = static_cast<const T*>(dense.raw());
  const std::int64_t n = dense.numel(), columns = columns_of(dense.shape());
  if (s.nans + s.infinities < n) histogram(x, n, s);
  picture(x, columns == 0 ? 0 : n / columns, columns, s);
}

/// F<T>(...) for the element type.
template <class F>
auto by_type(DType t, F&& call) {
  switch (t) {
    case DType::float32: return call(float{});
    case DType::float64: return call(double{});
    case DType::int64: return call(std::int64_t{});
    case DType::int32: return call(std::int32_t{});
    case DType::boolean: break;
  }
  return call(bool{});
}

}  // namespace

Summary summarise_numbers(const Tensor& x) {
  const NoGrad off;
  const Tensor dense = contiguous(x);
  Summary s = by_type(x.dtype(), [&](auto element) { return numbers_of<decltype(element)>(dense); });
  size_picture(s, x.shape());
  return s;
}

void size_picture(Summary& s, const Shape& shape) {
  const std::int64_t columns = columns_of(shape);
  s.picture_rows = std::min(columns == 0 ? 0 : numel(shape) / columns, most_cells);
  s.picture_columns = std::min(columns, most_cells);
}

void draw(Summary& s, const Tensor& x) {
  const NoGrad off;
  const Tensor dense = contiguous(x);
  by_type(x.dtype(), [&](auto element) { draw_dense<decltype(element)>(s, dense); });
}

Summary summarise(const Tensor& x) {
  Summary s = summarise_numbers(x);
  draw(s, x);
  return s;
}

}  // namespace attune
