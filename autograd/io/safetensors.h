// The safetensors file format (github.com/huggingface/safetensors): a JSON header, then raw little-endian elements.
#pragma once

#include <map>
#include <string>

#include "autograd/io/tensor_file.h"

namespace attune {

using SafetensorsFile = TensorFile;

/// Reads F32, F64, I64, I32 and BOOL tensors (F16 and BF16 become float32; U8, I8, U16 and I16 int32; U32 and U64
/// int64); others are listed as unreadable. The header is checked before any tensor is allocated: size at most
/// 100,000,000 bytes, no duplicate names, no holes, no overlap, the buffer covered, rank at most 10, products of sizes
/// within 63 bits. Checksums are compared if the file has them. The elements are copied: the file may change or go
/// afterwards. Throws FileError with the path and what is wrong, also what kind of file another one is.
SafetensorsFile load_safetensors(const std::string& path, Here here = Here::current());
SafetensorsFile load_safetensors(const io::Input& file);

/// Writes through a temporary file in the same directory, synced and renamed: `path` holds the old bytes or the new
/// ones, never half. Strided tensors are written densely; equal tensors give equal bytes. Throws FileError, and
/// ValueError for an undefined tensor, the name "__metadata__", metadata named "attune.crc32...", or text that is no
/// UTF-8.
///
/// Besides `metadata`, which load_safetensors() gives back as it was, the file's metadata get "format": "pt", without
/// which some programs refuse it (unless `metadata` has a format), and a CRC-32 of each tensor (name, dtype, shape,
/// elements) and of the metadata. Other programs may copy these along when they write changed tensors; such a file is
/// refused until they drop the two entries "attune.crc32" and "attune.crc32.metadata".
void save_safetensors(const std::string& path, const std::map<std::string, Tensor>& tensors,
                      const std::map<std::string, std::string>& metadata = {}, Here here = Here::current());

/// Reads a model in several safetensors files through its index, `model.safetensors.index.json`. The index may name
/// only files at or below its own folder. Throws FileError, also for a tensor that is not where the index says, or that
/// two files have. Metadata in which files differ are named "FILE: KEY".
TensorFile load_sharded_safetensors(const std::string& index_path, Here here = Here::current());

}  // namespace attune
