// How files store elements, and how these become a tensor's.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>

#include "autograd/io/file.h"
#include "autograd/tensor/tensor.h"

namespace attune::io {

/// One way to store an element.
struct Element {
  const char* safetensors;  ///< its name in a header
  const char* npy;          ///< kind and bytes of its descr, behind the byte order; null if the format has none
  const char* torch;        ///< PyTorch's name of the dtype
  const char* storage;      ///< PyTorch's name of the storage; null if there is none of its own
  std::int64_t bytes;
  DType dtype;  ///< in memory
  /// Converts n elements; null if both are the same bytes. `from` may be the end of `to`'s memory.
  void (*widen)(const std::byte* from, std::byte* to, std::int64_t n);
  /// What is wrong with elements that no tensor can hold, or null; null if it can hold all.
  const char* (*fault)(const std::byte* from, std::int64_t n);
};

/// All of them; the first five are how each dtype is written.
std::span<const Element> elements();
const Element& element_of(DType dtype);
/// The one whose `name` (a member of Element) is `text`, or null.
const Element* find_element(const char* Element::*name, std::string_view text);

/// The bytes of `shape`, or -1 beyond 63 bits. Zero sizes count as ones, so that strides cannot overflow either.
std::int64_t bytes_of(const Element& element, const Shape& shape);

enum class Order : std::uint8_t { little, big };

struct Read {
  Tensor tensor;  ///< undefined if there is a fault
  const char* fault = nullptr;
};
/// A dense tensor from the bytes at `offset`, which the caller has found to lie inside of the file; or what is wrong
/// with its elements. Needs no memory besides the tensor's own. `raw` sees the bytes as they were read.
Read read_elements(const Input& file, std::int64_t offset, const Element& element, const Shape& shape,
                   Order order = Order::little,
                   const std::function<void(const std::byte* bytes, std::int64_t n)>& raw = nullptr);
/// All elements in row-major order; strided tensors are made dense first.
void write_elements(const Sink& sink, const Tensor& x);

}  // namespace attune::io
