#include "autograd/kernels/optimizer.h"

#include <algorithm>
#include <atomic>
#include <cmath>

#include "autograd/kernels/optimizer_table.h"
#include "autograd/kernels/reduce.h"
#include "autograd/kernels/simd_targets.h"
#include "autograd/runtime/parallel.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "autograd/kernels/optimizer.cpp"
#include "hwy/foreach_target.h"
// After foreach_target.h:
#include "autograd/kernels/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace attune::kernels::HWY_NAMESPACE {

template <class T>
void sgd_piece(const Updated<T>& u, Size begin, Size end, const SgdRule& rule) {
  const hn::ScalableTag<T> d;
  const bool first = u.step == 1, nesterov = rule.nesterov;
  const auto lr = hn::Set(d, static_cast<T>(u.lr)), decay = hn::Set(d, static_cast<T>(u.weight_decay));
  const auto momentum = hn::Set(d, static_cast<T>(rule.momentum));
  const auto kept = hn::Set(d, first ? T{0} : static_cast<T>(rule.momentum));
  const auto taken = hn::Set(d, first ? T{1} : static_cast<T>(1 - rule.dampening));
  T *p = u.p + begin, *v = u.s0 == nullptr ? nullptr : u.s0 + begin;
  const T* g = u.g + begin;
  for_vectors(d, end - begin, [=](auto s, Size i) ATTUNE_SIMD {
    const auto old = s.load(p + i);
    auto move = hn::MulAdd(decay, old, s.load(g + i));
    if (v != nullptr) {
      const auto running = hn::MulAdd(kept, s.load(v + i), hn::Mul(taken, move));
      s.store(running, v + i);
      move = nesterov ? hn::MulAdd(momentum, running, move) : running;
    }
    s.store(hn::NegMulAdd(lr, move, old), p + i);
  });
}

template <class T>
void adam_piece(const Updated<T>& u, Size begin, Size end, const AdamRule& rule) {
  const hn::ScalableTag<T> d;
  const double t = static_cast<double>(u.step);
  const double correction1 = 1 - std::pow(rule.beta1, t), correction2 = 1 - std::pow(rule.beta2, t);
  const auto b1 = hn::Set(d, static_cast<T>(rule.beta1)), a1 = hn::Set(d, static_cast<T>(1 - rule.beta1));
  const auto b2 = hn::Set(d, static_cast<T>(rule.beta2)), a2 = hn::Set(d, static_cast<T>(1 - rule.beta2));
  const auto eps = hn::Set(d, static_cast<T>(rule.eps));
  const auto rate = hn::Set(d, static_cast<T>(u.lr / correction1));
  const auto root = hn::Set(d, static_cast<T>(1 / std::sqrt(correction2)));
  const auto coupled = hn::Set(d, rule.decoupled ? T{0} : static_cast<T>(u.weight_decay));
  const auto shrink = hn::Set(d, rule.decoupled ? static_cast<T>(1 - u.lr * u.weight_decay) : T{1});
  T *p = u.p + begin, *m = u.s0 + begin, *v = u.s1 + begin, *most = u.s2 == nullptr ? nullptr : u.s2 + begin;
  const T* g = u.g + begin;
  for_vectors(d, end - begin, [=](auto s, Size i) ATTUNE_SIMD {
    const auto old = s.load(p + i);
    const auto x = hn::MulAdd(coupled, old, s.load(g + i));                         // g += decay p, unless decoupled
    const auto mean = hn::MulAdd(b1, s.load(m + i), hn::Mul(a1, x));                // m = b1 m + (1 - b1) g
    const auto square = hn::MulAdd(b2, s.load(v + i), hn::Mul(hn::Mul(a2, x), x));  // v = b2 v + (1 - b2) g^2
    s.store(mean, m + i);
    s.store(square, v + i);
    auto divisor = square;
    if (most != nullptr) {
      divisor = hn::Max(s.load(most + i), square);
      s.store(divisor, most + i);
    }
    const auto move = hn::Div(mean, hn::MulAdd(hn::Sqrt(divisor), root, eps));  // m / (sqrt(v / (1 - b2^t)) + eps)
    s.store(hn::NegMulAdd(rate, move, hn::Mul(shrink, old)), p + i);            // p -= lr / (1 - b1^t) of it
  });
}

template <class T>
void adadelta_piece(const Updated<T>& u, Size begin, Size end, const AdadeltaRule& rule) {
  const hn::ScalableTag<T> d;
  const auto lr = hn::Set(d, static_cast<T>(u.lr)), decay = hn::Set(d, static_cast<T>(u.weight_decay));
  const auto rho = hn::Set(d, static_cast<T>(rule.rho)), rest = hn::Set(d, static_cast<T>(1 - rule.rho));
  const auto eps = hn::Set(d, static_cast<T>(rule.eps));
  T *p = u.p + begin, *v = u.s0 + begin, *moved = u.s1 + begin;
  const T* g = u.g + begin;
  for_vectors(d, end - begin, [=](auto s, Size i) ATTUNE_SIMD {
    const auto old = s.load(p + i), travelled = s.load(moved + i);
    const auto x = hn::MulAdd(decay, old, s.load(g + i));
    const auto square = hn::MulAdd(rho, s.load(v + i), hn::Mul(hn::Mul(rest, x), x));
    const auto delta = hn::Mul(hn::Sqrt(hn::Div(hn::Add(travelled, eps), hn::Add(square, eps))), x);
    s.store(square, v + i);
    s.store(hn::MulAdd(rho, travelled, hn::Mul(hn::Mul(rest, delta), delta)), moved + i);
    s.store(hn::NegMulAdd(lr, delta, old), p + i);
  });
}

template <class T>
void rmsprop_piece(const Updated<T>& u, Size begin, Size end, const RmspropRule& rule) {
  const hn::ScalableTag<T> d;
  const auto lr = hn::Set(d, static_cast<T>(u.lr)), decay = hn::Set(d, static_cast<T>(u.weight_decay));
  const auto alpha = hn::Set(d, static_cast<T>(rule.alpha)), rest = hn::Set(d, static_cast<T>(1 - rule.alpha));
  const auto eps = hn::Set(d, static_cast<T>(rule.eps)), momentum = hn::Set(d, static_cast<T>(rule.momentum));
  T *p = u.p + begin, *v = u.s0 + begin;
  T* mean = rule.centered ? u.s1 + begin : nullptr;
  T* buffer = rule.momentum > 0 ? (rule.centered ? u.s2 : u.s1) + begin : nullptr;
  const T* g = u.g + begin;
  for_vectors(d, end - begin, [=](auto s, Size i) ATTUNE_SIMD {
    const auto old = s.load(p + i);
    const auto x = hn::MulAdd(decay, old, s.load(g + i));
    const auto square = hn::MulAdd(alpha, s.load(v + i), hn::Mul(hn::Mul(rest, x), x));
    s.store(square, v + i);
    auto spread = square;
    if (mean != nullptr) {
      const auto average = hn::MulAdd(alpha, s.load(mean + i), hn::Mul(rest, x));
      s.store(average, mean + i);
      spread = hn::Max(hn::NegMulAdd(average, average, square), hn::Zero(d));  // rounding may take it below 0
    }
    auto move = hn::Div(x, hn::Add(hn::Sqrt(spread), eps));
    if (buffer != nullptr) {
      move = hn::MulAdd(momentum, s.load(buffer + i), move);
      s.store(move, buffer + i);
    }
    s.store(hn::NegMulAdd(lr, move, old), p + i);
  });
}

template <class T>
void adagrad_piece(const Updated<T>& u, Size begin, Size end, const AdagradRule& rule) {
  const hn::ScalableTag<T> d;
  const double rate = u.lr / (1 + static_cast<double>(u.step - 1) * rule.lr_decay);
  const auto lr = hn::Set(d, static_cast<T>(rate)), decay = hn::Set(d, static_cast<T>(u.weight_decay));
  const auto eps = hn::Set(d, static_cast<T>(rule.eps));
  const auto start = hn::Set(d, u.step == 1 ? static_cast<T>(rule.initial) : T{0});  // the state is zeros then
  T *p = u.p + begin, *v = u.s0 + begin;
  const T* g = u.g + begin;
  for_vectors(d, end - begin, [=](auto s, Size i) ATTUNE_SIMD {
    const auto old = s.load(p + i);
    const auto x = hn::MulAdd(decay, old, s.load(g + i));
    const auto square = hn::MulAdd(x, x, hn::Add(start, s.load(v + i)));
    s.store(square, v + i);
    s.store(hn::NegMulAdd(lr, hn::Div(x, hn::Add(hn::Sqrt(square), eps)), old), p + i);
  });
}

/// x * 0 is 0 for finite x alone, and NaN stays in a sum.
template <class T>
bool all_finite(const T* x, Size n) {
  const hn::ScalableTag<T> d;
  const Size step = lanes(d);
  const auto zero = hn::Zero(d);
  auto a = zero, b = zero, c = zero, e = zero;
  Size i = 0;
  for (; i + 4 * step <= n; i += 4 * step) {
    a = hn::MulAdd(hn::LoadU(d, x + i), zero, a);
    b = hn::MulAdd(hn::LoadU(d, x + i + step), zero, b);
    c = hn::MulAdd(hn::LoadU(d, x + i + 2 * step), zero, c);
    e = hn::MulAdd(hn::LoadU(d, x + i + 3 * step), zero, e);
  }
  for (; i < n; i += step) a = hn::MulAdd(Step<decltype(d)>{d, n - i}.load(x + i), zero, a);
  return hn::AllTrue(d, hn::Eq(hn::Add(hn::Add(a, b), hn::Add(c, e)), zero));
}

const RuleKernels<float>* rules_f32() {
  static const RuleKernels<float> k{sgd_piece<float>,     adam_piece<float>,    adadelta_piece<float>,
                                    rmsprop_piece<float>, adagrad_piece<float>, all_finite<float>};
  return &k;
}
const RuleKernels<double>* rules_f64() {
  static const RuleKernels<double> k{sgd_piece<double>,     adam_piece<double>,    adadelta_piece<double>,
                                     rmsprop_piece<double>, adagrad_piece<double>, all_finite<double>};
  return &k;
}

}  // namespace attune::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace attune::kernels {

HWY_EXPORT(rules_f32);
HWY_EXPORT(rules_f64);

namespace {

template <class T>
const RuleKernels<T>& rules() {
  if constexpr (sizeof(T) == 4)
    return *HWY_DYNAMIC_DISPATCH(rules_f32)();
  else
    return *HWY_DYNAMIC_DISPATCH(rules_f64)();
}

/// run(tensor, begin, end) for pieces of all tensors. Allocates nothing: an update cannot fail when tensors of another
/// dtype are done.
template <class Tensor, class Run>
void over_pieces(const std::vector<Tensor>& tensors, Run&& run) {
  constexpr Size piece = 32768;
  const auto pieces_of = [](const Tensor& u) { return (u.n + piece - 1) / piece; };
  Size total = 0, count = 0;
  for (const Tensor& u : tensors) {
    total += u.n;
    count += pieces_of(u);
  }
  parallel_for(count, total < piece ? std::max<Size>(count, 1) : 1, [&](Size begin, Size end) {
    const Tensor* u = tensors.data();
    for (Size i = begin, first = 0; i < end; ++i) {  // first: the number of the tensor's first piece
      for (; i - first >= pieces_of(*u); ++u) first += pieces_of(*u);
      const Size b = (i - first) * piece;
      run(*u, b, std::min(b + piece, u->n));
    }
  });
}

}  // namespace

template <class T>
void sgd(const std::vector<Updated<T>>& tensors, const SgdRule& rule) {
  over_pieces(tensors, [&](const Updated<T>& u, Size b, Size e) { rules<T>().sgd(u, b, e, rule); });
}

template <class T>
void adam(const std::vector<Updated<T>>& tensors, const AdamRule& rule) {
  over_pieces(tensors, [&](const Updated<T>& u, Size b, Size e) { rules<T>().adam(u, b, e, rule); });
}

template <class T>
void adadelta(const std::vector<Updated<T>>& tensors, const AdadeltaRule& rule) {
  over_pieces(tensors, [&](const Updated<T>& u, Size b, Size e) { rules<T>().adadelta(u, b, e, rule); });
}

template <class T>
double norm(const std::vector<Piecewise<T>>& tensors) {
  std::vector<double> norms(tensors.size());
  const auto count = static_cast<Size>(tensors.size());
  // Large tensors one after another, each in parallel; small ones side by side.
  const auto is_large = [&](std::size_t i) { return tensors[i].n > 65536; };
  const auto find = [&](std::size_t i) { norms[i] = norm(tensors[i].p, tensors[i].n); };
  for (std::size_t i = 0; i < tensors.size(); ++i)
    if (is_large(i)) find(i);
  parallel_for(count, 4, [&](Size begin, Size end) {
    for (auto i = static_cast<std::size_t>(begin); i < static_cast<std::size_t>(end); ++i)
      if (!is_large(i)) find(i);
  });
  return norm(norms.data(), count);
}

template <class T>
void rmsprop(const std::vector<Updated<T>>& tensors, const RmspropRule& rule) {
  over_pieces(tensors, [&](const Updated<T>& u, Size b, Size e) { rules<T>().rmsprop(u, b, e, rule); });
}

template <class T>
void adagrad(const std::vector<Updated<T>>& tensors, const AdagradRule& rule) {
  over_pieces(tensors, [&](const Updated<T>& u, Size b, Size e) { rules<T>().adagrad(u, b, e, rule); });
}

template <class T>
std::size_t first_nonfinite(const std::vector<Piecewise<T>>& tensors) {
  std::atomic<std::size_t> first{tensors.size()};
  over_pieces(tensors, [&](const Piecewise<T>& x, Size b, Size e) {
    if (rules<T>().all_finite(x.p + b, e - b)) return;
    const auto own = static_cast<std::size_t>(&x - tensors.data());
    for (std::size_t before = first; own < before && !first.compare_exchange_weak(before, own);) {
    }
  });
  return first;
}

template <class T>
void scale(const std::vector<Piecewise<T>>& tensors, double factor) {
  if (factor > 1e-30) {
    over_pieces(tensors, [f = static_cast<T>(factor)](const Piecewise<T>& x, Size b, Size e) {
      for (Size i = b; i < e; ++i) x.p[i] *= f;
    });
  } else {  // too small for a float's precision
    over_pieces(tensors, [factor](const Piecewise<T>& x, Size b, Size e) {
      for (Size i = b; i < e; ++i) x.p[i] = static_cast<T>(static_cast<double>(x.p[i]) * factor);
    });
  }
}

#define ATTUNE_INSTANTIATE(T)                                                  \
  template void sgd(const std::vector<Updated<T>>&, const SgdRule&);           \
  template void adam(const std::vector<Updated<T>>&, const AdamRule&);         \
  template void adadelta(const std::vector<Updated<T>>&, const AdadeltaRule&); \
  template void rmsprop(const std::vector<Updated<T>>&, const RmspropRule&);   \
  template void adagrad(const std::vector<Updated<T>>&, const AdagradRule&);   \
  template std::size_t first_nonfinite(const std::vector<Piecewise<T>>&);      \
  template double norm(const std::vector<Piecewise<T>>&);                      \
  template void scale(const std::vector<Piecewise<T>>&, double);
ATTUNE_INSTANTIATE(float)
ATTUNE_INSTANTIATE(double)
#undef ATTUNE_INSTANTIATE

}  // namespace attune::kernels
#endif
