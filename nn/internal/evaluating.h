// A module in evaluation mode for a while. Internal to nn/.
#pragma once

#include <utility>
#include <vector>

#include "nn/module.h"

namespace attune::nn::detail {

/// While it lives, a module and all below are in evaluation mode; then each is in its own again.
class Evaluating {
 public:
  explicit Evaluating(Module& m) {
    for (const auto& [name, module] : m.named_modules()) before_.emplace_back(module, module->training());
    m.eval();
  }
  ~Evaluating() {
    for (const auto& [module, on] : before_) module->train(on);  // a module comes before those below it
  }
  Evaluating(const Evaluating&) = delete;
  Evaluating& operator=(const Evaluating&) = delete;

 private:
  std::vector<std::pair<Module*, bool>> before_;
};

}  // namespace attune::nn::detail
