#include "optim/optimizers.h"

#include <algorithm>
#include <cmath>

#include "autograd/kernels/optimizer.h"
#include "autograd/kernels/reduce.h"

namespace attune::optim {

namespace {

std::vector<Group> one_group(std::vector<Tensor> parameters) {
  std::vector<Group> groups(1);
  groups[0].parameters = std::move(parameters);
  return groups;
}

template <class T>
T* data(const Tensor& x) {
  return static_cast<T*>(x.raw_mut());
}

}  // namespace

/// kernel(tensors of one dtype), for float32 and float64 in turn.
template <class Parameter, class Kernel>
static void by_dtype(const std::vector<Parameter*>& parameters, const std::vector<Tensor>& gradients, Kernel&& kernel) {
  const auto run = [&](auto zero) {
    using T = decltype(zero);
    std::vector<kernels::Updated<T>> tensors;
    for (std::size_t i = 0; i < parameters.size(); ++i) {
      const auto& p = *parameters[i];
      if (p.value.dtype() != dtype_of<T>) continue;
      tensors.push_back({data<T>(p.value), data<T>(gradients[i]), p.state.size() > 0 ? data<T>(p.state[0]) : nullptr,
                         p.state.size() > 1 ? data<T>(p.state[1]) : nullptr, p.value.numel()});
    }
    if (!tensors.empty()) kernel(tensors);
  };
  run(float{});
  run(double{});
}

SGD::SGD(std::vector<Tensor> p, const SGDOptions& o, Here here) : SGD(one_group(std::move(p)), o, here) {}
SGD::SGD(std::vector<Group> g, const SGDOptions& o, Here here)
    : Optimizer("SGD", std::move(g), o.lr, o.weight_decay, o.schedule,
                o.momentum != 0 ? std::vector<std::string>{"momentum"} : std::vector<std::string>{}, here),
      options_(o) {
  require(o.momentum >= 0, "momentum", o.momentum);
  require(!o.nesterov || (o.momentum > 0 && o.dampening == 0), "nesterov needs momentum and no dampening; momentum",
          o.momentum);
  make_state();
}
void SGD::update(const std::vector<Parameter*>& parameters, const std::vector<Tensor>& gradients, const Settings& s) {
  const kernels::SgdStep step{s.lr,           options_.momentum, options_.dampening,
                              s.weight_decay, options_.nesterov, steps_ == 1};
  by_dtype(parameters, gradients, [&](const auto& tensors) { kernels::sgd(tensors, step); });
}

Adam::Adam(const char* name, bool decoupled, std::vector<Group> g, const AdamOptions& o, Here here)
    : Optimizer(name, std::move(g), o.lr, o.weight_decay, o.schedule, {"exp_avg", "exp_avg_sq"}, here),
      options_(o),
      decoupled_(decoupled) {
  require(o.beta1 >= 0 && o.beta1 < 1, "beta1", o.beta1);
  require(o.beta2 >= 0 && o.beta2 < 1, "beta2", o.beta2);
  require(o.eps >= 0, "eps", o.eps);
  make_state();
}
Adam::Adam(std::vector<Tensor> p, const AdamOptions& o, Here here)
    : Adam("Adam", false, one_group(std::move(p)), o, here) {}
Adam::Adam(std::vector<Group> g, const AdamOptions& o, Here here) : Adam("Adam", false, std::move(g), o, here) {}
void Adam::update(const std::vector<Parameter*>& parameters, const std::vector<Tensor>& gradients, const Settings& s) {
  const double t = static_cast<double>(steps_);
  const kernels::AdamStep step{s.lr,
                               options_.beta1,
                               options_.beta2,
                               options_.eps,
                               s.weight_decay,
                               decoupled_,
                               1 - std::pow(options_.beta1, t),
                               1 - std::pow(options_.beta2, t)};
  by_dtype(parameters, gradients, [&](const auto& tensors) { kernels::adam(tensors, step); });
}

namespace {
AdamOptions as_adam(const AdamWOptions& o) { return {o.lr, o.beta1, o.beta2, o.eps, o.weight_decay, o.schedule}; }
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
  make_state();
}
void Adadelta::update(const std::vector<Parameter*>& parameters, const std::vector<Tensor>& gradients,
                      const Settings& s) {
  const kernels::AdadeltaStep step{s.lr, options_.rho, options_.eps, s.weight_decay};
  by_dtype(parameters, gradients, [&](const auto& tensors) { kernels::adadelta(tensors, step); });
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
  make_state();
}

Shape Adafactor::state_shape(const Tensor& p, std::size_t moment) const {
  if (moment == 2) return p.shape();
  if (p.rank() < 2) return moment == 0 ? Shape{0} : p.shape();
  Shape shape = p.shape();
  shape.erase(moment == 0 ? p.rank() - 1 : p.rank() - 2);
  return shape;
}

void Adafactor::update(const std::vector<Parameter*>& parameters, const std::vector<Tensor>& gradients,
                       const Settings& s) {
  const double t = static_cast<double>(steps_);
  const double relative = options_.relative_step ? std::min(s.lr, 1 / std::sqrt(t)) : s.lr;
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    Parameter& p = *parameters[i];
    const bool factored = p.value.rank() >= 2;
    const std::int64_t rows = factored ? p.value.size(-2) : 0, columns = p.value.rank() == 0 ? 1 : p.value.size(-1);
    const std::int64_t matrices = factored && rows * columns != 0 ? p.value.numel() / (rows * columns) : 1;
    const auto run = [&](auto zero) {
      using T = decltype(zero);
      double scale = 1;
      if (options_.scale_parameter && p.value.numel() != 0) {
        const double square = kernels::dot<T>(data<T>(p.value), data<T>(p.value), p.value.numel());
        scale = std::max(options_.eps2, std::sqrt(square / static_cast<double>(p.value.numel())));
      }
      const kernels::AdafactorStep step{relative * scale, options_.beta1, 1 - std::pow(t, -options_.decay),
                                        options_.eps1,    options_.clip,  s.weight_decay};
      if (p.value.numel() != 0)
        kernels::adafactor<T>(data<T>(p.value), data<T>(gradients[i]), data<T>(p.state[0]), data<T>(p.state[1]),
                              p.state.size() > 2 ? data<T>(p.state[2]) : nullptr, matrices, rows, columns, step);
    };
    if (p.value.dtype() == DType::float32)
      run(float{});
    else
      run(double{});
  }
}

}  // namespace attune::optim
