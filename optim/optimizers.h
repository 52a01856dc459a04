// The optimisers. Each takes parameters and options; state is kept in the parameters' dtype. The form to use is
//
//     optim::AdamW opt(model.parameters(), {.lr = 3e-4});
//
// and parameters.h has the others: names of one's own, and groups with settings of their own. In the formulas g is the
// gradient, p the parameter, t the number of its update from 1. Constructors throw ValueError for options out of range.
#pragma once

#include <cstddef>
#include <utility>
#include <vector>

#include "optim/optimizer.h"

namespace attune::optim {

struct SGDOptions {
  double lr = 1e-2;
  double momentum = 0;
  double dampening = 0;
  double weight_decay = 0;
  bool nesterov = false;
  Schedule schedule{};
};
/// Stochastic gradient descent, with momentum as PyTorch has it: v = momentum v + (1 - dampening) g, p -= lr v.
class SGD : public Optimizer {
 public:
  SGD(Parameters parameters, const SGDOptions& options = {}, Here here = Here::current());
  template <std::size_t n>
  SGD(Parameters parameters, const detail::NotAnOption<SGDOptions> (&)[n], Here here = {})
      : SGD(std::move(parameters), detail::not_options<SGDOptions, n>(), here) {}

 private:
  void update(const std::vector<Update>& updates) override;
  SGDOptions options_;
};

struct AdamOptions {
  double lr = 1e-3;
  double beta1 = 0.9;
  double beta2 = 0.999;
  double eps = 1e-8;
  double weight_decay = 0;  ///< added to the gradient
  bool amsgrad = false;     ///< the largest second moment so far divides (Reddi, Kale and Kumar 2018)
  Schedule schedule{};
};
/// Kingma and Ba 2015.
class Adam : public Optimizer {
 public:
  Adam(Parameters parameters, const AdamOptions& options = {}, Here here = Here::current());
  template <std::size_t n>
  Adam(Parameters parameters, const detail::NotAnOption<AdamOptions> (&)[n], Here here = {})
      : Adam(std::move(parameters), detail::not_options<AdamOptions, n>(), here) {}

 protected:
  Adam(const char* name, bool decoupled, Parameters parameters, const AdamOptions& options, Here here);

 private:
  void update(const std::vector<Update>& updates) override;
  AdamOptions options_;
  bool decoupled_;
};

struct AdamWOptions {
  double lr = 1e-3;
  double beta1 = 0.9;
  double beta2 = 0.999;
  double eps = 1e-8;
  double weight_decay = 1e-2;  ///< shrinks the parameter by lr times this
  bool amsgrad = false;        ///< the largest second moment so far divides (Reddi, Kale and Kumar 2018)
  Schedule schedule{};
};
/// Adam with decoupled weight decay (Loshchilov and Hutter 2019).
class AdamW : public Adam {
 public:
  AdamW(Parameters parameters, const AdamWOptions& options = {}, Here here = Here::current());
  template <std::size_t n>
  AdamW(Parameters parameters, const detail::NotAnOption<AdamWOptions> (&)[n], Here here = {})
      : AdamW(std::move(parameters), detail::not_options<AdamWOptions, n>(), here) {}
};

struct AdadeltaOptions {
  double lr = 1;
  double rho = 0.95;
  double eps = 1e-6;
  double weight_decay = 0;
  Schedule schedule{};
};
/// Zeiler 2012.
class Adadelta : public Optimizer {
 public:
  Adadelta(Parameters parameters, const AdadeltaOptions& options = {}, Here here = Here::current());
  template <std::size_t n>
  Adadelta(Parameters parameters, const detail::NotAnOption<AdadeltaOptions> (&)[n], Here here = {})
      : Adadelta(std::move(parameters), detail::not_options<AdadeltaOptions, n>(), here) {}

 private:
  void update(const std::vector<Update>& updates) override;
  AdadeltaOptions options_;
};

struct RMSpropOptions {
  double lr = 1e-2;
  double alpha = 0.99;
  double eps = 1e-8;
  double momentum = 0;
  double weight_decay = 0;  ///< added to the gradient
  bool centered = false;    ///< divide by the gradient's deviation from its running mean (Graves 2013)
  Schedule schedule{};
};
/// Hinton 2012, with eps outside of the root: v = alpha v + (1 - alpha) g^2, p -= lr g / (sqrt(v) + eps). With momentum
/// b = momentum b + g / (sqrt(v) + eps), p -= lr b. Centered, m = alpha m + (1 - alpha) g, and v - m^2 instead of v.
class RMSprop : public Optimizer {
 public:
  RMSprop(Parameters parameters, const RMSpropOptions& options = {}, Here here = Here::current());
  template <std::size_t n>
  RMSprop(Parameters parameters, const detail::NotAnOption<RMSpropOptions> (&)[n], Here here = {})
      : RMSprop(std::move(parameters), detail::not_options<RMSpropOptions, n>(), here) {}

 private:
  void update(const std::vector<Update>& updates) override;
  RMSpropOptions options_;
};

struct AdagradOptions {
  double lr = 1e-2;
  double lr_decay = 0;
  double eps = 1e-10;
  double initial_accumulator = 0;
  double weight_decay = 0;  ///< added to the gradient
  Schedule schedule{};
};
/// Duchi, Hazan and Singer 2011: s += g^2, p -= lr / (1 + (t - 1) lr_decay) g / (sqrt(s) + eps).
class Adagrad : public Optimizer {
 public:
  Adagrad(Parameters parameters, const AdagradOptions& options = {}, Here here = Here::current());
  template <std::size_t n>
  Adagrad(Parameters parameters, const detail::NotAnOption<AdagradOptions> (&)[n], Here here = {})
      : Adagrad(std::move(parameters), detail::not_options<AdagradOptions, n>(), here) {}

 private:
  void update(const std::vector<Update>& updates) override;
  AdagradOptions options_;
};

struct AdafactorOptions {
  double lr = 1e-2;             ///< with relative steps, the largest one: min(lr, 1 / sqrt(t))
  bool relative_step = true;    ///< the step shrinks as 1 / sqrt(t)
  bool scale_parameter = true;  ///< and is relative to the parameter's root mean square, at least eps2
  double beta1 = 0;             ///< 0: no first moment is kept
  double decay = 0.8;           ///< beta2 = 1 - t^-decay
  double eps1 = 1e-30;
  double eps2 = 1e-3;
  double clip = 1;  ///< of an update's root mean square
  double weight_decay = 0;
  Schedule schedule{};
};
/// Shazeer and Stern 2018: for a matrix [n, m] the second moment is kept as n + m numbers.
class Adafactor : public Optimizer {
 public:
  Adafactor(Parameters parameters, const AdafactorOptions& options = {}, Here here = Here::current());
  template <std::size_t n>
  Adafactor(Parameters parameters, const detail::NotAnOption<AdafactorOptions> (&)[n], Here here = {})
      : Adafactor(std::move(parameters), detail::not_options<AdafactorOptions, n>(), here) {}

 private:
  Shape state_shape(const Tensor& parameter, std::size_t moment) const override;
  void update(const std::vector<Update>& updates) override;
  AdafactorOptions options_;
  std::vector<std::byte> scratch_;  ///< of the sums over rows and columns, kept between steps
};

}  // namespace attune::optim
