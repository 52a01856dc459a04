// How files store elements, and how these become a tensor's.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "autograd/io/file.h"
#include "autograd/tensor/tensor.h"

namespace attune::io {

/// One way to store an element, always little-endian.
struct Element {
  const char* safetensors;  ///< its name in a header
  const char* npy;          ///< its descr; null if the format has none
  std::int64_t bytes;
  DType dtype;  ///< in memory
  /// Converts n elements; null if both are the same bytes. `from` may be the end of `to`'s memory.
  void (*widen)(const std::byte* from, std::byte* to, std::int64_t n);
};

/// All of them; the first five are how each dtype is written.
std::span<const Element> elements();
const Element& element_of(DType dtype);

/// The bytes of `shape`, or -1 beyond 63 bits. Zero sizes count as ones, so that strides cannot overflow either.
std::int64_t bytes_of(const Element& element, const Shape& shape);

/// A dense tensor from the bytes at `offset`, which the caller has found to lie inside of the file. `what` begins the
/// message of a FileError: "" or a tensor's name. Needs no memory besides the tensor's own.
Tensor read_elements(const Input& file, std::int64_t offset, const Element& element, const Shape& shape,
                     const std::string& what);
/// All elements in row-major order; strided tensors are made dense first.
void write_elements(const Sink& sink, const Tensor& x);

}  // namespace attune::io
