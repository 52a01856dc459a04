// What all optimisers share: parameter groups, the learning rate's schedule, gradients, state.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "autograd/tensor/tensor.h"
#include "optim/schedule.h"

namespace attune::optim {

/// Parameters that share settings; what is not set here is as the optimiser's options say.
struct Group {
  std::vector<Tensor> parameters;
  std::optional<double> lr{};
  std::optional<double> weight_decay{};
};

/// What all optimisers can do.
///
///     optim::AdamW opt{model.parameters(), {.lr = 1e-3, .weight_decay = 0.1, .schedule = optim::cosine(1000, 100)}};
///     loss.backward();
///     optim::clip_grad_norm(model.parameters(), 1.0);
///     opt.step();  // and clears the gradients
class Optimizer {
 public:
  virtual ~Optimizer();
  Optimizer(const Optimizer&) = delete;
  Optimizer& operator=(const Optimizer&) = delete;

  /// Updates every parameter that has a gradient, in one pass, and clears the gradients unless `keep_gradients`.
  /// Several backward passes before a step accumulate their gradients. Frozen parameters (requires_grad off) have no
  /// gradient and stay. If it throws (MemoryError, or ValueError for a schedule's factor) nothing has changed.
  void step(bool keep_gradients = false, Here here = Here::current());
  void zero_grad();

  std::int64_t steps() const { return steps_; }  ///< taken so far; each parameter counts its own as well
  std::size_t group_count() const { return groups_.size(); }
  double lr(std::size_t group = 0, Here here = Here::current()) const;  ///< of the next step, the schedule included
  /// A group's base rate from the next step on, which the schedule multiplies.
  void set_lr(double lr, std::size_t group = 0, Here here = Here::current());

  /// "step" counts the steps, "lr" [groups] has the base rates; a parameter's own, by its index: "0.step", the updates
  /// it has had, and moments such as "0.exp_avg" (sharing storage) from its first update on.
  std::map<std::string, Tensor> state_dict() const;
  /// Copies a state, converting floating dtypes. Throws ValueError listing what does not fit; if it throws
  /// nothing has changed.
  void load_state_dict(const std::map<std::string, Tensor>& state, Here here = Here::current());
  /// The same through a safetensors file.
  void save(const std::string& path, Here here = Here::current()) const;
  void load(const std::string& path, Here here = Here::current());

 protected:
  struct Parameter {
    Tensor value;
    std::int64_t steps = 0;       ///< updates so far, of which bias corrections depend
    std::vector<Tensor> state{};  ///< by moment, made with zeros for the first update
  };
  /// A parameter's turn in a step.
  struct Update {
    Parameter* parameter;
    Tensor gradient;  ///< dense
    double lr, weight_decay;
    std::int64_t step;  ///< of this parameter, from 1
  };

  /// `moments` names a parameter's states. Throws ValueError for no parameters, one that is undefined, recorded, not
  /// dense, not floating or given twice, or bad settings.
  Optimizer(const char* name, std::vector<Group> groups, double lr, double weight_decay, Schedule schedule,
            std::vector<std::string> moments, Here here);
  virtual Shape state_shape(const Tensor& parameter, std::size_t moment) const;
  /// One step over all groups' parameters that have a gradient.
  virtual void update(const std::vector<Update>& updates) = 0;

  /// Throws ValueError naming the optimiser unless `ok`.
  void require(bool ok, const char* what, double value) const { require(ok, what, value, here_); }
  void require(bool ok, const char* what, double value, Here here) const;

 private:
  struct OwnGroup {
    std::vector<Parameter> parameters;
    double lr, weight_decay;
  };
  double factor(Here here) const;  ///< the schedule's, for the next step
  const OwnGroup& group_at(std::size_t group, Here here) const;
  std::vector<Tensor> zero_state(const Tensor& parameter) const;

  const char* name_;
  Here here_;
  Schedule schedule_;
  std::vector<std::string> moments_;
  std::vector<OwnGroup> groups_;
  std::int64_t steps_ = 0;
};

}  // namespace attune::optim
