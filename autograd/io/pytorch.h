// PyTorch's checkpoints, .pt and .pth.
#pragma once

#include <string>

#include "autograd/io/tensor_file.h"

namespace attune {

/// Reads the zip archives that torch.save() writes since version 1.6: tensors, and dicts, lists and tuples of them, to
/// any depth up to 64, whose names are the keys joined by dots ("model.layers.0.weight"); a lone tensor is named
/// "tensor". Texts, numbers and None beside them become metadata of the same kind of names.
///
/// The file holds a program for Python's pickle machine. It is not run: a reader of its own knows how containers,
/// numbers and tensors are made, and refuses everything else by name ("__main__.Net", "os.system").
///
/// float16 and bfloat16 become float32, short integers int32, uint32 and uint64 int64; complex, quantized and 8-bit
/// floating tensors are listed as unreadable. Tensors have the strides they were saved with, and those that shared a
/// storage share it again. Sizes are compared with the archive's before memory is taken, checksums afterwards. Throws
/// FileError with what is wrong.
TensorFile load_pytorch(const std::string& path, Here here = Here::current());
TensorFile load_pytorch(const io::Input& file);

}  // namespace attune
