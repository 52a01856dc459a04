#include "autograd/kernels/recurrent_cells.h"

#include "autograd/kernels/simd_targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "autograd/kernels/recurrent_cells.cpp"
#include "hwy/foreach_target.h"
// After foreach_target.h:
#include "autograd/kernels/simd_activation-inl.h"

HWY_BEFORE_NAMESPACE();
namespace attune::kernels::HWY_NAMESPACE {

/// v bounded to [-clip, clip]; NaN passes.
template <class V>
HWY_INLINE V clipped(V v, V clip) {
  const V low = hn::Neg(clip);
  const V top = hn::IfThenElse(hn::Gt(v, clip), clip, v);
  return hn::IfThenElse(hn::Lt(top, low), low, top);
}

/// g (1 - y^2) and g y (1 - y): the gradients of tanh and sigmoid by their output.
template <class V>
HWY_INLINE V through_tanh(V y, V g) {
  return hn::Mul(g, hn::NegMulAdd(y, y, constant(y, 1)));
}
template <class V>
HWY_INLINE V through_sigmoid(V y, V g) {
  return hn::Mul(g, hn::NegMulAdd(y, y, y));
}

// h = f(x + hw)
template <class T>
void tanh_step(const CellRow<T>& r) {
  for_vectors(hn::ScalableTag<T>(), r.n,
              [=](auto s, Size i) ATTUNE_SIMD { s.store(tanh(hn::Add(s.load(r.x + i), s.load(r.hw + i))), r.h + i); });
}
template <class T>
void tanh_grad(const CellGradRow<T>& r) {
  for_vectors(hn::ScalableTag<T>(), r.n, [=](auto s, Size i) ATTUNE_SIMD {
    const auto dh = s.load(r.dh + i);
    s.store(through_tanh(s.load(r.h + i), dh), r.dx + i);
    s.store(hn::Zero(s.d), r.dh + i);
  });
}

template <class T>
void relu_step(const CellRow<T>& r) {
  for_vectors(hn::ScalableTag<T>(), r.n, [=](auto s, Size i) ATTUNE_SIMD {
    s.store(at_least(hn::Add(s.load(r.x + i), s.load(r.hw + i)), 0), r.h + i);
  });
}
template <class T>
void relu_grad(const CellGradRow<T>& r) {
  for_vectors(hn::ScalableTag<T>(), r.n, [=](auto s, Size i) ATTUNE_SIMD {
    const auto zero = hn::Zero(s.d);
    s.store(hn::IfThenZeroElse(hn::Le(s.load(r.h + i), zero), s.load(r.dh + i)), r.dx + i);
    s.store(zero, r.dh + i);
  });
}

// r, z = sigmoid(x + hw), n = tanh(x + r hw), h = n + z (h - n)
template <class T>
void gru_step(const CellRow<T>& row) {
  const Size n = row.n;
  for_vectors(hn::ScalableTag<T>(), n, [=](auto s, Size i) ATTUNE_SIMD {
    const auto q = s.load(row.hw + 2 * n + i), h = s.load(row.h + i);
    const auto r = sigmoid(hn::Add(s.load(row.x + i), s.load(row.hw + i)));
    const auto z = sigmoid(hn::Add(s.load(row.x + n + i), s.load(row.hw + n + i)));
    const auto m = tanh(hn::MulAdd(r, q, s.load(row.x + 2 * n + i)));
    s.store(hn::MulAdd(z, hn::Sub(h, m), m), row.h + i);
    if (row.kept == nullptr) return;
    s.store(r, row.kept + i);
    s.store(z, row.kept + n + i);
    s.store(m, row.kept + 2 * n + i);
    s.store(q, row.kept + 3 * n + i);
  });
}
template <class T>
void gru_grad(const CellGradRow<T>& row) {
  const Size n = row.n;
  for_vectors(hn::ScalableTag<T>(), n, [=](auto s, Size i) ATTUNE_SIMD {
    const auto r = s.load(row.kept + i), z = s.load(row.kept + n + i), m = s.load(row.kept + 2 * n + i),
               q = s.load(row.kept + 3 * n + i), h = s.load(row.h + i), dh = s.load(row.dh + i);
    const auto dm = through_tanh(m, hn::NegMulAdd(dh, z, dh));
    const auto dr = through_sigmoid(r, hn::Mul(dm, q)), dz = through_sigmoid(z, hn::Mul(dh, hn::Sub(h, m)));
    s.store(hn::Mul(dh, z), row.dh + i);
    s.store(dr, row.dx + i);
    s.store(dz, row.dx + n + i);
    s.store(dm, row.dx + 2 * n + i);
    s.store(dr, row.dhw + i);
    s.store(dz, row.dhw + n + i);
    s.store(hn::Mul(dm, r), row.dhw + 2 * n + i);
  });
}

// i, f, o = sigmoid(x + hw), g = tanh(x + hw), c = f c + i g, h = o tanh(c)
template <class T>
void lstm_step(const CellRow<T>& r) {
  const Size n = r.n;
  const auto clip = hn::Set(hn::ScalableTag<T>(), r.clip);
  for_vectors(hn::ScalableTag<T>(), n, [=](auto s, Size at) ATTUNE_SIMD {
    const auto sum = [&](Size gate)
                         ATTUNE_SIMD { return hn::Add(s.load(r.x + gate * n + at), s.load(r.hw + gate * n + at)); };
    const auto i = sigmoid(sum(0)), f = sigmoid(sum(1)), g = tanh(sum(2)), o = sigmoid(sum(3));
    const auto c = clipped(hn::MulAdd(f, s.load(r.c + at), hn::Mul(i, g)), clip);
    const auto t = tanh(c);
    s.store(c, r.c + at);
    s.store(hn::Mul(o, t), r.h + at);
    if (r.kept == nullptr) return;
    s.store(i, r.kept + at);
    s.store(f, r.kept + n + at);
    s.store(g, r.kept + 2 * n + at);
    s.store(o, r.kept + 3 * n + at);
    s.store(c, r.kept + 4 * n + at);
    s.store(t, r.kept + 5 * n + at);
  });
}
template <class T>
void lstm_grad(const CellGradRow<T>& r) {
  const Size n = r.n;
  const auto clip = hn::Set(hn::ScalableTag<T>(), r.clip);
  for_vectors(hn::ScalableTag<T>(), n, [=](auto s, Size at) ATTUNE_SIMD {
    const auto kept = [&](Size k) ATTUNE_SIMD { return s.load(r.kept + k * n + at); };
    const auto i = kept(0), f = kept(1), g = kept(2), o = kept(3), t = kept(5);
    const auto c0 = s.load(r.c + at), dh = s.load(r.dh + at);
    const auto whole = hn::Add(s.load(r.dc + at), through_tanh(t, hn::Mul(dh, o)));
    // No gradient where c was clipped; the sum is the one of the forward pass, to the bit.
    const auto dc = hn::IfThenZeroElse(hn::Gt(hn::Abs(hn::MulAdd(f, c0, hn::Mul(i, g))), clip), whole);
    s.store(through_sigmoid(i, hn::Mul(dc, g)), r.dx + at);
    s.store(through_sigmoid(f, hn::Mul(dc, c0)), r.dx + n + at);
    s.store(through_tanh(g, hn::Mul(dc, i)), r.dx + 2 * n + at);
    s.store(through_sigmoid(o, hn::Mul(dh, t)), r.dx + 3 * n + at);
    s.store(hn::Mul(dc, f), r.dc + at);
    s.store(hn::Zero(s.d), r.dh + at);
  });
}

template <class T>
inline constexpr CellKernels<T> kernels_of = {{tanh_step<T>, relu_step<T>, gru_step<T>, lstm_step<T>},
                                              {tanh_grad<T>, relu_grad<T>, gru_grad<T>, lstm_grad<T>}};

const CellKernels<float>& cells_f32() { return kernels_of<float>; }
const CellKernels<double>& cells_f64() { return kernels_of<double>; }

}  // namespace attune::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace attune::kernels {

HWY_EXPORT(cells_f32);
HWY_EXPORT(cells_f64);

template <>
const CellKernels<float>& cell_kernels<float>() {
  return HWY_DYNAMIC_DISPATCH(cells_f32)();
}
template <>
const CellKernels<double>& cell_kernels<double>() {
  return HWY_DYNAMIC_DISPATCH(cells_f64)();
}

}  // namespace attune::kernels
#endif
