#include "autograd/io/internal/elements.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "autograd/ops/movement.h"
#include "autograd/tape/modes.h"

static_assert(std::endian::native == std::endian::little, "safetensors and npy hold little-endian elements");

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

constexpr Element table[] = {
    {"F32", "<f4", 4, DType::float32, nullptr},
    {"F64", "<f8", 8, DType::float64, nullptr},
    {"I64", "<i8", 8, DType::int64, nullptr},
    {"I32", "<i4", 4, DType::int32, nullptr},
    {"BOOL", "|b1", 1, DType::boolean, nullptr},
    {"F16", "<f2", 2, DType::float32, widen<Half, float>},
    {"BF16", nullptr, 2, DType::float32, widen<BrainFloat, float>},
    {"U8", "|u1", 1, DType::int32, widen<std::uint8_t, std::int32_t>},
    {"I8", "|i1", 1, DType::int32, widen<std::int8_t, std::int32_t>},
    {"U16", "<u2", 2, DType::int32, widen<std::uint16_t, std::int32_t>},
    {"I16", "<i2", 2, DType::int32, widen<std::int16_t, std::int32_t>},
    {"U32", "<u4", 4, DType::int64, widen<std::uint32_t, std::int64_t>},
};

}  // namespace

std::span<const Element> elements() { return table; }

const Element& element_of(DType dtype) {
  return *std::find_if(std::begin(table), std::end(table), [=](const Element& e) { return e.dtype == dtype; });
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

Tensor read_elements(const Input& file, std::int64_t offset, const Element& element, const Shape& shape,
                     const std::string& what) {
  Tensor t = empty(shape, element.dtype);
  const std::int64_t n = t.numel(), bytes = n * element.bytes;
  auto* to = static_cast<std::byte*>(t.unsafe_data());
  // Narrow elements are read into the end of the tensor and widened from there: the place that is written stays behind
  // the place that is read.
  std::byte* from = to + n * static_cast<std::int64_t>(size_of(element.dtype)) - bytes;
  file.read(offset, from, bytes);
  if (element.widen) element.widen(from, to, n);
  if (element.dtype == DType::boolean &&
      std::any_of(to, to + bytes, [](std::byte v) { return std::to_integer<int>(v) > 1; }))
    file.fail(what + "has a bool that is neither 0 nor 1");
  return t;
}

void write_elements(const Sink& sink, const Tensor& x) {
  const NoGrad off;
  const Tensor dense = contiguous(x);
  sink(dense.raw(), dense.numel() * static_cast<std::int64_t>(size_of(dense.dtype())));
}

}  // namespace attune::io
