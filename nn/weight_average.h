// Averages of a module's weights over training (Polyak and Juditsky 1992), exponentially weighted: often better in
// evaluation than the weights of the last step.
#pragma once

#include "nn/module.h"

namespace attune::nn {

struct WeightAverageOptions {
  double decay = 0.999;  ///< in [0, 1]: average = decay average + (1 - decay) weight
  bool warmup =
      false;  ///< update n uses min(decay, (1 + n) / (10 + n)), so that the first weights are forgotten sooner
};

/// The averages of a module's parameters, frozen ones too, and its latest buffers.
///
///     nn::WeightAverage average(model, {.decay = 0.999});
///     for (...) { ...; opt.step(); average.update(); }
///     {
///       const nn::WeightAverage::Applied guard(average);
///       evaluate(model);  // by the averages
///     }                   // the model has its own weights again
class WeightAverage {
 public:
  /// Starts from the weights as they are. The module must outlive this. Throws ValueError for a decay outside [0, 1].
  explicit WeightAverage(Module& module, const WeightAverageOptions& options = {}, Here here = Here::current());

  /// Takes the module's weights into the averages: after each optimiser step. Throws ValueError while applied, or if
  /// the module has got other parameters.
  void update(Here here = Here::current());
  std::int64_t updates() const { return updates_; }

  /// Puts the averages into the module, in place, and its own weights aside. Throws ValueError if they are there.
  void apply(Here here = Here::current());
  /// Gives the module its own weights back. Throws ValueError unless applied.
  void restore(Here here = Here::current());
  bool applied() const { return !aside_.empty(); }
  /// apply() and restore() in a scope.
  class Applied;

  /// "average.<path>" of each parameter and buffer, copied, and "updates".
  StateDict state_dict() const;
  /// Throws ValueError listing whatever is missing, unexpected or misshaped, and then has changed nothing; also while
  /// applied.
  void load_state_dict(const StateDict& state, Here here = Here::current());
  /// The same through a safetensors file.
  void save(const std::string& path, Here here = Here::current()) const;
  void load(const std::string& path, Here here = Here::current());

 private:
  /// The module's parameters and buffers, each once; checked against the averages.
  std::vector<std::pair<std::string, Tensor>> entries(Here here) const;

  Module& module_;
  WeightAverageOptions options_;
  std::int64_t updates_ = 0;
  StateDict averages_, aside_;
};

class WeightAverage::Applied {
 public:
  explicit Applied(WeightAverage& average, Here here = Here::current()) : average_(average) { average.apply(here); }
  ~Applied() {
    if (average_.applied()) average_.restore();
  }
  Applied(const Applied&) = delete;
  Applied& operator=(const Applied&) = delete;

 private:
  WeightAverage& average_;
};

}  // namespace attune::nn
