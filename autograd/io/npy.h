// Numpy's .npy files.
#pragma once

#include <string>

#include "autograd/tensor.h"

namespace attune {

/// Reads format versions 1 to 3 with little-endian f4, f8, i8, i4 or bool elements (u1, i1, i2, u2 become int32), in C
/// or Fortran order. The header may have 10,000 bytes; the file must hold exactly what it claims. Throws FileError.
Tensor load_npy(const std::string& path, Here here = Here::current());
/// Writes format version 1.0, all or nothing. Throws FileError.
void save_npy(const std::string& path, const Tensor& x, Here here = Here::current());

}  // namespace attune
