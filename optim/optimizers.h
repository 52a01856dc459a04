// The optimisers. Each takes parameters, or groups of them, and options; state is kept in the parameters' dtype.
#pragma once

#include <cstddef>
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
  SGD(std::vector<Tensor> parameters, const SGDOptions& options = {}, Here here = Here::current());
  SGD(std::vector<Group> groups, const SGDOptions& options = {}, Here here = Here::current());

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
  Schedule schedule{};
};
/// Kingma and Ba 2015.
class Adam : public Optimizer {
 public:
  Adam(std::vector<Tensor> parameters, const AdamOptions& options = {}, Here here = Here::current());
  Adam(std::vector<Group> groups, const AdamOptions& options = {}, Here here = Here::current());

 protected:
  Adam(const char* name, bool decoupled, std::vector<Group> groups, const AdamOptions& options, Here here);

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
  Schedule schedule{};
};
/// Adam with decoupled weight decay (Loshchilov and Hutter 2019).
class AdamW : public Adam {
 public:
  AdamW(std::vector<Tensor> parameters, const AdamWOptions& options = {}, Here here = Here::current());
  AdamW(std::vector<Group> groups, const AdamWOptions& options = {}, Here here = Here::current());
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
  Adadelta(std::vector<Tensor> parameters, const AdadeltaOptions& options = {}, Here here = Here::current());
  Adadelta(std::vector<Group> groups, const AdadeltaOptions& options = {}, Here here = Here::current());

 private:
  void update(const std::vector<Update>& updates) override;
  AdadeltaOptions options_;
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
  Adafactor(std::vector<Tensor> parameters, const AdafactorOptions& options = {}, Here here = Here::current());
  Adafactor(std::vector<Group> groups, const AdafactorOptions& options = {}, Here here = Here::current());

 private:
  Shape state_shape(const Tensor& parameter, std::size_t moment) const override;
  void update(const std::vector<Update>& updates) override;
  AdafactorOptions options_;
  std::vector<std::byte> scratch_;  ///< of the sums over rows and columns, kept between steps
};

}  // namespace attune::optim
