// What exact and chunked attention do inside a tile of scores. A tile lies transposed, a key to a row and a query to a
// column, so that sums and maxima over keys run down the lanes of vectors. Scores are kept in units of log 2: the
// probabilities are powers of 2. Compiled once per instruction set.
#if defined(ATTUNE_KERNELS_ATTENTION_TILE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef ATTUNE_KERNELS_ATTENTION_TILE_INL_H_
#undef ATTUNE_KERNELS_ATTENTION_TILE_INL_H_
#else
#define ATTUNE_KERNELS_ATTENTION_TILE_INL_H_
#endif

#include <algorithm>
#include <cmath>
#include <initializer_list>
#include <limits>
#include <numbers>
#include <type_traits>
#include <vector>

#include "autograd/kernels/attention/attention_tile.h"
#include "autograd/kernels/buffer.h"
#include "autograd/kernels/philox-inl.h"
#include "autograd/kernels/simd_math-inl.h"
#include "autograd/kernels/tile_product.h"

HWY_BEFORE_NAMESPACE();
namespace attune::kernels::HWY_NAMESPACE {

template <class T>
inline constexpr T hidden = -std::numeric_limits<T>::infinity();

/// Arrays of a task, side by side, each at a cache line.
template <class T>
class Workspace {
 public:
  explicit Workspace(std::initializer_list<Size> sizes) : buffer_(total(sizes)), next_(buffer_.data()) {}
  T* take(Size n) {
    T* p = next_;
    next_ += rounded(n);
    return p;
  }

 private:
  static Size rounded(Size n) { return (n + 15) / 16 * 16; }
  static Size total(std::initializer_list<Size> sizes) {
    Size sum = 0;
    for (Size n : sizes) sum += rounded(n);
    return sum;
  }
  Buffer<T> buffer_;
  T* next_;
};

/// 2^x for x <= 0 (a score less the largest): 0 below 2^-126, where it would be subnormal beside a sum of at least 1.
/// Coefficients interpolate 2^f at Chebyshev nodes of [-1/2, 1/2], relative error 2.5e-9.
template <class V>
HWY_INLINE V exp2_below(V x) {
  if constexpr (sizeof(LaneOf<V>) == 8) {
    return exp2(x);
  } else {
    constexpr float power_of_two[] = {1.0F,           0.693147207F,   0.240226509F,   0.0555032723F,
                                      0.00961805668F, 0.00134004282F, 0.000154614447F};
    const hn::DFromV<V> d;
    const hn::RebindToUnsigned<decltype(d)> du;
    // The sum's last bits are round(x) + 127, the exponent of 2^round(x).
    const V shift = constant(x, 0x1.8p23 + 127);
    const V shifted = hn::Add(x, shift);
    const V rest = hn::Sub(x, hn::Sub(shifted, shift));
    const V whole = hn::BitCast(d, hn::ShiftLeft<23>(hn::BitCast(du, shifted)));
    return hn::IfThenZeroElse(hn::Lt(x, constant(x, -126)), hn::Mul(polynomial(rest, power_of_two), whole));
  }
}

/// f(strip, i) for the vectors of [0, width): `strip` of them, a constant 4 or 1, from element i on.
template <class T, class F>
HWY_INLINE void for_strips(Size width, F f) {
  const Size step = lanes(hn::ScalableTag<T>());
  Size i = 0;
  for (; i + 4 * step <= width; i += 4 * step) f(std::integral_constant<int, 4>(), i);
  for (; i < width; i += step) f(std::integral_constant<int, 1>(), i);
}

/// The columns that a tile of `queries` computes: the others up to them hold no query.
template <class T>
Size tile_width(Size queries) {
  const Size step = lanes(hn::ScalableTag<T>());
  return (queries + step - 1) / step * step;
}

/// to[c][r] = factor from(r)[c] for `rows` rows of `columns` elements; 0 for r up to tile_queries.
template <class T, class Row>
void transpose_rows(Row from, Size rows, Size columns, T factor, T* to) {
  Size r = 0;
#if HWY_TARGET != HWY_SCALAR
  if constexpr (sizeof(T) == 4) {
    const hn::FixedTag<float, 4> d;
    const hn::FixedTag<double, 2> pairs;
    const auto f = hn::Set(d, factor);
    const auto halves = [&](auto a, auto b, float* low, float* high) ATTUNE_SIMD {
      const auto x = hn::BitCast(pairs, a), y = hn::BitCast(pairs, b);
      hn::StoreU(hn::BitCast(d, hn::InterleaveLower(pairs, x, y)), d, low);
      hn::StoreU(hn::BitCast(d, hn::InterleaveUpper(pairs, x, y)), d, high);
    };
    for (; r + 4 <= rows; r += 4) {
      const float *a = from(r), *b = from(r + 1), *c = from(r + 2), *e = from(r + 3);
      Size p = 0;
      for (; p + 4 <= columns; p += 4) {
        const auto va = hn::Mul(hn::LoadU(d, a + p), f), vb = hn::Mul(hn::LoadU(d, b + p), f);
        const auto vc = hn::Mul(hn::LoadU(d, c + p), f), ve = hn::Mul(hn::LoadU(d, e + p), f);
        float* y = to + p * tile_queries + r;
        halves(hn::InterleaveLower(d, va, vb), hn::InterleaveLower(d, vc, ve), y, y + tile_queries);
        halves(hn::InterleaveUpper(d, va, vb), hn::InterleaveUpper(d, vc, ve), y + 2 * tile_queries,
               y + 3 * tile_queries);
      }
      for (; p < columns; ++p)
        for (Size i = 0; i < 4; ++i) to[p * tile_queries + r + i] = from(r + i)[p] * factor;
    }
  }
#endif
  for (; r < rows; ++r)
    for (Size p = 0; p < columns; ++p) to[p * tile_queries + r] = from(r)[p] * factor;
  if (rows < tile_queries)
    for (Size p = 0; p < columns; ++p) std::fill_n(to + p * tile_queries + rows, tile_queries - rows, T{0});
}

template <class T>
bool all_finite(const T* x, Size n) {
  const hn::ScalableTag<T> d;
  const auto most = hn::Set(d, std::numeric_limits<T>::max());
  const Size step = lanes(d);
  Size i = 0;
  for (; i + step <= n; i += step)
    if (!hn::AllTrue(d, hn::Le(hn::Abs(hn::LoadU(d, x + i)), most))) return false;
  for (; i < n; ++i)
    if (!std::isfinite(x[i])) return false;
  return true;
}

template <class T>
bool all_zero(const T* x, Size n) {
  return std::all_of(x, x + n, [](T v) { return v == 0; });
}

/// tile_product for weights in a tile [..][tile_queries], where a weight of exactly 0 leaves its row of B out, whatever
/// that holds: 0 times NaN is 0. For tiles in which something is not finite; the others are spared the search.
template <class T>
void weighted_product(Left left, Size m, Size n, Size k, const T* weights, const T* b, Size ldb, T* c, Size ldc,
                      bool add) {
  std::vector<T> finite(static_cast<std::size_t>(k * n), T{0});
  std::vector<Size> others;  // rows of B
  for (Size r = 0; r < k; ++r) {
    if (all_finite(b + r * ldb, n))
      std::copy_n(b + r * ldb, n, finite.data() + r * n);
    else
      others.push_back(r);
  }
  tile_product(left, m, n, k, weights, tile_queries, finite.data(), n, c, ldc, add);
  for (Size r : others)
    for (Size i = 0; i < m; ++i) {
      const T w = left == Left::rows ? weights[i * tile_queries + r] : weights[r * tile_queries + i];
      if (w == 0) continue;
      for (Size j = 0; j < n; ++j) c[i * ldc + j] += w * b[r * ldb + j];
    }
}

/// The one or the other: `careful` where something is not finite.
template <class T>
void product_of_tile(bool careful, Left left, Size m, Size n, Size k, const T* weights, const T* b, Size ldb, T* c,
                     Size ldc, bool add) {
  if (careful)
    weighted_product(left, m, n, k, weights, b, ldb, c, ldc, add);
  else
    tile_product(left, m, n, k, weights, tile_queries, b, ldb, c, ldc, add);
}

/// largest[i] = max(largest[i], the scores of column i); NaN is passed over.
template <class T>
void take_largest(const T* scores, Size keys, Size width, T* largest) {
  const hn::ScalableTag<T> d;
  const Size step = lanes(d);
  for_strips<T>(width, [&](auto strip, Size i) ATTUNE_SIMD {
    hn::Vec<decltype(d)> most[strip];
    for (int j = 0; j < strip; ++j) most[j] = hn::LoadU(d, largest + i + j * step);
    for (Size r = 0; r < keys; ++r)
      for (int j = 0; j < strip; ++j) {
        const auto s = hn::LoadU(d, scores + r * tile_queries + i + j * step);
        most[j] = hn::IfThenElse(hn::Gt(s, most[j]), s, most[j]);
      }
    for (int j = 0; j < strip; ++j) hn::StoreU(most[j], d, largest + i + j * step);
  });
}

/// Scores become powers of 2 relative to `shift`; total[i] receives the sum of column i.
template <class T>
void take_powers(T* scores, Size keys, Size width, const T* shift, T* total) {
  const hn::ScalableTag<T> d;
  const Size step = lanes(d);
  for_strips<T>(width, [&](auto strip, Size i) ATTUNE_SIMD {
    hn::Vec<decltype(d)> high[strip], sum[strip];
    for (int j = 0; j < strip; ++j) {
      high[j] = hn::LoadU(d, shift + i + j * step);
      sum[j] = hn::Zero(d);
    }
    for (Size r = 0; r < keys; ++r)
      for (int j = 0; j < strip; ++j) {
        T* s = scores + r * tile_queries + i + j * step;
        const auto e = exp2_below(hn::Sub(hn::LoadU(d, s), high[j]));
        hn::StoreU(e, d, s);
        sum[j] = hn::Add(sum[j], e);
      }
    for (int j = 0; j < strip; ++j) hn::StoreU(sum[j], d, total + i + j * step);
  });
}

/// From scores s and g = dy v^T, both [keys][tile_queries], of probabilities p = 2^(s - shift): s becomes p and g
/// becomes p (g - mean). Where `factor` is not null (dropout), s becomes p factor and g p (g factor - mean). If
/// `careful`, what has the weight 0 gives 0, whatever its g holds.
template <bool careful, class T>
void take_gradients(T* scores, T* g, const T* factor, Size keys, Size width, const T* shift, const T* mean) {
  const hn::ScalableTag<T> d;
  const Size step = lanes(d);
  for_strips<T>(width, [&](auto strip, Size i) ATTUNE_SIMD {
    hn::Vec<decltype(d)> high[strip], centre[strip];
    for (int j = 0; j < strip; ++j) {
      high[j] = hn::LoadU(d, shift + i + j * step);
      centre[j] = hn::LoadU(d, mean + i + j * step);
    }
    for (Size r = 0; r < keys; ++r)
      for (int j = 0; j < strip; ++j) {
        const Size at = r * tile_queries + i + j * step;
        const auto p = exp2_below(hn::Sub(hn::LoadU(d, scores + at), high[j]));
        const auto dy = hn::LoadU(d, g + at);
        const auto unless_zero = [&](auto w, auto v) ATTUNE_SIMD {
          return careful ? hn::IfThenZeroElse(hn::Eq(w, hn::Zero(d)), v) : v;
        };
        if (factor == nullptr) {
          hn::StoreU(p, d, scores + at);
          hn::StoreU(unless_zero(p, hn::Mul(p, hn::Sub(dy, centre[j]))), d, g + at);
        } else {
          const auto kept = hn::LoadU(d, factor + at);
          hn::StoreU(unless_zero(kept, hn::Mul(p, kept)), d, scores + at);
          hn::StoreU(unless_zero(p, hn::Mul(p, hn::MulSub(unless_zero(kept, dy), kept, centre[j]))), d, g + at);
        }
      }
  });
}

/// The queries of a tile whose cotangent is 0: they have no gradient and give none, whatever they hold.
struct Unasked {
  bool query[tile_queries] = {};

  template <class T>
  void find(Size i, const T* dout, Size n) {
    query[i] = all_zero(dout, n);
  }
  template <class T>
  void clear_columns(T* tile, Size keys, Size count) const {
    for (Size i = 0; i < count; ++i)
      for (Size r = 0; query[i] && r < keys; ++r) tile[r * tile_queries + i] = 0;
  }
};

/// words[w][i] = word w of the Philox block `block` of row first + i, each row having `blocks_a_row`.
inline void draw_words(RandomKey key, Size first, Size blocks_a_row, Size block,
                       std::uint32_t (&words)[4][tile_queries]) {
  const auto number = [=](Size i) { return static_cast<std::uint64_t>((first + i) * blocks_a_row + block); };
#if HWY_TARGET == HWY_SCALAR
  for (Size i = 0; i < tile_queries; ++i) {
    const auto w = philox(key, number(i));
    for (std::size_t j = 0; j < 4; ++j) words[j][i] = w[j];
  }
#else
  const hn::ScalableTag<std::uint64_t> d;
  const hn::Rebind<std::uint32_t, decltype(d)> half;
  const auto low = hn::Set(d, 0xFFFFFFFF);
  HWY_ALIGN std::uint64_t numbers[hn::MaxLanes(d)];
  for (Size i = 0; i < tile_queries; i += lanes(d)) {
    for (Size j = 0; j < lanes(d); ++j) numbers[j] = number(i + j);
    const auto w = philox_blocks(key, hn::Load(d, numbers));
    hn::StoreU(hn::TruncateTo(half, hn::And(w.word0, low)), half, words[0] + i);
    hn::StoreU(hn::TruncateTo(half, hn::And(w.word1, low)), half, words[1] + i);
    hn::StoreU(hn::TruncateTo(half, hn::And(w.word2, low)), half, words[2] + i);
    hn::StoreU(hn::TruncateTo(half, hn::And(w.word3, low)), half, words[3] + i);
  }
#endif
}

/// Words to the factors of a row of a tile: 0 or 1 / (1 - p), as kernels::dropout has them.
template <class T>
class DropoutFactor {
 public:
  explicit DropoutFactor(double p)
      : up_(p < 1 ? static_cast<T>(1 / (1 - p)) : T{0}),
        last_(p < 1 ? static_cast<std::uint32_t>(std::ceil((1 - p) * 0x1p32) - 1) : 0U) {}
  void apply(const std::uint32_t* words, T* factor) const {
    for (Size i = 0; i < tile_queries; ++i) factor[i] = words[i] <= last_ ? up_ : T{0};
  }

 private:
  T up_;
  std::uint32_t last_;
};

}  // namespace attune::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
