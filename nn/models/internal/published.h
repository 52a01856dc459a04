// What the published models share. Internal to nn/models.
#pragma once

#include <string>

#include "autograd/ops/matmul.h"
#include "nn/module.h"

namespace attune::nn::detail {

/// A module that only gives its children a name in the path.
struct Named : Module {
  using Module::child;
  using Module::parameter;
};

/// The activation of this name in the config.json at `path`. Throws FileError for one that is not known.
Activation activation_named(const std::string& name, const std::string& entry, const std::string& path, Here here);

}  // namespace attune::nn::detail
