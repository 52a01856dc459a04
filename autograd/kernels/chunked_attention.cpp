// One task is one head of one example; its chunks run one after another on one thread, so that scattered sums have a
// fixed order.

#include "autograd/kernels/chunked_attention.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "autograd/kernels/chunk_window.h"
#include "autograd/kernels/gemm.h"
#include "autograd/kernels/simd_targets.h"
#include "autograd/runtime/parallel.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "autograd/kernels/chunked_attention.cpp"
#include "hwy/foreach_target.h"
// After foreach_target.h:
#include "autograd/kernels/rows-inl.h"

HWY_BEFORE_NAMESPACE();
namespace attune::kernels::HWY_NAMESPACE {

/// What scores_of() needs of one query row, and the row.
template <class T>
void mask_row(ChunkWindow& w, Size i, T* s) {
  const ChunkPlan& p = w.plan();
  const Size cols = w.columns();
  const std::int32_t position = w.query(i);
  const std::int32_t* keys = w.keys();
  const T none = -std::numeric_limits<T>::infinity();
  if (w.corrects()) {
    const std::int32_t* seen = w.times_seen(i);
    const T* logs = w.template log_counts<T>();
    for (Size c = 0; c < cols; ++c) s[c] -= logs[seen[c]];
  }
  if (p.self_last)
    for (Size c = 0; c < cols; ++c)
      if (keys[c] == position) s[c] = (p.self_replaced ? T{0} : s[c]) - static_cast<T>(p.self_penalty);
  if (p.causal)
    for (Size c = 0; c < cols; ++c) s[c] = keys[c] > position ? none : s[c];
  if (p.same_bucket && p.bucket != nullptr) {
    const std::int32_t own = w.query_bucket(i);
    const std::int32_t* buckets = w.key_buckets();
    for (Size c = 0; c < cols; ++c) s[c] = buckets[c] != own ? none : s[c];
  }
  if (const std::uint8_t* valid = w.keys_valid())
    for (Size c = 0; c < cols; ++c) s[c] = valid[c] || (p.self_last && keys[c] == position) ? s[c] : none;
}

/// Buffers of one task; rows of queries, window rows of keys.
template <class T>
struct Scratch {
  explicit Scratch(const ChunkPlan& p)
      : window((p.before + 1 + p.after) * p.chunk),
        q(p.chunk * p.head_dim),
        k(window * p.head_dim),
        v(window * p.head_dim),
        s(p.chunk * window),
        o(p.chunk * p.head_dim),
        dp(p.chunk * window),
        dq(p.chunk * p.head_dim),
        dkv(window * p.head_dim),
        mask(p.dropout > 0 ? window : 0) {}

  struct Buffer : std::vector<T> {
    explicit Buffer(Size n) : std::vector<T>(static_cast<std::size_t>(n)) {}
  };
  Size window;
  Buffer q, k, v, s, o, dp, dq, dkv, mask;
};

template <class T>
void gather(Heads<const T> from, Size b, Size h, const std::int32_t* rows, Size count, Size d, T* to) {
  for (Size i = 0; i < count; ++i) std::copy_n(from.row(b, h, rows[i]), d, to + i * d);
}

template <class T>
void scatter_add_rows(const T* from, Size b, Size h, const std::int32_t* rows, Size count, Size d, Heads<T> to) {
  for (Size i = 0; i < count; ++i) {
    T* y = to.row(b, h, rows[i]);
    for (Size j = 0; j < d; ++j) y[j] += from[i * d + j];
  }
}

/// The masked scores of a chunk's queries against its window: s [m, columns].
template <class T>
void scores_of(ChunkWindow& w, Scratch<T>& x) {
  const ChunkPlan& p = w.plan();
  gemm_single<T>({.trans_b = true,
                  .m = p.chunk,
                  .n = w.columns(),
                  .k = p.head_dim,
                  .alpha = static_cast<T>(p.scale),
                  .a = x.q.data(),
                  .lda = p.head_dim,
                  .b = x.k.data(),
                  .ldb = p.head_dim,
                  .c = x.s.data(),
                  .ldc = w.columns()});
  for (Size i = 0; i < p.chunk; ++i) mask_row(w, i, x.s.data() + i * w.columns());
}

template <class T>
void forward_task(const ChunkPlan& p, Size task, Heads<const T> q, Heads<const T> k, Heads<const T> v, Heads<T> out,
                  double* lse) {
  const Size b = task / p.heads, h = task % p.heads, d = p.head_dim, m = p.chunk;
  constexpr double none = -std::numeric_limits<double>::infinity();
  std::fill_n(lse, p.length, none);
  for (Size i = 0; i < p.length; ++i) std::fill_n(out.row(b, h, i), d, T{0});
  Scratch<T> x(p);
  ChunkWindow w(p, task);
  for (Size chunk = 0; chunk < w.chunks(); ++chunk) {
    w.move_to(chunk);
    const Size cols = w.columns();
    gather(q, b, h, w.queries(), m, d, x.q.data());
    gather(k, b, h, w.keys(), cols, d, x.k.data());
    gather(v, b, h, w.keys(), cols, d, x.v.data());
    scores_of(w, x);
    double* row_lse = w.row_scratch();
    for (Size i = 0; i < m; ++i) {
      T* s = x.s.data() + i * cols;
      const T shift = row_shift(s, cols);
      const double total = sum_exp(s, shift, s, cols);
      const double exact = static_cast<double>(shift) + std::log(total);
      row_lse[i] = total == 0 ? none : p.self_replaced ? static_cast<double>(static_cast<T>(exact)) : exact;
      if (total != 0) scale_row(s, static_cast<T>(std::exp(exact - row_lse[i]) / total), cols);
      if (p.dropout > 0) {
        w.dropout_row(i, x.mask.data());
        for (Size c = 0; c < cols; ++c) s[c] *= x.mask[static_cast<std::size_t>(c)];
      }
    }
    gemm_single<T>({.m = m,
                    .n = d,
                    .k = cols,
                    .a = x.s.data(),
                    .lda = cols,
                    .b = x.v.data(),
                    .ldb = d,
                    .c = x.o.data(),
                    .ldc = d});
    // Merge this round's (lse, o) into the running ones.
    for (Size i = 0; i < m; ++i) {
      if (row_lse[i] == none) continue;
      double& known = lse[w.query(i)];
      const double high = std::max(known, row_lse[i]);
      const double joint = high + std::log(std::exp(known - high) + std::exp(row_lse[i] - high));
      const T keep = static_cast<T>(std::exp(known - joint)), take = static_cast<T>(std::exp(row_lse[i] - joint));
      T* y = out.row(b, h, w.query(i));
      const T* o = x.o.data() + i * d;
      for (Size j = 0; j < d; ++j) y[j] = keep * y[j] + take * o[j];
      known = joint;
    }
  }
  if (!p.self_replaced) return;
  // A score of exactly -1e5 leaves a float few digits for the logarithm beside it, so the published code's weights of a
  // query that sees only itself do not quite add up to 1. Replaced scores exist to match that code, so both of its
  // logarithms are rounded as it does.
  for (Size i = 0; i < p.length; ++i) {
    if (lse[i] == none) continue;
    const double rounded = static_cast<double>(static_cast<T>(lse[i]));
    T* y = out.row(b, h, i);
    const T factor = static_cast<T>(std::exp(lse[i] - rounded));
    for (Size j = 0; j < d; ++j) y[j] *= factor;
    lse[i] = rounded;
  }
}

template <class T>
void backward_task(const ChunkPlan& p, Size task, Heads<const T> q, Heads<const T> k, Heads<const T> v,
                   Heads<const T> out, const double* lse, Heads<const T> dout, Heads<T> dq, Heads<T> dk, Heads<T> dv) {
  const Size b = task / p.heads, h = task % p.heads, d = p.head_dim, m = p.chunk;
  std::vector<T> mean(static_cast<std::size_t>(p.length));  // sum_j p_ij dp_ij = dout_i . out_i
  for (Size i = 0; i < p.length; ++i) {
    const T *y = out.row(b, h, i), *g = dout.row(b, h, i);
    T dot = 0;
    for (Size j = 0; j < d; ++j) dot += y[j] * g[j];
    mean[static_cast<std::size_t>(i)] = dot;
    std::fill_n(dq.row(b, h, i), d, T{0});
    std::fill_n(dk.row(b, h, i), d, T{0});
    std::fill_n(dv.row(b, h, i), d, T{0});
  }
  Scratch<T> x(p);
  ChunkWindow w(p, task);
  for (Size chunk = 0; chunk < w.chunks(); ++chunk) {
    w.move_to(chunk);
    const Size cols = w.columns();
    gather(q, b, h, w.queries(), m, d, x.q.data());
    gather(k, b, h, w.keys(), cols, d, x.k.data());
    gather(v, b, h, w.keys(), cols, d, x.v.data());
    gather(dout, b, h, w.queries(), m, d, x.o.data());
    scores_of(w, x);
    gemm_single<T>({.trans_b = true,
                    .m = m,
                    .n = cols,
                    .k = d,
                    .a = x.o.data(),
                    .lda = d,
                    .b = x.v.data(),
                    .ldb = d,
                    .c = x.dp.data(),
                    .ldc = cols});
    for (Size i = 0; i < m; ++i) {
      T *s = x.s.data() + i * cols, *g = x.dp.data() + i * cols;
      const double total = lse[w.query(i)];
      if (std::isinf(total)) {
        std::fill_n(s, cols, T{0});
        std::fill_n(g, cols, T{0});
        continue;
      }
      // Scores near -1e5 keep their small part only if the large part goes first.
      const T high = static_cast<T>(total), rest = static_cast<T>(total - static_cast<double>(high));
      for (Size c = 0; c < cols; ++c) s[c] = (s[c] - high) - rest;
      sum_exp(s, T{0}, s, cols);
      const T centre = mean[static_cast<std::size_t>(w.query(i))], scale = static_cast<T>(p.scale);
      if (p.dropout > 0) {
        w.dropout_row(i, x.mask.data());
        for (Size c = 0; c < cols; ++c) {
          const T kept = x.mask[static_cast<std::size_t>(c)];
          g[c] = s[c] * (kept * g[c] - centre) * scale;
          s[c] *= kept;
        }
      } else {
        for (Size c = 0; c < cols; ++c) g[c] = s[c] * (g[c] - centre) * scale;
      }
      if (p.self_last && p.self_replaced)
        for (Size c = 0; c < cols; ++c)
          if (w.keys()[c] == w.query(i)) g[c] = 0;
    }
    gemm_single<T>({.m = m,
                    .n = d,
                    .k = cols,
                    .a = x.dp.data(),
                    .lda = cols,
                    .b = x.k.data(),
                    .ldb = d,
                    .c = x.dq.data(),
                    .ldc = d});
    scatter_add_rows(x.dq.data(), b, h, w.queries(), m, d, dq);
    gemm_single<T>({.trans_a = true,
                    .m = cols,
                    .n = d,
                    .k = m,
                    .a = x.dp.data(),
                    .lda = cols,
                    .b = x.q.data(),
                    .ldb = d,
                    .c = x.dkv.data(),
                    .ldc = d});
    scatter_add_rows(x.dkv.data(), b, h, w.keys(), cols, d, dk);
    gemm_single<T>({.trans_a = true,
                    .m = cols,
                    .n = d,
                    .k = m,
                    .a = x.s.data(),
                    .lda = cols,
                    .b = x.o.data(),
                    .ldb = d,
                    .c = x.dkv.data(),
                    .ldc = d});
    scatter_add_rows(x.dkv.data(), b, h, w.keys(), cols, d, dv);
  }
}

void forward_float(const ChunkPlan& p, Size t, Heads<const float> q, Heads<const float> k, Heads<const float> v,
                   Heads<float> out, double* lse) {
  forward_task(p, t, q, k, v, out, lse);
}
void forward_double(const ChunkPlan& p, Size t, Heads<const double> q, Heads<const double> k, Heads<const double> v,
                    Heads<double> out, double* lse) {
  forward_task(p, t, q, k, v, out, lse);
}
void backward_float(const ChunkPlan& p, Size t, Heads<const float> q, Heads<const float> k, Heads<const float> v,
                    Heads<const float> out, const double* lse, Heads<const float> dout, Heads<float> dq,
                    Heads<float> dk, Heads<float> dv) {
  backward_task(p, t, q, k, v, out, lse, dout, dq, dk, dv);
}
void backward_double(const ChunkPlan& p, Size t, Heads<const double> q, Heads<const double> k, Heads<const double> v,
                     Heads<const double> out, const double* lse, Heads<const double> dout, Heads<double> dq,
                     Heads<double> dk, Heads<double> dv) {
  backward_task(p, t, q, k, v, out, lse, dout, dq, dk, dv);
}

}  // namespace attune::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace attune::kernels {

HWY_EXPORT(forward_float);
HWY_EXPORT(forward_double);
HWY_EXPORT(backward_float);
HWY_EXPORT(backward_double);

template <class T>
void chunked_attention(const ChunkPlan& p, Heads<const T> q, Heads<const T> k, Heads<const T> v, Heads<T> out,
                       double* lse) {
  parallel_for(p.batch * p.heads, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t task = begin; task < end; ++task) {
      if constexpr (sizeof(T) == 4)
        HWY_DYNAMIC_DISPATCH(forward_float)(p, task, q, k, v, out, lse + task * p.length);
      else
        HWY_DYNAMIC_DISPATCH(forward_double)(p, task, q, k, v, out, lse + task * p.length);
    }
  });
}

template <class T>
void chunked_attention_grad(const ChunkPlan& p, Heads<const T> q, Heads<const T> k, Heads<const T> v,
                            Heads<const T> out, const double* lse, Heads<const T> dout, Heads<T> dq, Heads<T> dk,
                            Heads<T> dv) {
  parallel_for(p.batch * p.heads, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t task = begin; task < end; ++task) {
      if constexpr (sizeof(T) == 4)
        HWY_DYNAMIC_DISPATCH(backward_float)(p, task, q, k, v, out, lse + task * p.length, dout, dq, dk, dv);
      else
        HWY_DYNAMIC_DISPATCH(backward_double)(p, task, q, k, v, out, lse + task * p.length, dout, dq, dk, dv);
    }
  });
}

template void chunked_attention<float>(const ChunkPlan&, Heads<const float>, Heads<const float>, Heads<const float>,
                                       Heads<float>, double*);
template void chunked_attention<double>(const ChunkPlan&, Heads<const double>, Heads<const double>, Heads<const double>,
                                        Heads<double>, double*);
template void chunked_attention_grad<float>(const ChunkPlan&, Heads<const float>, Heads<const float>,
                                            Heads<const float>, Heads<const float>, const double*, Heads<const float>,
                                            Heads<float>, Heads<float>, Heads<float>);
template void chunked_attention_grad<double>(const ChunkPlan&, Heads<const double>, Heads<const double>,
                                             Heads<const double>, Heads<const double>, const double*,
                                             Heads<const double>, Heads<double>, Heads<double>, Heads<double>);

}  // namespace attune::kernels
#endif
