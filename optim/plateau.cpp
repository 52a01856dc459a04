#include "optim/plateau.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "autograd/ops/create.h"
#include "autograd/runtime/error.h"

namespace attune::optim {

namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();

void require(bool ok, const char* what, double value, Here here) {
  if (!ok)
    throw ValueError(std::string("ReduceLROnPlateau: ") + what + " = " + std::to_string(value) + " is out of range",
                     here);
}

}  // namespace

ReduceLROnPlateau::ReduceLROnPlateau(Optimizer& optimizer, const PlateauOptions& o, Here here)
    : optimizer_(optimizer), options_(o), best_(o.maximize ? -infinity : infinity) {
  require(o.factor >= 0 && o.factor < 1, "factor", o.factor, here);
  require(o.patience >= 0, "patience", static_cast<double>(o.patience), here);
  require(o.threshold >= 0 && std::isfinite(o.threshold), "threshold", o.threshold, here);
  require(o.cooldown >= 0, "cooldown", static_cast<double>(o.cooldown), here);
  require(o.min_lr >= 0 && std::isfinite(o.min_lr), "min_lr", o.min_lr, here);
  require(o.least_change >= 0, "least_change", o.least_change, here);
}

bool ReduceLROnPlateau::step(double measure, Here here) {
  const double sign = options_.maximize ? 1 : -1;
  const double bar = options_.relative ? best_ * (1 + sign * options_.threshold) : best_ + sign * options_.threshold;
  if (options_.maximize ? measure > bar : measure < bar) {
    best_ = measure;
    bad_ = 0;
  } else {
    ++bad_;
  }
  if (cooldown_ > 0) {
    --cooldown_;
    bad_ = 0;
  }
  if (bad_ <= options_.patience) return false;
  bool fallen = false;
  for (std::size_t i = 0; i < optimizer_.group_count(); ++i) {
    const double old = optimizer_.base_lr(i), lr = std::max(old * options_.factor, options_.min_lr);
    if (old - lr <= options_.least_change) continue;
    optimizer_.set_lr(lr, i, here);
    fallen = true;
  }
  cooldown_ = options_.cooldown;
  bad_ = 0;
  return fallen;
}

std::map<std::string, Tensor> ReduceLROnPlateau::state_dict() const {
  return {{"best", scalar(best_, DType::float64)},
          {"bad", index_tensor({bad_}, Shape{})},
          {"cooldown", index_tensor({cooldown_}, Shape{})}};
}

void ReduceLROnPlateau::load_state_dict(const std::map<std::string, Tensor>& state, Here here) {
  const auto take = [&](const char* name) {
    const auto at = state.find(name);
    if (at == state.end() || !at->second.defined() || at->second.numel() != 1)
      throw ValueError(std::string("ReduceLROnPlateau: the state has no number \"") + name + "\"", here);
    return at->second.item();
  };
  const double best = take("best"), bad = take("bad"), cooldown = take("cooldown");
  if (std::isnan(best) || !(bad >= 0) || !(cooldown >= 0) || state.size() != 3)
    throw ValueError("ReduceLROnPlateau: the state does not fit", here);
  best_ = best;
  bad_ = static_cast<std::int64_t>(bad);
  cooldown_ = static_cast<std::int64_t>(cooldown);
}

}  // namespace attune::optim
