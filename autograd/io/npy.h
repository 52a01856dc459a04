// Numpy's files: .npy, of one array, and .npz, of several.
#pragma once

#include <map>
#include <string>

#include "autograd/io/tensor_file.h"

namespace attune {

/// Reads format versions 1 to 3 with f4, f8, i8, i4 or bool elements (f2 becomes float32; u1, i1, u2 and i2 int32; u4
/// and u8 int64), little-endian or big-endian, in C or Fortran order; the result is dense. The header may have 10,000
/// bytes; the file must hold exactly what it claims. Throws FileError, also for a u8 beyond int64.
Tensor load_npy(const std::string& path, Here here = Here::current());
Tensor load_npy(const io::Input& file);
/// Writes format version 1.0, all or nothing; strided tensors densely. Throws FileError, and ValueError for
/// an undefined tensor.
void save_npy(const std::string& path, const Tensor& x, Here here = Here::current());

/// Reads a zip archive of .npy files, stored or deflated, as np.savez() and np.savez_compressed() write it, also beyond
/// 4 GiB. Arrays that load_npy() could not read (texts, objects, complex numbers) are listed as unreadable. Sizes are
/// compared with the archive's before memory is taken, checksums afterwards. Throws FileError.
TensorFile load_npz(const std::string& path, Here here = Here::current());
TensorFile load_npz(const io::Input& file);

struct NpzOptions {
  bool compress = false;  ///< deflate the arrays; weights hardly get smaller by it
};
/// Writes an archive that np.load() reads, all or nothing; equal tensors give equal bytes. Throws FileError, and
/// ValueError for an undefined tensor or a name that is empty, too long or has a zero byte.
void save_npz(const std::string& path, const std::map<std::string, Tensor>& tensors, const NpzOptions& options = {},
              Here here = Here::current());

}  // namespace attune
