// What a file is, whatever its name says.
#pragma once

#include "autograd/io/file.h"

namespace attune::io {

enum class Kind : std::uint8_t {
  unknown,
  nothing,  ///< no bytes
  safetensors,
  npy,
  npz,
  pytorch,
  torchscript,
  other_zip,
  shard_index,
  other_json,
  lfs_pointer,
  html,
  gguf,
  old_pytorch,
  pickle,
  gzip,
  hdf5
};

/// Looks at the first bytes, and at the names in a zip archive.
Kind kind_of(const Input& file);
/// "a Git LFS pointer, ...": for a message; "" for an unknown kind.
const char* describe(Kind kind);
/// Throws FileError "is no EXPECTED but ..." if the file is of a kind that is known, and not of the wanted one.
void expect_kind(const Input& file, Kind wanted, const char* expected);

}  // namespace attune::io
