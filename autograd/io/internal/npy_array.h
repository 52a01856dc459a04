// The .npy format as part of others.
#pragma once

#include <string>

#include "autograd/io/file.h"
#include "autograd/tensor/tensor.h"

namespace attune::io {

struct NpyArray {
  Tensor tensor;                ///< undefined if its elements are of a type that no tensor has
  std::string code;             ///< the type, as the file names it
  const char* fault = nullptr;  ///< what is wrong with the elements
};
/// Reads from first to last byte, each once, except to say what else than an .npy file there is.
NpyArray read_npy(const Input& file);
/// All that comes before the elements.
std::string npy_header(const Tensor& x);

}  // namespace attune::io
