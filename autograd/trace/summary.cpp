// Summaries of tensors: two passes over the elements, in pieces that threads share.
#include <algorithm>
#include <cmath>
#include <limits>

#include "autograd/ops/movement.h"
#include "autograd/runtime/parallel.h"
#include "autograd/tape/modes.h"
#include "autograd/trace/recording.h"

namespace attune {

namespace {

constexpr std::int64_t piece = 1 << 15;
constexpr std::int64_t most_bins = 32, most_cells = 32;

struct Moments {
  double min = std::numeric_limits<double>::infinity(), max = -min, sum = 0;
  std::int64_t zeros = 0, nans = 0, infinities = 0;
};

template <class T>
Moments moments(const T* x, std::int64_t n) {
  Moments m;
  T least = std::numeric_limits<T>::max(), most = std::numeric_limits<T>::lowest();
  double sum = 0;
  std::int64_t zeros = 0, odd = 0;
  for (std::int64_t i = 0; i < n; ++i) {
    const T v = x[i];
    if constexpr (std::is_floating_point_v<T>) odd += !(std::abs(v) <= std::numeric_limits<T>::max());
    zeros += v == T{0};
    least = v < least ? v : least;  // NaN compares false
    most = v > most ? v : most;
    sum += static_cast<double>(v);
  }
  m.zeros = zeros;
  if (odd == 0) {
    if (n > 0) m.min = static_cast<double>(least), m.max = static_cast<double>(most);
    m.sum = sum;
    return m;
  }
  if constexpr (std::is_floating_point_v<T>)
    for (std::int64_t i = 0; i < n; ++i) {
      const auto v = static_cast<double>(x[i]);
      m.nans += std::isnan(v);
      m.infinities += std::isinf(v);
      if (std::isfinite(v)) m.min = std::min(m.min, v), m.max = std::max(m.max, v), m.sum += v;
    }
  return m;
}

/// What the second pass needs of the first.
struct Spread {
  double mean, low, scale, largest;  // scale: bins a unit
  std::int64_t bins;
};

struct Second {
  double deviations = 0, squares = 0;  // of (v - mean) and v, over the largest
  std::vector<std::int64_t> bins;
};

template <class T>
Second second(const T* x, std::int64_t n, const Spread& s, bool finite) {
  Second r;
  r.bins.resize(static_cast<std::size_t>(s.bins));
  const double unit = s.largest > 0 ? 1 / s.largest : 0;
  for (std::int64_t i = 0; i < n; ++i) {
    const auto v = static_cast<double>(x[i]);
    if (!finite && !std::isfinite(v)) continue;
    const double d = (v - s.mean) * unit, w = v * unit;
    r.deviations += d * d;
    r.squares += w * w;
    const auto bin = static_cast<std::int64_t>((v - s.low) * s.scale);
    ++r.bins[static_cast<std::size_t>(std::clamp<std::int64_t>(bin, 0, s.bins - 1))];
  }
  return r;
}

template <class T>
void picture(const T* x, std::int64_t rows, std::int64_t columns, Summary& s) {
  s.picture_rows = std::min(rows, most_cells);
  s.picture_columns = std::min(columns, most_cells);
  s.picture.resize(static_cast<std::size_t>(s.picture_rows * s.picture_columns));
  if (rows == 0 || columns == 0) return;
  parallel_for(s.picture_rows, std::max<std::int64_t>(1, piece * s.picture_rows / (rows * columns)),
               [&](std::int64_t begin, std::int64_t end) {
                 for (std::int64_t r = begin; r < end; ++r) {
                   const std::int64_t top = r * rows / s.picture_rows, bottom = (r + 1) * rows / s.picture_rows;
                   for (std::int64_t c = 0; c < s.picture_columns; ++c) {
                     const std::int64_t left = c * columns / s.picture_columns,
                                        right = (c + 1) * columns / s.picture_columns;
                     double sum = 0;
                     for (std::int64_t i = top; i < bottom; ++i)
                       for (std::int64_t j = left; j < right; ++j) sum += static_cast<double>(x[i * columns + j]);
                     s.picture[static_cast<std::size_t>(r * s.picture_columns + c)] =
                         static_cast<float>(sum / static_cast<double>((bottom - top) * (right - left)));
                   }
                 }
               });
}

template <class T>
Summary summary_of(const Tensor& dense) {
  Summary s;
  const auto* x = static_cast<const T*>(dense.raw());
  const std::int64_t n = dense.numel(), pieces = (n + piece - 1) / piece;
  std::vector<Moments> first(static_cast<std::size_t>(pieces));
  parallel_for(pieces, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t p = begin; p < end; ++p)
      first[static_cast<std::size_t>(p)] = moments(x + p * piece, std::min(piece, n - p * piece));
  });
  Moments all;
  for (const Moments& m : first) {
    all.min = std::min(all.min, m.min), all.max = std::max(all.max, m.max);
    all.sum += m.sum, all.zeros += m.zeros, all.nans += m.nans, all.infinities += m.infinities;
  }
  s.zeros = all.zeros, s.nans = all.nans, s.infinities = all.infinities;
  const std::int64_t finite = n - all.nans - all.infinities;
  if (finite > 0) {
    s.min = all.min, s.max = all.max, s.mean = all.sum / static_cast<double>(finite);
    const double width = s.max - s.min;
    const std::int64_t bins = width > 0 && std::isfinite(width) ? most_bins : 1;
    const Spread spread{s.mean, s.min, bins > 1 ? static_cast<double>(bins) / width : 0,
                        std::max(std::abs(s.min), std::abs(s.max)), bins};
    std::vector<Second> rest(static_cast<std::size_t>(pieces));
    parallel_for(pieces, 1, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t p = begin; p < end; ++p)
        rest[static_cast<std::size_t>(p)] = second(x + p * piece, std::min(piece, n - p * piece), spread, finite == n);
    });
    double deviations = 0, squares = 0;
    s.histogram.resize(static_cast<std::size_t>(bins));
    for (const Second& r : rest) {
      deviations += r.deviations, squares += r.squares;
      for (std::size_t b = 0; b < s.histogram.size(); ++b) s.histogram[b] += r.bins[b];
    }
    s.std = spread.largest * std::sqrt(deviations / static_cast<double>(finite));
    s.norm = spread.largest * std::sqrt(squares);
    s.histogram_low = s.min, s.histogram_high = s.max;
  }
  const std::int64_t columns = dense.rank() == 0 ? 1 : dense.shape()[dense.rank() - 1];
  picture(x, columns == 0 ? 0 : n / columns, columns, s);
  return s;
}

}  // namespace

Summary summarise(const Tensor& x) {
  const NoGrad off;
  const Tensor dense = contiguous(x);
  switch (x.dtype()) {
    case DType::float32: return summary_of<float>(dense);
    case DType::float64: return summary_of<double>(dense);
    case DType::int64: return summary_of<std::int64_t>(dense);
    case DType::int32: return summary_of<std::int32_t>(dense);
    case DType::boolean: break;
  }
  return summary_of<bool>(dense);
}

}  // namespace attune
