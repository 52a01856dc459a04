#include "autograd/io/internal/elements.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <utility>

#include "autograd/ops/movement.h"
#include "autograd/tape/modes.h"

static_assert(std::endian::native == std::endian::little, "files are read and written as little-endian");

namespace attune::io {

namespace {

struct Half {
  std::uint16_t bits;
  /// By bits, since arithmetic on subnormals may be set to flush them.
  operator float() const {
    const std::uint32_t sign = (bits & 0x8000u) << 16, exponent = (bits >> 10) & 31u, fraction = bits & 1023u;
    if (exponent == 0) return (sign ? -0x1p-24f : 0x1p-24f) * static_cast<float>(fraction);
    return std::bit_cast<float>(sign | (exponent == 31 ? 255u : exponent + 112u) << 23 | fraction << 13);
  }
};
struct BrainFloat {
  std::uint16_t bits;
  operator float() const { return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16); }
};

template <class From, class To>
void widen(const std::byte* from, std::byte* to, std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i) {
    From narrow;
    std::memcpy(&narrow, from + i * static_cast<std::int64_t>(sizeof(From)), sizeof(From));
    const To wide = static_cast<To>(narrow);
    std::memcpy(to + i * static_cast<std::int64_t>(sizeof(To)), &wide, sizeof(To));
  }
}

const char* no_bool(const std::byte* from, std::int64_t n) {
  return std::any_of(from, from + n, [](std::byte v) { return std::to_integer<int>(v) > 1; })
             ? "has a bool that is neither 0 nor 1"
             : nullptr;
}
const char* beyond_int64(const std::byte* from, std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i)
    if ((from[8 * i + 7] & std::byte{0x80}) != std::byte{}) return "has an unsigned number beyond int64";
  return nullptr;
}

constexpr Element table[] = {
    {"F32", "f4", "float32", "FloatStorage", 4, DType::float32, nullptr, nullptr},
    {"F64", "f8", "float64", "DoubleStorage", 8, DType::float64, nullptr, nullptr},
    {"I64", "i8", "int64", "LongStorage", 8, DType::int64, nullptr, nullptr},
    {"I32", "i4", "int32", "IntStorage", 4, DType::int32, nullptr, nullptr},
    {"BOOL", "b1", "bool", "BoolStorage", 1, DType::boolean, nullptr, no_bool},
    {"F16", "f2", "float16", "HalfStorage", 2, DType::float32, widen<Half, float>, nullptr},
    {"BF16", nullptr, "bfloat16", "BFloat16Storage", 2, DType::float32, widen<BrainFloat, float>, nullptr},
    {"U8", "u1", "uint8", "ByteStorage", 1, DType::int32, widen<std::uint8_t, std::int32_t>, nullptr},
    {"I8", "i1", "int8", "CharStorage", 1, DType::int32, widen<std::int8_t, std::int32_t>, nullptr},
    {"U16", "u2", "uint16", nullptr, 2, DType::int32, widen<std::uint16_t, std::int32_t>, nullptr},
    {"I16", "i2", "int16", "ShortStorage", 2, DType::int32, widen<std::int16_t, std::int32_t>, nullptr},
    {"U32", "u4", "uint32", nullptr, 4, DType::int64, widen<std::uint32_t, std::int64_t>, nullptr},
    {"U64", "u8", "uint64", nullptr, 8, DType::int64, nullptr, beyond_int64},
};

void swap_bytes(std::byte* at, std::int64_t n, std::int64_t width) {
  if (width > 1)
    for (std::int64_t i = 0; i < n; ++i) std::reverse(at + i * width, at + (i + 1) * width);
}

}  // namespace

std::span<const Element> elements() { return table; }

const Element& element_of(DType dtype) {
  return *std::find_if(std::begin(table), std::end(table), [=](const Element& e) { return e.dtype == dtype; });
}

const Element* find_element(const char* Element::*name, std::string_view text) {
  for (const Element& e : table)
    if (e.*name && text == e.*name) return &e;
  return nullptr;
}

std::int64_t bytes_of(const Element& element, const Shape& shape) {
  std::int64_t bytes = static_cast<std::int64_t>(size_of(element.dtype));
  bool none = false;
  for (std::int64_t size : shape) {
    none |= size == 0;
    if (__builtin_mul_overflow(bytes, std::max<std::int64_t>(size, 1), &bytes)) return -1;
  }
  return none ? 0 : bytes / static_cast<std::int64_t>(size_of(element.dtype)) * element.bytes;
}

Read read_elements(const Input& file, std::int64_t offset, const Element& element, const Shape& shape, Order order,
                   const std::function<void(const std::byte* bytes, std::int64_t n)>& raw) {
  Tensor t = empty(shape, element.dtype);
  const std::int64_t n = t.numel(), bytes = n * element.bytes;
  auto* to = static_cast<std::byte*>(t.unsafe_data());
  // Narrow elements are read into the end of the tensor and widened from there: the place that is written stays behind
  // the place that is read.
  std::byte* from = to + n * static_cast<std::int64_t>(size_of(element.dtype)) - bytes;
  file.read(offset, from, bytes);
  if (raw) raw(from, bytes);
  if (order == Order::big) swap_bytes(from, n, element.bytes);
  if (element.fault)
    if (const char* fault = element.fault(from, n)) return {Tensor(), fault};
  if (element.widen) element.widen(from, to, n);
  return {std::move(t), nullptr};
}

void write_elements(const Sink& sink, const Tensor& x) {
  const NoGrad off;
  const Tensor dense = contiguous(x);
  sink(dense.raw(), dense.numel() * static_cast<std::int64_t>(size_of(dense.dtype())));
}

}  // namespace attune::io
