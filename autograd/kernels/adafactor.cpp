// Adafactor in three passes over blocks of rows (a vector: pieces of it), cut from the shapes alone:
//   1. p and g: the squares' sums over rows, over columns of a block, and of p;
//   2. g: the sum of the updates' squares;
//   3. p and g: the update.
// Between them the sums of the blocks are added up in order.
#include "autograd/kernels/adafactor.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "autograd/kernels/optimizer_table.h"
#include "autograd/kernels/reduce.h"
#include "autograd/kernels/simd_targets.h"
#include "autograd/runtime/parallel.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "autograd/kernels/adafactor.cpp"
#include "hwy/foreach_target.h"
// After foreach_target.h:
#include "autograd/kernels/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace attune::kernels::HWY_NAMESPACE {

/// x[i...] as doubles: floats promoted.
template <class D>
HWY_INLINE auto load_double(Step<D> s, const float* x) {
  const hn::Rebind<float, D> half;
  return hn::PromoteTo(s.d, Step<decltype(half)>{half, s.left}.load(x));
}
template <class D>
HWY_INLINE auto load_double(Step<D> s, const double* x) {
  return s.load(x);
}

/// The new second moment of a vector's piece.
template <class T>
void vector_moment(const RowBlock<T>& b, const AdafactorRule& rule) {
  const hn::ScalableTag<T> d;
  const auto beta2 = hn::Set(d, static_cast<T>(b.f->beta2)), rest = hn::Set(d, static_cast<T>(1 - b.f->beta2));
  const auto eps = hn::Set(d, static_cast<T>(rule.eps1));
  const auto most = hn::Set(d, std::numeric_limits<T>::max());
  const T* g = b.f->g + b.column;
  T* v = b.f->column + b.column;
  for_vectors(d, b.columns, [=](auto s, Size i) ATTUNE_SIMD {
    const auto x = s.load(g + i);
    const auto moment = hn::MulAdd(beta2, s.load(v + i), hn::Mul(rest, hn::MulAdd(x, x, eps)));
    s.store(hn::IfThenElse(hn::Gt(moment, most), most, moment), v + i);
  });
}

/// The new factors of the rows, and what these rows add to the columns' sums.
template <class T>
void row_and_column_sums(const RowBlock<T>& b, const AdafactorRule& rule) {
  const hn::ScalableTag<double> d;
  const auto eps = hn::Set(d, rule.eps1);
  const double beta2 = b.f->beta2;
  double* column_sums = b.column_sums;
  std::fill_n(column_sums, b.columns, 0.0);
  for (Size r = 0; r < b.count; ++r) {
    const T* g = b.f->g + b.offset(r);
    const double sum_of_row = sum<4>(d, b.columns, [=](auto s, Size i) ATTUNE_SIMD {
      const auto x = load_double(s, g + i);
      const auto square = hn::MulAdd(x, x, eps);
      s.store(hn::Add(s.load(column_sums + i), square), column_sums + i);
      return square;
    });
    T& factor = b.f->row[b.row(r)];
    factor = bounded<T>(beta2 * factor + (1 - beta2) * sum_of_row / static_cast<double>(b.columns));
  }
}

template <class T>
void moments(RowBlock<T>& b, const AdafactorRule& rule) {
  if (b.f->row == nullptr)
    vector_moment(b, rule);
  else
    row_and_column_sums(b, rule);
  if (!rule.relative) return;
  const T* p = b.f->p + b.offset(0);  // the rows of a block are one stretch of memory
  b.parameter_squares = sum<4>(hn::ScalableTag<double>(), b.count * b.columns, [=](auto s, Size i) ATTUNE_SIMD {
    const auto x = load_double(s, p + i);
    return hn::Mul(x, x);
  });
}

/// u of row r of a block, as a function of (step, i).
template <class T>
HWY_INLINE auto update_of_row(const RowBlock<T>& b, const Scales<T>& scales, Size r) {
  const hn::ScalableTag<T> d;
  const bool vector = scales.row == nullptr;
  const T* g = b.f->g + b.offset(r);
  const T* column = vector ? b.f->column + b.column : scales.column + b.matrix * b.f->columns;
  const auto row = hn::Set(d, vector ? T{1} : scales.row[b.row(r)]);
  return [=](auto s, Size i) ATTUNE_SIMD {
    const auto x = s.load(g + i), c = s.load(column + i);
    return vector ? hn::Div(x, hn::Sqrt(c)) : hn::Mul(hn::Mul(x, row), c);
  };
}

/// Of row r, where they overflow in T.
template <class T>
double update_squares_in_double(const RowBlock<T>& b, const Scales<T>& scales, Size r) {
  const bool vector = scales.row == nullptr;
  const T* g = b.f->g + b.offset(r);
  const T* column = vector ? b.f->column + b.column : scales.column + b.matrix * b.f->columns;
  double squares = 0;
  for (Size i = 0; i < b.columns; ++i) {
    const T u = vector ? g[i] / std::sqrt(column[i]) : g[i] * scales.row[b.row(r)] * column[i];
    squares += static_cast<double>(u) * static_cast<double>(u);
  }
  return squares;
}

template <class T>
void update_squares(RowBlock<T>& b, const Scales<T>& scales) {
  double squares = 0;
  for (Size r = 0; r < b.count; ++r) {
    const auto u = update_of_row(b, scales, r);
    const double of_row = sum<4>(hn::ScalableTag<T>(), b.columns, [=](auto s, Size i) ATTUNE_SIMD {
      const auto x = s.keep(u(s, i), hn::Zero(s.d));  // a vector's lanes beyond the end are 0 / 0
      return hn::Mul(x, x);
    });
    squares += std::isfinite(of_row) ? of_row : update_squares_in_double(b, scales, r);
  }
  b.update_squares = squares;
}

template <class T>
void update(const RowBlock<T>& b, const Scales<T>& scales, const AdafactorRule& rule) {
  const hn::ScalableTag<T> d;
  const auto step = hn::Set(d, static_cast<T>(scales.step)), shrink = hn::Set(d, static_cast<T>(scales.shrink));
  const auto b1 = hn::Set(d, static_cast<T>(rule.beta1)), a1 = hn::Set(d, static_cast<T>(1 - rule.beta1));
  for (Size r = 0; r < b.count; ++r) {
    const auto u = update_of_row(b, scales, r);
    T *p = b.f->p + b.offset(r), *m = b.f->m == nullptr ? nullptr : b.f->m + b.offset(r);
    for_vectors(d, b.columns, [=](auto s, Size i) ATTUNE_SIMD {
      auto move = hn::Mul(step, u(s, i));
      if (m != nullptr) {
        move = hn::MulAdd(b1, s.load(m + i), hn::Mul(a1, move));
        s.store(move, m + i);
      }
      s.store(hn::MulSub(shrink, s.load(p + i), move), p + i);
    });
  }
}

const AdafactorKernels<float>* adafactor_f32() {
  static const AdafactorKernels<float> k{moments<float>, update_squares<float>, update<float>};
  return &k;
}
const AdafactorKernels<double>* adafactor_f64() {
  static const AdafactorKernels<double> k{moments<double>, update_squares<double>, update<double>};
  return &k;
}

}  // namespace attune::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace attune::kernels {

HWY_EXPORT(adafactor_f32);
HWY_EXPORT(adafactor_f64);

namespace {

template <class T>
const AdafactorKernels<T>& kernels() {
  if constexpr (sizeof(T) == 4)
    return *HWY_DYNAMIC_DISPATCH(adafactor_f32)();
  else
    return *HWY_DYNAMIC_DISPATCH(adafactor_f64)();
}

/// A tensor's blocks and scales, cut from memory that `take(bytes)` gives.
template <class T>
struct Work {
  std::vector<RowBlock<T>> blocks;
  Scales<T> scales{};

  template <class Take>
  Work(const Factored<T>& f, Take&& take) {
    constexpr Size piece = 32768, most_blocks = 16;  // the latter of a matrix, each has a row of column sums
    if (f.row == nullptr) {
      for (Size c = 0; c < f.columns; c += piece)
        blocks.push_back({&f, 0, 0, 1, c, std::min(piece, f.columns - c), nullptr});
      return;
    }
    const Size height = std::max((piece + f.columns - 1) / f.columns, (f.rows + most_blocks - 1) / most_blocks);
    for (Size k = 0; k < f.matrices; ++k)
      for (Size r = 0; r < f.rows; r += height) {
        auto* sums = static_cast<double*>(take(f.columns * Size{sizeof(double)}));
        blocks.push_back({&f, k, r, std::min(height, f.rows - r), 0, f.columns, sums});
      }
    scales.row = static_cast<T*>(take(f.matrices * f.rows * Size{sizeof(T)}));
    scales.column = static_cast<T*>(take(f.matrices * f.columns * Size{sizeof(T)}));
  }

  /// After the first pass: the new factors of the columns, and the scales of both.
  void finish_factors() {
    if (scales.row == nullptr) return;
    const Factored<T>& f = *blocks[0].f;
    const double height = static_cast<double>(f.rows);
    const std::size_t blocks_each = blocks.size() / static_cast<std::size_t>(f.matrices);
    for (Size k = 0; k < f.matrices; ++k) {
      const RowBlock<T>* own = blocks.data() + static_cast<std::size_t>(k) * blocks_each;
      for (std::size_t b = 1; b < blocks_each; ++b)
        for (Size j = 0; j < f.columns; ++j) own[0].column_sums[j] += own[b].column_sums[j];
      T *column = f.column + k * f.columns, *scale = scales.column + k * f.columns;
      for (Size j = 0; j < f.columns; ++j) {
        column[j] = bounded<T>(f.beta2 * column[j] + (1 - f.beta2) * own[0].column_sums[j] / height);
        scale[j] = static_cast<T>(1 / std::sqrt(static_cast<double>(column[j])));
      }
      constexpr double most = std::numeric_limits<double>::max();
      double mean = 0;
      for (Size i = k * f.rows; i < (k + 1) * f.rows; ++i) mean += static_cast<double>(f.row[i]) / height;
      for (Size i = k * f.rows; i < (k + 1) * f.rows; ++i)
        scales.row[i] = static_cast<T>(std::sqrt(std::min(mean, most) / static_cast<double>(f.row[i])));
    }
  }

  /// After the second pass.
  void finish_step(const AdafactorRule& rule) {
    const Factored<T>& f = *blocks[0].f;
    const double n = static_cast<double>(f.matrices * f.rows * f.columns);
    double parameter = 0, update = 0;
    for (const RowBlock<T>& b : blocks) parameter += b.parameter_squares, update += b.update_squares;
    double size = std::sqrt(parameter / n);
    if (rule.relative && (!std::isfinite(parameter) || parameter < 1e-280))  // the squares are beyond the range
      size = norm(f.p, f.matrices * f.rows * f.columns) / std::sqrt(n);
    const double lr = rule.relative ? f.lr * std::max(rule.eps2, size) : f.lr;
    scales.step = lr / std::max(1.0, std::sqrt(update / n) / rule.clip);
    scales.shrink = 1 - lr * f.weight_decay;
  }
};

}  // namespace

template <class T>
void adafactor(const std::vector<Factored<T>>& tensors, const AdafactorRule& rule, std::vector<std::byte>& scratch) {
  // Once to measure, once to cut.
  std::size_t used = 0;
  const auto measure = [&](Size bytes) -> void* {
    used += static_cast<std::size_t>(bytes + 63) / 64 * 64;
    return nullptr;
  };
  for (const Factored<T>& f : tensors) Work<T>(f, measure);
  if (scratch.size() < used) scratch.resize(used);
  used = 0;
  const auto cut = [&](Size bytes) -> void* {
    std::byte* at = scratch.data() + used;
    measure(bytes);
    return at;
  };
  std::vector<Work<T>> works;
  works.reserve(tensors.size());
  std::vector<std::pair<RowBlock<T>*, Work<T>*>> blocks;
  Size total = 0;
  for (const Factored<T>& f : tensors) {
    works.emplace_back(f, cut);
    total += f.matrices * f.rows * f.columns;
    for (RowBlock<T>& b : works.back().blocks) blocks.emplace_back(&b, &works.back());
  }
  const auto for_all = [&](auto& list, auto&& run) {
    const auto n = static_cast<Size>(list.size());
    parallel_for(n, total < 32768 ? std::max<Size>(n, 1) : 1, [&](Size begin, Size end) {
      for (Size i = begin; i < end; ++i) run(list[static_cast<std::size_t>(i)]);
    });
  };
  const AdafactorKernels<T>& k = kernels<T>();
  for_all(blocks, [&](auto& b) { k.moments(*b.first, rule); });
  for_all(works, [](Work<T>& w) { w.finish_factors(); });
  for_all(blocks, [&](auto& b) { k.update_squares(*b.first, b.second->scales); });
  for (Work<T>& w : works) w.finish_step(rule);
  for_all(blocks, [&](auto& b) { k.update(*b.first, b.second->scales, rule); });
}

template void adafactor(const std::vector<Factored<float>>&, const AdafactorRule&, std::vector<std::byte>&);
template void adafactor(const std::vector<Factored<double>>&, const AdafactorRule&, std::vector<std::byte>&);

}  // namespace attune::kernels
#endif
