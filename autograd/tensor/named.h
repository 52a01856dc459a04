// The names of parameters. A module tells each tensor that it registers where its name comes from, so that whoever is
// given the tensor alone, an optimiser or an error message, knows which one it is.
#pragma once

#include <memory>
#include <string>

#include "autograd/tensor/tensor.h"

namespace attune {

class NameSource {
 public:
  virtual ~NameSource() = default;
  virtual std::string name() const = 0;
};

/// Gives x's handle and its copies (not views of its elements) a name, unless it has one. Throws ValueError for an
/// undefined tensor.
void name_tensor(const Tensor& x, std::shared_ptr<const NameSource> source);
/// The path from the root of the module that first registered x, "encoder.layers.0.weight"; "" for any other tensor.
std::string tensor_name(const Tensor& x);

}  // namespace attune
