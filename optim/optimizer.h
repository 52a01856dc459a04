// What all optimisers share: parameter groups, the learning rate's schedule, gradients, state.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "autograd/tensor.h"
#include "optim/schedule.h"

namespace attune::optim {

/// Parameters that share settings; what is not set here is as the optimiser's options say.
struct Group {
  std::vector<Tensor> parameters;
  std::optional<double> lr{};
  std::optional<double> weight_decay{};
};

class Optimizer {
 public:
  virtual ~Optimizer();
  Optimizer(const Optimizer&) = delete;
  Optimizer& operator=(const Optimizer&) = delete;

  /// Updates every parameter that has a gradient, in one pass, and clears the gradients unless `keep_gradients`.
  /// Several backward passes before a step accumulate their gradients.
  void step(bool keep_gradients = false, Here here = Here::current());
  void zero_grad();

  std::int64_t steps() const { return steps_; }
  double lr(std::size_t group = 0) const;  ///< of the next step, the schedule included

  /// Moments and step count by "0.exp_avg" (the parameter's index and the moment's name), sharing storage; "step"
  /// counts.
  std::map<std::string, Tensor> state_dict() const;
  /// Copies a state. Throws ValueError listing what does not fit, and then has changed nothing.
  void load_state_dict(const std::map<std::string, Tensor>& state, Here here = Here::current());

 protected:
  struct Settings {
    double lr, weight_decay;
  };
  struct Parameter {
    Tensor value;
    std::vector<Tensor> state;  ///< zeros like the parameter, or of the shapes that state_shapes gives
  };

  /// `moments` names a parameter's states. Throws ValueError for no parameters, one without a gradient, one given
  /// twice, or bad settings.
  Optimizer(const char* name, std::vector<Group> groups, double lr, double weight_decay, Schedule schedule,
            std::vector<std::string> moments, Here here);
  /// Makes the states; called by each constructor, since it asks state_shapes.
  void make_state();
  virtual Shape state_shape(const Tensor& parameter, std::size_t moment) const;
  /// Updates parameters of one group; each has a dense gradient at the same place of `gradients`.
  virtual void update(const std::vector<Parameter*>& parameters, const std::vector<Tensor>& gradients,
                      const Settings& settings) = 0;

  /// Throws ValueError naming the optimiser unless `ok`.
  void require(bool ok, const char* what, double value) const;

  std::int64_t steps_ = 0;  ///< counts the running step too

 private:
  struct OwnGroup {
    std::vector<Parameter> parameters;
    Settings settings;
  };
  const char* name_;
  Here here_;
  Schedule schedule_;
  std::vector<std::string> moments_;
  std::vector<OwnGroup> groups_;
};

/// Scales all gradients so that their joint Euclidean norm is at most `limit`, and returns the norm before. A norm that
/// is not finite is returned and nothing scaled.
double clip_grad_norm(const std::vector<Tensor>& parameters, double limit, Here here = Here::current());
/// Bounds each element of the gradients to [-limit, limit].
void clip_grad_value(const std::vector<Tensor>& parameters, double limit, Here here = Here::current());

}  // namespace attune::optim
