// A learning rate that falls when a measure stops improving.
#pragma once

#include <map>
#include <string>

#include "optim/optimizer.h"

namespace attune::optim {

struct PlateauOptions {
  double factor = 0.1;         ///< the new rate over the old one, below 1
  std::int64_t patience = 10;  ///< measures without improvement that are let pass
  double threshold = 1e-4;     ///< what counts as improvement, relative to the best
  bool relative = true;        ///< false: the threshold is a difference
  bool maximize = false;       ///< whether larger is better
  std::int64_t cooldown = 0;   ///< measures after a fall that are not counted as bad
  double min_lr = 0;           ///< no rate falls below it
  double least_change = 1e-8;  ///< a fall by less is left out
};

/// Multiplies the base rates of all groups by `factor` once more than `patience` measures in a row have not been better
/// than the best one. A measure is better if it is below best (1 - threshold) (above best (1 + threshold) to maximize),
/// or best - threshold (best + threshold). NaN is never better. A schedule of the optimiser keeps its factor.
class ReduceLROnPlateau {
 public:
  /// The optimiser must live longer. Throws ValueError for options out of range.
  explicit ReduceLROnPlateau(Optimizer& optimizer, const PlateauOptions& options = {}, Here here = Here::current());
  template <std::size_t n>
  ReduceLROnPlateau(Optimizer& optimizer, const detail::NotAnOption<PlateauOptions> (&)[n], Here here = {})
      : ReduceLROnPlateau(optimizer, detail::not_options<PlateauOptions, n>(), here) {}

  /// Takes a measure, the loss on held-out data after an epoch, say. Whether the rates have fallen.
  bool step(double measure, Here here = Here::current());
  double best() const { return best_; }  ///< infinity (minus infinity to maximize) before the first measure

  /// "best" float64, "bad" and "cooldown" int64: what the next step needs besides the rates, which the optimiser keeps.
  std::map<std::string, Tensor> state_dict() const;
  /// Throws ValueError for a state that does not fit.
  void load_state_dict(const std::map<std::string, Tensor>& state, Here here = Here::current());

 private:
  Optimizer& optimizer_;
  PlateauOptions options_;
  double best_;
  std::int64_t bad_ = 0, cooldown_ = 0;
};

}  // namespace attune::optim
