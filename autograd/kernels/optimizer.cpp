// The loops are plain; compiling them once per instruction set lets the compiler use the machine's vectors.

#include "autograd/kernels/optimizer.h"

#include <algorithm>
#include <cmath>

#include "autograd/kernels/simd_targets.h"
#include "autograd/runtime/parallel.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "autograd/kernels/optimizer.cpp"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace attune::kernels::HWY_NAMESPACE {

template <class T>
void sgd_piece(const Updated<T>& u, std::int64_t begin, std::int64_t end, const SgdStep& s) {
  const T lr = static_cast<T>(s.lr), decay = static_cast<T>(s.weight_decay), momentum = static_cast<T>(s.momentum);
  const T fresh = s.first ? T{1} : static_cast<T>(1 - s.dampening);
  T* HWY_RESTRICT p = u.p;
  const T* HWY_RESTRICT g = u.g;
  T* HWY_RESTRICT v = u.s0;
  if (!v) {
    for (std::int64_t i = begin; i < end; ++i) p[i] -= lr * (g[i] + decay * p[i]);
    return;
  }
  const T kept = s.first ? T{0} : momentum;
  for (std::int64_t i = begin; i < end; ++i) {
    const T d = g[i] + decay * p[i];
    const T m = kept * v[i] + fresh * d;
    v[i] = m;
    p[i] -= lr * (s.nesterov ? d + momentum * m : m);
  }
}

template <class T>
void adam_piece(const Updated<T>& u, std::int64_t begin, std::int64_t end, const AdamStep& s) {
  const T b1 = static_cast<T>(s.beta1), b2 = static_cast<T>(s.beta2), eps = static_cast<T>(s.eps);
  const T a1 = static_cast<T>(1 - s.beta1), a2 = static_cast<T>(1 - s.beta2);
  const T rate = static_cast<T>(s.lr / s.correction1), root = static_cast<T>(1 / std::sqrt(s.correction2));
  const T coupled = s.decoupled ? T{0} : static_cast<T>(s.weight_decay);
  const T shrink = s.decoupled ? static_cast<T>(1 - s.lr * s.weight_decay) : T{1};
  T* HWY_RESTRICT p = u.p;
  const T* HWY_RESTRICT g = u.g;
  T* HWY_RESTRICT m = u.s0;
  T* HWY_RESTRICT v = u.s1;
  for (std::int64_t i = begin; i < end; ++i) {
    const T d = g[i] + coupled * p[i];
    m[i] = b1 * m[i] + a1 * d;
    v[i] = b2 * v[i] + a2 * d * d;
    p[i] = shrink * p[i] - rate * m[i] / (std::sqrt(v[i]) * root + eps);
  }
}

template <class T>
void adadelta_piece(const Updated<T>& u, std::int64_t begin, std::int64_t end, const AdadeltaStep& s) {
  const T lr = static_cast<T>(s.lr), rho = static_cast<T>(s.rho), rest = static_cast<T>(1 - s.rho),
          eps = static_cast<T>(s.eps);
  const T decay = static_cast<T>(s.weight_decay);
  T* HWY_RESTRICT p = u.p;
  const T* HWY_RESTRICT g = u.g;
  T* HWY_RESTRICT v = u.s0;
  T* HWY_RESTRICT moved = u.s1;
  for (std::int64_t i = begin; i < end; ++i) {
    const T d = g[i] + decay * p[i];
    v[i] = rho * v[i] + rest * d * d;
    const T delta = std::sqrt((moved[i] + eps) / (v[i] + eps)) * d;
    moved[i] = rho * moved[i] + rest * delta * delta;
    p[i] -= lr * delta;
  }
}

void sgd_float(const Updated<float>& u, std::int64_t b, std::int64_t e, const SgdStep& s) { sgd_piece(u, b, e, s); }
void sgd_double(const Updated<double>& u, std::int64_t b, std::int64_t e, const SgdStep& s) { sgd_piece(u, b, e, s); }
void adam_float(const Updated<float>& u, std::int64_t b, std::int64_t e, const AdamStep& s) { adam_piece(u, b, e, s); }
void adam_double(const Updated<double>& u, std::int64_t b, std::int64_t e, const AdamStep& s) {
  adam_piece(u, b, e, s);
}
void adadelta_float(const Updated<float>& u, std::int64_t b, std::int64_t e, const AdadeltaStep& s) {
  adadelta_piece(u, b, e, s);
}
void adadelta_double(const Updated<double>& u, std::int64_t b, std::int64_t e, const AdadeltaStep& s) {
  adadelta_piece(u, b, e, s);
}

}  // namespace attune::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace attune::kernels {

HWY_EXPORT(sgd_float);
HWY_EXPORT(sgd_double);
HWY_EXPORT(adam_float);
HWY_EXPORT(adam_double);
HWY_EXPORT(adadelta_float);
HWY_EXPORT(adadelta_double);

namespace {

/// run(tensor, begin, end) for pieces of all tensors, many small ones to a task.
template <class T, class Run>
void over_pieces(const std::vector<Updated<T>>& tensors, Run&& run) {
  constexpr std::int64_t piece = 32768;
  struct Piece {
    const Updated<T>* tensor;
    std::int64_t begin, end;
  };
  std::vector<Piece> pieces;
  std::int64_t total = 0;
  for (const Updated<T>& u : tensors) {
    total += u.n;
    for (std::int64_t b = 0; b < u.n; b += piece) pieces.push_back({&u, b, std::min(b + piece, u.n)});
  }
  const auto count = static_cast<std::int64_t>(pieces.size());
  parallel_for(count, total < piece ? std::max<std::int64_t>(count, 1) : 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      const Piece& p = pieces[static_cast<std::size_t>(i)];
      run(*p.tensor, p.begin, p.end);
    }
  });
}

}  // namespace

template <class T>
void sgd(const std::vector<Updated<T>>& tensors, const SgdStep& s) {
  over_pieces(tensors, [&](const Updated<T>& u, std::int64_t b, std::int64_t e) {
    if constexpr (sizeof(T) == 4)
      HWY_DYNAMIC_DISPATCH(sgd_float)(u, b, e, s);
    else
      HWY_DYNAMIC_DISPATCH(sgd_double)(u, b, e, s);
  });
}

template <class T>
void adam(const std::vector<Updated<T>>& tensors, const AdamStep& s) {
  over_pieces(tensors, [&](const Updated<T>& u, std::int64_t b, std::int64_t e) {
    if constexpr (sizeof(T) == 4)
      HWY_DYNAMIC_DISPATCH(adam_float)(u, b, e, s);
    else
      HWY_DYNAMIC_DISPATCH(adam_double)(u, b, e, s);
  });
}

template <class T>
void adadelta(const std::vector<Updated<T>>& tensors, const AdadeltaStep& s) {
  over_pieces(tensors, [&](const Updated<T>& u, std::int64_t b, std::int64_t e) {
    if constexpr (sizeof(T) == 4)
      HWY_DYNAMIC_DISPATCH(adadelta_float)(u, b, e, s);
    else
      HWY_DYNAMIC_DISPATCH(adadelta_double)(u, b, e, s);
  });
}

template <class T>
void scale_all(const std::vector<Updated<T>>& tensors, double factor) {
  over_pieces(tensors, [f = static_cast<T>(factor)](const Updated<T>& u, std::int64_t b, std::int64_t e) {
    for (std::int64_t i = b; i < e; ++i) u.p[i] *= f;
  });
}

template <class T>
void adafactor(T* p, const T* g, T* row, T* column, T* m, std::int64_t matrices, std::int64_t rows,
               std::int64_t columns, const AdafactorStep& s) {
  const std::int64_t height = std::max<std::int64_t>(rows, 1), n = matrices * height * columns;
  if (n == 0) return;
  std::vector<T> update(static_cast<std::size_t>(n));
  double square = 0;
  for (std::int64_t k = 0; k < matrices; ++k) {
    const T* gk = g + k * height * columns;
    T* uk = update.data() + k * height * columns;
    if (rows == 0) {
      for (std::int64_t j = 0; j < columns; ++j) {
        const double v = s.beta2 * column[j] + (1 - s.beta2) * (static_cast<double>(gk[j]) * gk[j] + s.eps);
        column[j] = static_cast<T>(v);
        uk[j] = static_cast<T>(gk[j] / std::sqrt(v));
      }
    } else {
      T *r = row + k * rows, *c = column + k * columns;
      std::vector<double> row_sum(static_cast<std::size_t>(rows)), column_sum(static_cast<std::size_t>(columns));
      for (std::int64_t i = 0; i < rows; ++i)
        for (std::int64_t j = 0; j < columns; ++j) {
          const double v = static_cast<double>(gk[i * columns + j]) * gk[i * columns + j] + s.eps;
          row_sum[static_cast<std::size_t>(i)] += v;
          column_sum[static_cast<std::size_t>(j)] += v;
        }
      double mean_row = 0;
      for (std::int64_t i = 0; i < rows; ++i) {
        r[i] = static_cast<T>(s.beta2 * r[i] +
                              (1 - s.beta2) * row_sum[static_cast<std::size_t>(i)] / static_cast<double>(columns));
        mean_row += r[i];
      }
      mean_row /= static_cast<double>(rows);
      for (std::int64_t j = 0; j < columns; ++j)
        c[j] = static_cast<T>(s.beta2 * c[j] +
                              (1 - s.beta2) * column_sum[static_cast<std::size_t>(j)] / static_cast<double>(rows));
      for (std::int64_t i = 0; i < rows; ++i)
        for (std::int64_t j = 0; j < columns; ++j)
          uk[i * columns + j] =
              static_cast<T>(gk[i * columns + j] / std::sqrt(static_cast<double>(r[i]) / mean_row * c[j]));
    }
  }
  for (T u : update) square += static_cast<double>(u) * u;
  const double rms = std::sqrt(square / static_cast<double>(n));
  const T scale = static_cast<T>(s.lr / std::max(1.0, rms / s.clip));
  const T shrink = static_cast<T>(1 - s.lr * s.weight_decay), b1 = static_cast<T>(s.beta1);
  for (std::int64_t i = 0; i < n; ++i) {
    T u = scale * update[static_cast<std::size_t>(i)];
    if (m) u = m[i] = b1 * m[i] + (1 - b1) * u;
    p[i] = shrink * p[i] - u;
  }
}

template void sgd<float>(const std::vector<Updated<float>>&, const SgdStep&);
template void sgd<double>(const std::vector<Updated<double>>&, const SgdStep&);
template void adam<float>(const std::vector<Updated<float>>&, const AdamStep&);
template void adam<double>(const std::vector<Updated<double>>&, const AdamStep&);
template void adadelta<float>(const std::vector<Updated<float>>&, const AdadeltaStep&);
template void adadelta<double>(const std::vector<Updated<double>>&, const AdadeltaStep&);
template void scale_all<float>(const std::vector<Updated<float>>&, double);
template void scale_all<double>(const std::vector<Updated<double>>&, double);
template void adafactor<float>(float*, const float*, float*, float*, float*, std::int64_t, std::int64_t, std::int64_t,
                               const AdafactorStep&);
template void adafactor<double>(double*, const double*, double*, double*, double*, std::int64_t, std::int64_t,
                                std::int64_t, const AdafactorStep&);

}  // namespace attune::kernels
#endif
