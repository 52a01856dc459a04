#include "autograd/kernels/recurrent.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "autograd/kernels/buffer.h"
#include "autograd/kernels/elementwise.h"
#include "autograd/kernels/gemm.h"
#include "autograd/kernels/recurrent_cells.h"
#include "autograd/kernels/reduce.h"
#include "autograd/runtime/parallel.h"

namespace attune::kernels {

namespace {

template <class T>
T bound(T clip) {
  return clip > T{0} ? clip : std::numeric_limits<T>::infinity();
}

/// body(b) for every sequence, in parallel if the rows are more than a few KiB.
template <class F>
void for_sequences(Size batch, Size width, F body) {
  parallel_for(batch, std::max<Size>(1, 1024 / std::max<Size>(1, width)), [&](Size begin, Size end) {
    for (Size b = begin; b < end; ++b) body(b);
  });
}

/// The steps in their order, and where each lies.
template <class T>
struct Steps {
  const Recurrence<T>& r;
  Size at(Size index) const { return r.reverse ? r.steps - 1 - index : index; }
  bool valid(Size t, Size b) const { return r.lengths == nullptr || t < r.lengths[b]; }
  /// Row [b] of the step before t, or of `first` if t is the sequence's first one; `of` is [T, B, stride].
  const T* before(Size t, Size b, const T* of, Size stride, const T* first, Size width) const {
    const Size s = r.reverse ? t + 1 : t - 1;
    return s < 0 || s >= r.steps || !valid(s, b) ? first + b * width : of + (s * r.batch + b) * stride;
  }
};

}  // namespace

template <class T>
void recurrent(const Recurrence<T>& r, T* h, T* c) {
  const Size n = r.hidden, p = r.state(), gates = gates_of(r.cell) * n, keeps = kept_of(r.cell) * n;
  const Steps<T> steps{r};
  const auto step = cell_kernels<T>().step[static_cast<int>(r.cell)];
  std::copy_n(r.h0, r.batch * p, h);
  if (c) std::copy_n(r.c0, r.batch * n, c);
  const Buffer<T> hw(r.batch * gates), whole(r.projected ? r.batch * n : 0), small(r.projected ? r.batch * p : 0);
  if (r.projected) std::fill_n(whole.data(), r.batch * n, T{0});
  const T limit = bound(r.projection_clip);
  const PackedRight<T> w_hh({.trans_b = true, .m = r.batch, .n = gates, .k = p, .b = r.w_hh, .ldb = p}, r.steps);
  const PackedRight<T> w_hr({.trans_b = true, .m = r.batch, .n = r.projected ? p : 0, .k = n, .b = r.w_hr, .ldb = n},
                            r.steps);
  for (Size index = 0; index < r.steps; ++index) {
    const Size t = steps.at(index);
    w_hh.multiply({.a = h, .lda = p, .c = hw.data(), .ldc = gates, .bias = r.b_hh});
    for_sequences(r.batch, n, [&](Size b) {
      const Size row = t * r.batch + b;
      if (!steps.valid(t, b)) {
        std::fill_n(r.y + row * p, p, T{0});
        return;
      }
      T* state = r.projected ? whole.data() + b * n : h + b * n;
      step({.n = n,
            .x = r.x + row * gates,
            .hw = hw.data() + b * gates,
            .h = state,
            .c = c ? c + b * n : nullptr,
            .kept = r.kept ? r.kept + row * keeps : nullptr,
            .clip = bound(r.cell_clip)});
      if (!r.projected) std::copy_n(state, n, r.y + row * n);
    });
    if (!r.projected) continue;
    w_hr.multiply({.a = whole.data(), .lda = n, .c = small.data(), .ldc = p});
    for_sequences(r.batch, p, [&](Size b) {
      if (!steps.valid(t, b)) return;
      const T* from = small.data() + b * p;
      T *to = h + b * p, *y = r.y + (t * r.batch + b) * p;
      for (Size i = 0; i < p; ++i) to[i] = y[i] = from[i] > limit ? limit : from[i] < -limit ? -limit : from[i];
    });
  }
}

namespace {

/// The states before each step, [T, B, P], for the gradient of w_hh in one product; zeros where a step was left out.
template <class T>
void gather_before(const Recurrence<T>& r, T* to) {
  const Steps<T> steps{r};
  const Size p = r.state();
  parallel_for(r.steps * r.batch, std::max<Size>(1, 16384 / p), [&](Size begin, Size end) {
    for (Size row = begin; row < end; ++row) {
      const Size t = row / r.batch, b = row % r.batch;
      if (steps.valid(t, b))
        std::copy_n(steps.before(t, b, r.y, p, r.h0, p), p, to + row * p);
      else
        std::fill_n(to + row * p, p, T{0});
    }
  });
}

/// The states before projection, [T, B, H]: o tanh(c), and zeros where a step was left out.
template <class T>
void gather_whole(const Recurrence<T>& r, T* to) {
  const Steps<T> steps{r};
  const Size n = r.hidden;
  parallel_for(r.steps * r.batch, std::max<Size>(1, 16384 / n), [&](Size begin, Size end) {
    for (Size row = begin; row < end; ++row) {
      const T* kept = r.kept + row * 6 * n;
      const bool valid = steps.valid(row / r.batch, row % r.batch);
      for (Size i = 0; i < n; ++i) to[row * n + i] = valid ? kept[3 * n + i] * kept[5 * n + i] : T{0};
    }
  });
}

/// c [m, n] = a^T b for a [rows, m] and b [rows, n]: a weight's gradient over all steps.
template <class T>
void weight_grad(const T* a, Size m, const T* b, Size n, Size rows, T* c) {
  gemm<T>({.trans_a = true, .m = m, .n = n, .k = rows, .a = a, .lda = m, .b = b, .ldb = n, .c = c, .ldc = n});
}

}  // namespace

template <class T>
void recurrent_grad(const Recurrence<T>& r, const RecurrenceGrad<T>& g) {
  const Size n = r.hidden, p = r.state(), gates = gates_of(r.cell) * n, keeps = kept_of(r.cell) * n;
  const Size rows = r.steps * r.batch;
  const Steps<T> steps{r};
  const auto grad = cell_kernels<T>().grad[static_cast<int>(r.cell)];
  // For a GRU the gradients of x and of h w^T + b differ in the part of n.
  const Buffer<T> own(r.cell == Cell::gru ? rows * gates : 0);
  T* const dhw = r.cell == Cell::gru ? own.data() : g.dx;
  const Buffer<T> dwhole(r.projected ? r.batch * n : 0), dsmall(r.projected ? rows * p : 0);
  const bool clipped = r.projection_clip > T{0};
  const PackedRight<T> w_hh({.m = r.batch, .n = p, .k = gates, .b = r.w_hh, .ldb = p}, r.steps);
  const PackedRight<T> w_hr({.m = r.batch, .n = r.projected ? n : 0, .k = p, .b = r.w_hr, .ldb = n}, r.steps);
  for (Size index = r.steps; index-- > 0;) {
    const Size t = steps.at(index), first = t * r.batch;
    if (r.projected) {
      for_sequences(r.batch, p, [&](Size b) {
        T *dh = g.dh + b * p, *ds = dsmall.data() + (first + b) * p;
        const T *dy = g.dy + (first + b) * p, *y = r.y + (first + b) * p;
        const bool valid = steps.valid(t, b);
        for (Size i = 0; i < p; ++i)
          ds[i] = valid && !(clipped && std::abs(y[i]) >= r.projection_clip) ? dh[i] + dy[i] : T{0};
        if (valid) std::fill_n(dh, p, T{0});
      });
      w_hr.multiply({.a = dsmall.data() + first * p, .lda = p, .c = dwhole.data(), .ldc = n});
    }
    for_sequences(r.batch, n, [&](Size b) {
      const Size row = first + b;
      T *dx = g.dx + row * gates, *dhw_row = dhw + row * gates;
      if (!steps.valid(t, b)) {
        std::fill_n(dx, gates, T{0});
        if (dhw_row != dx) std::fill_n(dhw_row, gates, T{0});
        return;
      }
      T* dh = r.projected ? dwhole.data() + b * n : g.dh + b * n;
      if (!r.projected) axpy(T{1}, g.dy + row * n, dh, n);
      const T* h = nullptr;
      if (r.cell == Cell::gru)
        h = steps.before(t, b, r.y, n, r.h0, n);
      else if (r.cell != Cell::lstm)
        h = r.y + row * n;
      const T* c = r.cell == Cell::lstm ? steps.before(t, b, r.kept + 4 * n, keeps, r.c0, n) : nullptr;
      grad({.n = n,
            .kept = r.kept + row * keeps,
            .h = h,
            .c = c,
            .dh = dh,
            .dc = g.dc ? g.dc + b * n : nullptr,
            .dx = dx,
            .dhw = dhw_row,
            .clip = bound(r.cell_clip)});
    });
    // What passed the gates by is in dh already; the rows of steps left out are untouched, for their dhw is 0.
    w_hh.multiply({.a = dhw + first * gates, .lda = gates, .beta = 1, .c = g.dh, .ldc = p});
  }
  if (g.dw_hh) {
    const Buffer<T> before(rows * p);
    gather_before(r, before.data());
    weight_grad<T>(dhw, gates, before.data(), p, rows, g.dw_hh);
  }
  if (g.db_hh) reduce<T>(Reduce::sum, dhw, 1, rows, gates, g.db_hh);
  if (g.dw_hr) {
    const Buffer<T> whole(rows * n);
    gather_whole(r, whole.data());
    weight_grad<T>(dsmall.data(), p, whole.data(), n, rows, g.dw_hr);
  }
}

template void recurrent(const Recurrence<float>&, float*, float*);
template void recurrent(const Recurrence<double>&, double*, double*);
template void recurrent_grad(const Recurrence<float>&, const RecurrenceGrad<float>&);
template void recurrent_grad(const Recurrence<double>&, const RecurrenceGrad<double>&);

}  // namespace attune::kernels
