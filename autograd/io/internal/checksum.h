// CRC-32 (the one of zip and zlib): finds every burst of up to 32 damaged bits, and others but for one in 2^32.
#pragma once

#include <cstdint>
#include <string>

#include "autograd/tensor/tensor.h"

namespace attune::io {

/// The checksum of what had the checksum `before`, and n bytes after it.
std::uint32_t crc32(std::uint32_t before, const void* bytes, std::int64_t n);
/// Eight lower-case hexadecimal digits.
std::string hexadecimal(std::uint32_t value);

/// Of a tensor's name, dtype (in the file's words) and shape: what the checksum of its elements goes on from.
std::uint32_t crc32_of_header(const std::string& name, const std::string& dtype, const Shape& shape);

}  // namespace attune::io
