// Numpy's .npy files.
#pragma once

#include <string>

#include "autograd/tensor/tensor.h"

namespace attune {

/// Reads format versions 1 to 3 with little-endian f4, f8, i8, i4 or bool elements (f2 becomes float32; u1, i1, u2 and
/// i2 int32; u4 int64), in C or Fortran order; the result is dense. The header may have 10,000 bytes; the file must
/// hold exactly what it claims. Throws FileError.
Tensor load_npy(const std::string& path, Here here = Here::current());
/// Writes format version 1.0, all or nothing; strided tensors densely. Throws FileError, and ValueError for
/// an undefined tensor.
void save_npy(const std::string& path, const Tensor& x, Here here = Here::current());

}  // namespace attune
