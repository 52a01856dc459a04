// What all optimisers share: parameter groups, the learning rate's schedule, gradients, state.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "optim/parameters.h"
#include "optim/schedule.h"

namespace attune::optim {

struct StepOptions {
  bool keep_gradients = false;
  bool refuse_nonfinite = true;  ///< throw for a gradient with NaN or infinity, before anything has changed
  bool refuse_empty = true;      ///< throw if no parameter has a gradient
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
  /// gradient and stay. A parameter that was converted in place since the last step has its state converted too. Throws
  /// GradError if no parameter has a gradient, ValueError for a gradient that is not finite, naming the first such
  /// parameter (both are options), and for a schedule's factor out of range, MemoryError; nothing has changed then.
  void step(const StepOptions& options, Here here = Here::current());
  void step(bool keep_gradients = false, Here here = Here::current()) {
    step({.keep_gradients = keep_gradients}, here);
  }
  void zero_grad();

  std::int64_t steps() const { return steps_; }  ///< taken so far; each parameter counts its own as well
  std::size_t group_count() const { return groups_.size(); }
  double lr(std::size_t group = 0, Here here = Here::current()) const;  ///< of the next step, the schedule included
  /// A group's base rate, which the schedule multiplies.
  double base_lr(std::size_t group = 0, Here here = Here::current()) const;
  /// A group's base rate from the next step on.
  void set_lr(double lr, std::size_t group = 0, Here here = Here::current());
  /// The parameters' names, group by group.
  std::vector<std::string> names() const;

  /// "kind:AdamW" (its value is 1) says which optimiser it is, "step" counts the steps, "lr" [groups] has the base
  /// rates; a parameter's own, by its name: "encoder.weight.step", the updates it has had, "encoder.weight.group", and
  /// moments such as "encoder.weight.exp_avg" (sharing storage) from its first update on.
  std::map<std::string, Tensor> state_dict() const;
  /// Copies a state, converting floating dtypes: each parameter's by its name, whatever the order, each group's rate by
  /// its parameters. A state without a kind was saved when numbers stood for names: it is taken by position
  /// if the shapes agree. Throws ValueError listing what does not fit, another optimiser's state among it; nothing has
  /// changed then.
  void load_state_dict(const std::map<std::string, Tensor>& state, Here here = Here::current());
  /// The same through a safetensors file.
  void save(const std::string& path, Here here = Here::current()) const;
  void load(const std::string& path, Here here = Here::current());

 protected:
  struct Parameter {
    Tensor value;
    std::string name;
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
  Optimizer(const char* name, Parameters parameters, double lr, double weight_decay, Schedule schedule,
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
  struct Loaded;
  double factor(Here here) const;  ///< the schedule's, for the next step
  const OwnGroup& group_at(std::size_t group, Here here) const;
  /// A parameter's state for its next update, if it is not what it has: zeros for the first, or in the parameter's
  /// dtype of now.
  std::vector<Tensor> next_state(const Parameter& p) const;
  void check_finite(const std::vector<Update>& updates, Here here) const;

  const char* name_;
  Here here_;
  Schedule schedule_;
  std::vector<std::string> moments_;
  std::vector<OwnGroup> groups_;
  std::int64_t steps_ = 0;
};

}  // namespace attune::optim
