#include "optim/optimizers.h"

#include <algorithm>
#include <cmath>

#include "autograd/kernels/adafactor.h"
#include "autograd/kernels/optimizer.h"

namespace attune::optim {

using detail::elements;

namespace {

std::vector<Group> one_group(std::vector<Tensor> parameters) {
  std::vector<Group> groups(1);
  groups[0].parameters = std::move(parameters);
  return groups;
}

}  // namespace

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
                               u.lr,
                               u.weight_decay,
                               u.step};
  };
  by_dtype(updates, make, kernel);
}

SGD::SGD(std::vector<Tensor> p, const SGDOptions& o, Here here) : SGD(one_group(std::move(p)), o, here) {}
SGD::SGD(std::vector<Group> g, const SGDOptions& o, Here here)
    : Optimizer("SGD", std::move(g), o.lr, o.weight_decay, o.schedule,
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

Adam::Adam(const char* name, bool decoupled, std::vector<Group> g, const AdamOptions& o, Here here)
    : Optimizer(name, std::move(g), o.lr, o.weight_decay, o.schedule, {"exp_avg", "exp_avg_sq"}, here),
      options_(o),
      decoupled_(decoupled) {
  require(o.beta1 >= 0 && o.beta1 < 1, "beta1", o.beta1);
  require(o.beta2 >= 0 && o.beta2 < 1, "beta2", o.beta2);
  require(o.eps >= 0, "eps", o.eps);
}
Adam::Adam(std::vector<Tensor> p, const AdamOptions& o, Here here)
    : Adam("Adam", false, one_group(std::move(p)), o, here) {}
Adam::Adam(std::vector<Group> g, const AdamOptions& o, Here here) : Adam("Adam", false, std::move(g), o, here) {}
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
          .schedule = o.schedule};
}
}  // namespace
AdamW::AdamW(std::vector<Tensor> p, const AdamWOptions& o, Here here)
    : Adam("AdamW", true, one_group(std::move(p)), as_adam(o), here) {}
AdamW::AdamW(std::vector<Group> g, const AdamWOptions& o, Here here)
    : Adam("AdamW", true, std::move(g), as_adam(o), here) {}

Adadelta::Adadelta(std::vector<Tensor> p, const AdadeltaOptions& o, Here here)
    : Adadelta(one_group(std::move(p)), o, here) {}
Adadelta::Adadelta(std::vector<Group> g, const AdadeltaOptions& o, Here here)
    : Optimizer("Adadelta", std::move(g), o.lr, o.weight_decay, o.schedule, {"square_avg", "acc_delta"}, here),
      options_(o) {
  require(o.rho >= 0 && o.rho <= 1, "rho", o.rho);
  require(o.eps >= 0, "eps", o.eps);
}
void Adadelta::update(const std::vector<Update>& updates) {
  const kernels::AdadeltaRule rule{options_.rho, options_.eps};
  by_element(updates, [&](const auto& tensors) { kernels::adadelta(tensors, rule); });
}

Adafactor::Adafactor(std::vector<Tensor> p, const AdafactorOptions& o, Here here)
    : Adafactor(one_group(std::move(p)), o, here) {}
Adafactor::Adafactor(std::vector<Group> g, const AdafactorOptions& o, Here here)
    : Optimizer("Adafactor", std::move(g), o.lr, o.weight_decay, o.schedule,
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
