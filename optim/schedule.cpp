#include "optim/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <string>

#include "autograd/runtime/error.h"

namespace attune::optim {

namespace {

template <class Number>
void require(bool ok, const char* name, const char* what, Number value, Here here) {
  if (!ok) throw ValueError(std::string(name) + ": " + what + " = " + std::to_string(value) + " is out of range", here);
}

double rise(std::int64_t step, std::int64_t warmup) {
  return warmup <= 0 ? 1 : std::min(1.0, static_cast<double>(step) / static_cast<double>(warmup));
}

}  // namespace

Schedule warmup(std::int64_t steps, Here here) {
  require(steps >= 0, "warmup", "steps", steps, here);
  return [steps](std::int64_t step) { return rise(step, steps); };
}

namespace {

/// Warm-up, then from 1 to `floor` as fall(done) says, which goes from 1 to 0 with `done` from 0 to 1.
template <class Fall>
Schedule rise_and_fall(const char* name, std::int64_t total, std::int64_t warmup_steps, double floor, Fall fall,
                       Here here) {
  require(total >= 1, name, "total", total, here);
  require(warmup_steps >= 0 && warmup_steps <= total, name, "warmup", warmup_steps, here);
  require(floor >= 0 && std::isfinite(floor), name, "floor", floor, here);
  return [=](std::int64_t step) {
    if (step <= warmup_steps) return rise(step, warmup_steps);
    const double done = std::min(1.0, static_cast<double>(step - warmup_steps) /
                                          static_cast<double>(std::max<std::int64_t>(total - warmup_steps, 1)));
    return floor + (1 - floor) * fall(done);
  };
}

}  // namespace

Schedule cosine(std::int64_t total, std::int64_t warmup_steps, double floor, Here here) {
  return rise_and_fall(
      "cosine", total, warmup_steps, floor, [](double done) { return 0.5 * (1 + std::cos(std::numbers::pi * done)); },
      here);
}

Schedule linear(std::int64_t total, std::int64_t warmup_steps, double floor, Here here) {
  return rise_and_fall(
      "linear", total, warmup_steps, floor, [](double done) { return 1 - done; }, here);
}

Schedule inverse_sqrt(std::int64_t warmup_steps, Here here) {
  require(warmup_steps >= 1, "inverse_sqrt", "warmup", warmup_steps, here);
  return [=](std::int64_t step) {
    return step <= warmup_steps ? rise(step, warmup_steps)
                                : std::sqrt(static_cast<double>(warmup_steps) / static_cast<double>(step));
  };
}

Schedule noam(std::int64_t d_model, std::int64_t warmup_steps, Here here) {
  require(d_model >= 1, "noam", "d_model", d_model, here);
  require(warmup_steps >= 1, "noam", "warmup", warmup_steps, here);
  return [=](std::int64_t step) {
    const double s = static_cast<double>(step), w = static_cast<double>(warmup_steps);
    return std::min(1 / std::sqrt(s), s * std::pow(w, -1.5)) / std::sqrt(static_cast<double>(d_model));
  };
}

Schedule step_decay(std::int64_t every, double gamma, Here here) {
  require(every >= 1, "step_decay", "every", every, here);
  require(gamma >= 0 && std::isfinite(gamma), "step_decay", "gamma", gamma, here);
  return [=](std::int64_t step) {
    const std::int64_t drops = (step - 1) / every;
    return std::pow(gamma, static_cast<double>(drops));
  };
}

}  // namespace attune::optim
