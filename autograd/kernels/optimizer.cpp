#include "autograd/kernels/optimizer.h"

#include <algorithm>
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
  T *p = u.p + begin, *m = u.s0 + begin, *v = u.s1 + begin;
  const T* g = u.g + begin;
  for_vectors(d, end - begin, [=](auto s, Size i) ATTUNE_SIMD {
    const auto old = s.load(p + i);
    const auto x = hn::MulAdd(coupled, old, s.load(g + i));                         // g += decay p, unless decoupled
    const auto mean = hn::MulAdd(b1, s.load(m + i), hn::Mul(a1, x));                // m = b1 m + (1 - b1) g
    const auto square = hn::MulAdd(b2, s.load(v + i), hn::Mul(hn::Mul(a2, x), x));  // v = b2 v + (1 - b2) g^2
    s.store(mean, m + i);
    s.store(square, v + i);
    const auto move = hn::Div(mean, hn::MulAdd(hn::Sqrt(square), root, eps));  // m / (sqrt(v / (1 - b2^t)) + eps)
    s.store(hn::NegMulAdd(rate, move, hn::Mul(shrink, old)), p + i);           // p -= lr / (1 - b1^t) of it
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

const RuleKernels<float>* rules_f32() {
  static const RuleKernels<float> k{sgd_piece<float>, adam_piece<float>, adadelta_piece<float>};
  return &k;
}
const RuleKernels<double>* rules_f64() {
  static const RuleKernels<double> k{sgd_piece<double>, adam_piece<double>, adadelta_piece<double>};
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
double sum_of_squares(const std::vector<Piecewise<T>>& tensors) {
  std::vector<double> squares(tensors.size());
  const auto count = static_cast<Size>(tensors.size());
  // Large tensors are spread over the threads by dot itself, small ones here.
  const auto is_large = [&](std::size_t i) { return tensors[i].n > 65536; };
  const auto square = [&](std::size_t i) { squares[i] = dot(tensors[i].p, tensors[i].p, tensors[i].n); };
  for (std::size_t i = 0; i < tensors.size(); ++i)
    if (is_large(i)) square(i);
  parallel_for(count, 4, [&](Size begin, Size end) {
    for (auto i = static_cast<std::size_t>(begin); i < static_cast<std::size_t>(end); ++i)
      if (!is_large(i)) square(i);
  });
  double sum = 0;
  for (double s : squares) sum += s;
  return sum;
}

template <class T>
void scale(const std::vector<Piecewise<T>>& tensors, double factor) {
  over_pieces(tensors, [f = static_cast<T>(factor)](const Piecewise<T>& x, Size b, Size e) {
    for (Size i = b; i < e; ++i) x.p[i] *= f;
  });
}

#define ATTUNE_INSTANTIATE(T)                                                  \
  template void sgd(const std::vector<Updated<T>>&, const SgdRule&);           \
  template void adam(const std::vector<Updated<T>>&, const AdamRule&);         \
  template void adadelta(const std::vector<Updated<T>>&, const AdadeltaRule&); \
  template double sum_of_squares(const std::vector<Piecewise<T>>&);            \
  template void scale(const std::vector<Piecewise<T>>&, double);
ATTUNE_INSTANTIATE(float)
ATTUNE_INSTANTIATE(double)
#undef ATTUNE_INSTANTIATE

}  // namespace attune::kernels
#endif
