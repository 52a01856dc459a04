// Files of tensors of whatever kind: safetensors, sharded ones too, .npy, .npz, and PyTorch's .pt and .pth.
#pragma once

#include <map>
#include <string>

#include "autograd/io/file.h"
#include "autograd/tensor/tensor.h"

namespace attune {

/// What a file of tensors holds.
struct TensorFile {
  std::map<std::string, Tensor> tensors;
  /// What stands beside the tensors: a safetensors file's metadata; numbers and texts of a PyTorch checkpoint.
  std::map<std::string, std::string> metadata{};
  /// Tensors of dtypes that Attune does not have (complex, 8-bit floats, texts, ...), with the dtype as the file names
  /// it. The others are read all the same.
  std::map<std::string, std::string> unreadable{};

  /// The tensor of that name. Throws ValueError that says whether it is missing or unreadable.
  const Tensor& at(const std::string& name, Here here = Here::current()) const;
};

/// Reads any of these kinds, which it knows by their content: safetensors (load_safetensors), a safetensors index of
/// shards (load_sharded_safetensors), .npz (load_npz), PyTorch's zip checkpoints (load_pytorch), and .npy, whose one
/// tensor is named "tensor". Nothing in a file is ever run. Throws FileError that says what another file is.
TensorFile load_tensors(const std::string& path, Here here = Here::current());

}  // namespace attune
