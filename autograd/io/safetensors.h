// The safetensors file format (github.com/huggingface/safetensors): a JSON header, then raw little-endian elements.
#pragma once

#include <map>
#include <string>

#include "autograd/tensor/tensor.h"

namespace attune {

struct SafetensorsFile {
  std::map<std::string, Tensor> tensors;
  std::map<std::string, std::string> metadata;
};

/// Reads F32, F64, I64, I32 and BOOL tensors (F16 and BF16 become float32; U8, I8, U16 and I16 int32; U32 int64). The
/// header is checked before any tensor is allocated: size at most 100,000,000 bytes, no duplicate names, no holes, no
/// overlap, the buffer covered, rank at most 8, products of sizes within 63 bits. The elements are copied: the file may
/// change or go afterwards. Throws FileError with the path and what is wrong.
SafetensorsFile load_safetensors(const std::string& path, Here here = Here::current());

/// Writes through a temporary file in the same directory, synced and renamed: `path` holds the old bytes or the new
/// ones, never half. Strided tensors are written densely; equal tensors give equal bytes. Throws FileError, and
/// ValueError for an undefined tensor, the name "__metadata__", or text that is no UTF-8.
void save_safetensors(const std::string& path, const std::map<std::string, Tensor>& tensors,
                      const std::map<std::string, std::string>& metadata = {}, Here here = Here::current());

}  // namespace attune
