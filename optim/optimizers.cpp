#include "optim/optimizers.h"

#include <algorithm>
#include <cmath>

#include "autograd/kernels/adafactor.h"
#include "autograd/kernels/optimizer.h"

namespace attune::optim {

using attune::detail::elements;

/// kernel(updates of one dtype, as `make` has them), for float32 and float64 in turn, when both lists are made: nothing
/// may fail between the two.
template <class Update, class Make, class Kernel>
static void by_dtype(const std::vector<Update>& updates, Make&& make, Kernel&& kernel) {
  const auto list = [&](auto zero) {
    using T = decltype(zero);
    std::vector<decltype(make(updates[0], T{}))> tensors;
    for (const Update& u : updates)
      if (u.gradient.dtype() == dtype_of<T> && u.gradient.numel() != 0) tensors.push_back(make(u, T{}));
    return tensors;
  };
  const auto singles = list(float{});
  const auto doubles = list(double{});
  if (!singles.empty()) kernel(singles);
  if (!doubles.empty()) kernel(doubles);
}

/// What an elementwise rule takes.
template <class Update, class Kernel>
static void by_element(const std::vector<Update>& updates, Kernel&& kernel) {
  const auto make = [](const Update& u, auto zero) {
    using T = decltype(zero);
    const auto& state = u.parameter->state;
    return kernels::Updated<T>{{elements<T>(u.parameter->value), u.gradient.numel()},
                               elements<T>(u.gradient),
                               state.size() > 0 ? elements<T>(state[0]) : nullptr,
                               state.size() > 1 ? elements<T>(state[1]) : nullptr,
                               state.size() > 2 ? elements<T>(state[2]) : nullptr,
                               u.lr,
                               u.weight_decay,
                               u.step};
  };
  by_dtype(updates, make, kernel);
}

SGD::SGD(Parameters p, const SGDOptions& o, Here here)
    : Optimizer("SGD", std::move(p), o.lr, o.weight_decay, o.schedule,
                o.momentum != 0 ? std::vector<std::string>{"momentum_buffer"} : std::vector<std::string>{}, here),
      options_(o) {
  require(o.momentum >= 0, "momentum", o.momentum);
  require(!o.nesterov || (o.momentum > 0 && o.dampening == 0), "nesterov needs momentum and no dampening; momentum",
          o.momentum);
}
void SGD::update(const std::vector<Update>& updates) {
  const kernels::SgdRule rule{options_.momentum, options_.dampening, options_.nesterov};
  by_element(updates, [&](const auto& tensors) { kernels::sgd(tensors, rule); });
}

Adam::Adam(const char* name, bool decoupled, Parameters p, const AdamOptions& o, Here here)
    : Optimizer(name, std::move(p), o.lr, o.weight_decay, o.schedule,
                o.amsgrad ? std::vector<std::string>{"exp_avg", "exp_avg_sq", "max_exp_avg_sq"}
                          : std::vector<std::string>{"exp_avg", "exp_avg_sq"},
                here),
      options_(o),
      decoupled_(decoupled) {
  require(o.beta1 >= 0 && o.beta1 < 1, "beta1", o.beta1);
  require(o.beta2 >= 0 && o.beta2 < 1, "beta2", o.beta2);
  require(o.eps >= 0, "eps", o.eps);
}
Adam::Adam(Parameters p, const AdamOptions& o, Here here) : Adam("Adam", false, std::move(p), o, here) {}
void Adam::update(const std::vector<Update>& updates) {
  const kernels::AdamRule rule{options_.beta1, options_.beta2, options_.eps, decoupled_};
  by_element(updates, [&](const auto& tensors) { kernels::adam(tensors, rule); });
}

namespace {
AdamOptions as_adam(const AdamWOptions& o) {
  return {.lr = o.lr,
          .beta1 = o.beta1,
          .beta2 = o.beta2,
          .eps = o.eps,
          .weight_decay = o.weight_decay,
          .amsgrad = o.amsgrad,
          .schedule = o.schedule};
}
}  // namespace
AdamW::AdamW(Parameters p, const AdamWOptions& o, Here here) : Adam("AdamW", true, std::move(p), as_adam(o), here) {}

Adadelta::Adadelta(Parameters p, const AdadeltaOptions& o, Here here)
    : Optimizer("Adadelta", std::move(p), o.lr, o.weight_decay, o.schedule, {"square_avg", "acc_delta"}, here),
      options_(o) {
  require(o.rho >= 0 && o.rho <= 1, "rho", o.rho);
  require(o.eps >= 0, "eps", o.eps);
}
void Adadelta::update(const std::vector<Update>& updates) {
  const kernels::AdadeltaRule rule{options_.rho, options_.eps};
  by_element(updates, [&](const auto& tensors) { kernels::adadelta(tensors, rule); });
}

namespace {
std::vector<std::string> moments_of(const RMSpropOptions& o) {
  std::vector<std::string> moments{"square_avg"};
  if (o.centered) moments.emplace_back("grad_avg");
  if (o.momentum > 0) moments.emplace_back("momentum_buffer");
  return moments;
}
}  // namespace
RMSprop::RMSprop(Parameters p, const RMSpropOptions& o, Here here)
    : Optimizer("RMSprop", std::move(p), o.lr, o.weight_decay, o.schedule, moments_of(o), here), options_(o) {
  require(o.alpha >= 0 && o.alpha <= 1, "alpha", o.alpha);
  require(o.eps >= 0, "eps", o.eps);
  require(o.momentum >= 0, "momentum", o.momentum);
}
void RMSprop::update(const std::vector<Update>& updates) {
  const kernels::RmspropRule rule{options_.alpha, options_.eps, options_.momentum, options_.centered};
  by_element(updates, [&](const auto& tensors) { kernels::rmsprop(tensors, rule); });
}

Adagrad::Adagrad(Parameters p, const AdagradOptions& o, Here here)
    : Optimizer("Adagrad", std::move(p), o.lr, o.weight_decay, o.schedule, {"sum"}, here), options_(o) {
  require(o.lr_decay >= 0, "lr_decay", o.lr_decay);
  require(o.eps >= 0, "eps", o.eps);
  require(o.initial_accumulator >= 0, "initial_accumulator", o.initial_accumulator);
}
void Adagrad::update(const std::vector<Update>& updates) {
  const kernels::AdagradRule rule{options_.lr_decay, options_.eps, options_.initial_accumulator};
  by_element(updates, [&](const auto& tensors) { kernels::adagrad(tensors, rule); });
}

Adafactor::Adafactor(Parameters p, const AdafactorOptions& o, Here here)
    : Optimizer("Adafactor", std::move(p), o.lr, o.weight_decay, o.schedule,
                o.beta1 > 0 ? std::vector<std::string>{"row", "column", "exp_avg"}
                            : std::vector<std::string>{"row", "column"},
                here),
      options_(o) {
  require(o.beta1 >= 0 && o.beta1 < 1, "beta1", o.beta1);
  require(o.decay > 0, "decay", o.decay);
  require(o.clip > 0, "clip", o.clip);
}

Shape Adafactor::state_shape(const Tensor& p, std::size_t moment) const {
  if (moment == 2) return p.shape();
  if (p.rank() < 2) return moment == 0 ? Shape{0} : p.shape();
  Shape shape = p.shape();
  shape.erase(moment == 0 ? p.rank() - 1 : p.rank() - 2);
  return shape;
}

void Adafactor::update(const std::vector<Update>& updates) {
  const auto make = [&](const Update& u, auto zero) {
    using T = decltype(zero);
    const Tensor& p = u.parameter->value;
    const auto& state = u.parameter->state;
    const bool factored = p.rank() >= 2;
    const double t = static_cast<double>(u.step);
    kernels::Factored<T> f;
    f.p = elements<T>(p);
    f.g = elements<T>(u.gradient);
    f.row = factored ? elements<T>(state[0]) : nullptr;
    f.column = elements<T>(state[1]);
    f.m = state.size() > 2 ? elements<T>(state[2]) : nullptr;
    f.rows = factored ? p.size(-2) : 1;
    f.columns = factored ? p.size(-1) : p.numel();
    f.matrices = p.numel() / (f.rows * f.columns);
    f.lr = options_.relative_step ? std::min(u.lr, 1 / std::sqrt(t)) : u.lr;
    f.weight_decay = u.weight_decay;
    f.beta2 = 1 - std::pow(t, -options_.decay);
    return f;
  };
  const kernels::AdafactorRule rule{options_.beta1, options_.eps1, options_.eps2, options_.clip,
                                    options_.scale_parameter};
  by_dtype(updates, make, [&](const auto& tensors) { kernels::adafactor(tensors, rule, scratch_); });
}

}  // namespace attune::optim
