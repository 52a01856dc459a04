#include "autograd/kernels/gemm.h"

#include <algorithm>
#include <climits>
#include <numeric>

#include "autograd/kernels/elementwise.h"
#include "autograd/kernels/gemm_blas.h"
#include "autograd/kernels/gemm_few.h"
#include "autograd/kernels/gemm_packed.h"
#include "autograd/runtime/parallel.h"
#include "autograd/runtime/watch.h"

namespace attune::kernels {
namespace {

constexpr Size tile_rows = 512, tile_columns = 1024;     // at the most: large tiles spend the least on BLAS's packing
constexpr Size least_side = 32;                          // of a tile that is halved
constexpr Size least_tiles = 4;                          // of a product that is worth sharing, however small its output
constexpr double shared_work = 1 << 19;                  // multiplications that are worth a thread
constexpr double vector_cost = 8;                        // a matrix times a vector waits for memory: each costs as many
constexpr Size tiny_work = 128;                          // multiplications up to which a loop beats a call
constexpr Size slice_k = 2048, slice_outputs = 64 * 64;  // a small output over a long k is computed in slices of k
constexpr Size least_dot = 32;                           // of a few rows with rows: shorter ones are packed
constexpr Size few_columns = 4096;                       // a few rows of more are shared by columns, of less by k
constexpr Size few_slice = 96;                           // at the least: a slice of k has sums of its own to write
constexpr Size epilogue_elements = 16384;                // stay in cache between the bias and the activation

template <class T>
void by_loops(const Gemm<T>& g) {
  scale(g);
  for (Size i = 0; i < g.m; ++i)
    for (Size p = 0; p < g.k; ++p) {
      const T a = g.alpha * (g.trans_a ? g.a[p * g.lda + i] : g.a[i * g.lda + p]);
      for (Size j = 0; j < g.n; ++j) g.c[i * g.ldc + j] += a * (g.trans_b ? g.b[j * g.ldb + p] : g.b[p * g.ldb + j]);
    }
}

/// The part of op(A) from row i and column p on, and of op(B) from row p and column j on.
template <class T>
Gemm<T> part(const Gemm<T>& g, Size i, Size m, Size j, Size n, Size p, Size k) {
  Gemm<T> t = g;
  t.m = m;
  t.n = n;
  t.k = k;
  t.a = g.a + (g.trans_a ? p * g.lda + i : i * g.lda + p);
  t.b = g.b + (g.trans_b ? j * g.ldb + p : p * g.ldb + j);
  t.c = g.c + i * g.ldc + j;
  if (g.bias) t.bias = g.bias + j;
  if (g.pre) t.pre = g.pre + i * g.ldc + j;
  return t;
}

Unary function_of(Activation a) {
  switch (a) {
    case Activation::relu: return Unary::relu;
    case Activation::gelu: return Unary::gelu;
    case Activation::gelu_tanh: return Unary::gelu_tanh;
    case Activation::silu: return Unary::silu;
    case Activation::tanh: return Unary::tanh;
    case Activation::sigmoid: return Unary::sigmoid;
    case Activation::none: break;  // the caller has nothing to apply
  }
  return Unary::relu;
}

template <class T>
void epilogue(const Gemm<T>& g) {
  if (!g.bias && g.act == Activation::none && !g.pre) return;
  const Size step = std::max<Size>(1, epilogue_elements / g.n);
  for (Size first = 0; first < g.m; first += step) {
    const Size rows = std::min(step, g.m - first);
    T* c = g.c + first * g.ldc;
    if (g.bias)
      for (Size i = 0; i < rows; ++i)
        for (Size j = 0; j < g.n; ++j) c[i * g.ldc + j] += g.bias[j];
    if (g.pre) copy_rows(c, g.ldc, g.pre + first * g.ldc, g.ldc, rows, g.n);
    if (g.act == Activation::none) continue;
    const bool dense = g.ldc == g.n || rows == 1;
    const Size lines = dense ? 1 : rows, length = dense ? rows * g.n : g.n;
    for (Size i = 0; i < lines; ++i) unary<T>(function_of(g.act), {length}, {c + i * g.ldc, {1}}, c + i * g.ldc);
  }
}

struct Tiling {
  Size rows, columns, down, across;
  Size count() const { return down * across; }
};

/// From the shape alone, never from the number of threads.
Tiling tiling_of(Size m, Size n, double work, Size batch) {
  Size down = pieces(m, tile_rows), across = pieces(n, tile_columns);
  while (down * across * batch < least_tiles && work / static_cast<double>(down * across) > shared_work) {
    const Size rows = pieces(m, down), columns = pieces(n, across);
    if (std::max(rows, columns) < 2 * least_side) break;
    (rows >= columns ? down : across) *= 2;
  }
  // A few tiles are made a multiple of four, so that two or four threads have the same to do.
  if (const Size count = down * across * batch; count > least_tiles && count < 8 * least_tiles && count % 4 != 0) {
    const Size unit = 4 / std::gcd(across * batch, Size{4}), more = pieces(down, unit) * unit;
    if (m / more >= least_side) down = more;
  }
  const auto side = [](Size length, Size parts) {
    return parts == 1 ? length : pieces(pieces(length, parts), 16) * 16;
  };
  Tiling t{side(m, down), side(n, across), 0, 0};
  t.down = pieces(m, t.rows);
  t.across = pieces(n, t.columns);
  return t;
}

/// Few rows: as many columns as are worth a tile, but rows of B in runs of some length.
Tiling tiling_of_few(Size m, Size n, Size k, bool trans_b) {
  const Size columns = std::min(n, std::max(pieces(few_tile, 4 * k) * 4, trans_b ? Size{4} : few_columns / 4));
  return {m, columns, 1, pieces(n, columns)};
}

double work_of(Size m, Size n, Size k) {
  const double each = m == 1 || n == 1 ? vector_cost : 1;
  return each * static_cast<double>(m) * static_cast<double>(n) * static_cast<double>(std::max<Size>(k, 1));
}

/// Slices of k side by side, added in order.
template <class T>
void by_slices(const Gemm<T>& g, Size slice) {
  const Size slices = pieces(g.k, slice);
  const Buffer<T> partial(slices * g.m * g.n);
  parallel_for(slices, 1, [&](Size begin, Size end) {
    for (Size s = begin; s < end; ++s) {
      Gemm<T> t = part(g, 0, g.m, 0, g.n, s * slice, std::min(slice, g.k - s * slice));
      t.beta = 0;
      t.c = partial.data() + s * g.m * g.n;
      t.ldc = g.n;
      gemm_single(t);
    }
  });
  parallel_for(g.n, std::max<Size>(1, few_tile / 4 / (slices * g.m)), [&](Size begin, Size end) {
    const Gemm<T> columns = part(g, 0, g.m, begin, end - begin, 0, g.k);
    scale(columns);
    for (Size s = 0; s < slices; ++s)
      for (Size i = 0; i < g.m; ++i) {
        const T* from = partial.data() + (s * g.m + i) * g.n + begin;
        for (Size j = 0; j < columns.n; ++j) columns.c[i * g.ldc + j] += from[j];
      }
    epilogue(columns);
  });
}

bool is_tiny(Size m, Size n, Size k) {
  return m <= tiny_work && n <= tiny_work && k <= tiny_work && m * n * k <= tiny_work;
}

template <class T>
bool is_few(const Gemm<T>& g) {
  return g.m <= few_rows && g.n > 1 && g.k >= (g.trans_b ? least_dot : 1) && g.alpha != T{0} &&
         !is_tiny(g.m, g.n, g.k) && has_few_rows_gemm();
}

template <class T>
bool is_packed(const Gemm<T>& g) {
  return !is_few(g) && g.m > 1 && g.n > 1 && g.k > 0 && g.alpha != T{0} && !is_tiny(g.m, g.n, g.k) && has_packed_gemm();
}

template <class T>
void packed_with_epilogue(Gemm<T> g, const RightPanels<T>& right = {}) {
  watch::multiplied(g.m, g.n, g.k);
  packed_gemm(g, right);
  g.bias = nullptr;
  epilogue(g);
}

/// One tile of a product.
template <class T>
void single_with_epilogue(const Gemm<T>& g) {
  if (is_packed(g)) return packed_with_epilogue(g);
  gemm_single(g);
  epilogue(g);
}

}  // namespace

template <class T>
void gemm_single(const Gemm<T>& g) {
  if (g.m == 0 || g.n == 0) return;
  if (g.k == 0 || g.alpha == T{0}) return scale(g);
  watch::multiplied(g.m, g.n, g.k);
  if (is_tiny(g.m, g.n, g.k)) return by_loops(g);
  if (is_few(g)) return few_rows_gemm(g);
  if (is_packed(g)) {
    Gemm<T> plain = g;
    plain.bias = nullptr;
    return packed_gemm(plain);
  }
  if (std::max({g.m, g.n, g.k}) <= INT_MAX) return blas_gemm(g);
  constexpr Size most = Size{1} << 30;
  for (Size i = 0; i < g.m; i += most)
    for (Size j = 0; j < g.n; j += most)
      for (Size p = 0; p < g.k; p += most) {
        Gemm<T> t = part(g, i, std::min(most, g.m - i), j, std::min(most, g.n - j), p, std::min(most, g.k - p));
        if (p != 0) t.beta = 1;
        blas_gemm(t);
      }
}

template <class T>
void gemm(const Gemm<T>& g) {
  const Size none = 0;
  gemm_batched(g, 1, &none, &none, &none);
}

template <class T>
void gemm_batched(const Gemm<T>& g, Size batch, const Size* a_off, const Size* b_off, const Size* c_off) {
  if (batch == 0 || g.m == 0 || g.n == 0) return;
  const auto product = [&](Size i) {
    Gemm<T> one = g;
    one.a += a_off[i];
    one.b += b_off[i];
    one.c += c_off[i];
    if (one.pre) one.pre += c_off[i];
    return one;
  };
  if (batch < least_tiles && g.m <= slice_outputs && g.n <= slice_outputs && g.m * g.n <= slice_outputs &&
      g.k >= 2 * slice_k) {
    for (Size i = 0; i < batch; ++i) by_slices(product(i), slice_k);
    return;
  }
  const bool few = is_few(g);
  if (const Size slice = std::max(few_slice, pieces(few_tile, 8 * g.n) * 8);
      few && !g.trans_b && batch == 1 && g.n < few_columns && slice < g.k)
    return by_slices(product(0), slice);
  const double work = work_of(g.m, g.n, g.k);
  const Tiling t = few ? tiling_of_few(g.m, g.n, g.k, g.trans_b) : tiling_of(g.m, g.n, work, batch);
  const auto tile_work = few ? static_cast<double>(t.columns * g.k) : work / static_cast<double>(t.count());
  const Size grain = std::max<Size>(1, static_cast<Size>((few ? few_tile : shared_work / 4) / tile_work));
  parallel_for(batch * t.count(), grain, [&](Size begin, Size end) {
    for (Size at = begin; at < end; ++at) {
      const Size tile = at % t.count(), i = tile / t.across * t.rows, j = tile % t.across * t.columns;
      single_with_epilogue(
          part(product(at / t.count()), i, std::min(t.rows, g.m - i), j, std::min(t.columns, g.n - j), 0, g.k));
    }
  });
}

template <class T>
PackedRight<T>::PackedRight(const Gemm<T>& g, Size products)
    : of_(g),
      packed_(products > 1 && is_packed(g)),
      columns_(pieces(g.n, panel_columns<T>) * panel_columns<T>),
      panels_(packed_ ? columns_ * g.k : 0) {
  if (!packed_) return;
  const Size panels = columns_ / panel_columns<T>;
  parallel_for(panels, std::max<Size>(1, 32768 / (panel_columns<T> * g.k)), [&](Size begin, Size end) {
    const Size j = begin * panel_columns<T>;
    Gemm<T> some = g;
    some.n = std::min(end * panel_columns<T>, g.n) - j;
    some.b += j * (g.trans_b ? g.ldb : 1);
    pack_right<T>(some, {panels_.data(), columns_, j});
  });
}

template <class T>
void PackedRight<T>::multiply(Gemm<T> g) const {
  g.trans_b = of_.trans_b;
  g.m = of_.m;
  g.n = of_.n;
  g.k = of_.k;
  g.b = of_.b;
  g.ldb = of_.ldb;
  if (!packed_ || g.alpha == T{0}) return gemm(g);
  // Whole panels to a tile, chosen from the shape alone.
  Tiling t = tiling_of(g.m, g.n, work_of(g.m, g.n, g.k), 1);
  t.columns = pieces(t.columns, panel_columns<T>) * panel_columns<T>;
  t.across = pieces(g.n, t.columns);
  parallel_for(t.count(), 1, [&](Size begin, Size end) {
    for (Size at = begin; at < end; ++at) {
      const Size i = at / t.across * t.rows, j = at % t.across * t.columns;
      packed_with_epilogue<T>(part(g, i, std::min(t.rows, g.m - i), j, std::min(t.columns, g.n - j), 0, g.k),
                              {panels_.data(), columns_, j});
    }
  });
}

template void gemm<float>(const Gemm<float>&);
template void gemm<double>(const Gemm<double>&);
template void gemm_batched<float>(const Gemm<float>&, Size, const Size*, const Size*, const Size*);
template void gemm_batched<double>(const Gemm<double>&, Size, const Size*, const Size*, const Size*);
template class PackedRight<float>;
template class PackedRight<double>;
template void gemm_single<float>(const Gemm<float>&);
template void gemm_single<double>(const Gemm<double>&);

}  // namespace attune::kernels
