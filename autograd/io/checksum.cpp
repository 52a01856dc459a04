#include "autograd/io/internal/checksum.h"

#include <zlib.h>

#include <vector>

#include "autograd/runtime/parallel.h"

namespace attune::io {

std::uint32_t crc32(std::uint32_t before, const void* bytes, std::int64_t n) {
  if (n == 0) return before;  // of no bytes, which zlib takes for a beginning if there is no pointer
  constexpr std::int64_t piece = 1 << 20;
  const auto* at = static_cast<const Bytef*>(bytes);
  if (n <= piece) return static_cast<std::uint32_t>(::crc32_z(before, at, static_cast<z_size_t>(n)));
  std::vector<uLong> pieces(static_cast<std::size_t>((n + piece - 1) / piece));
  parallel_for(n, piece, [&](std::int64_t begin, std::int64_t end) {
    pieces[static_cast<std::size_t>(begin / piece)] = ::crc32_z(0, at + begin, static_cast<z_size_t>(end - begin));
  });
  uLong sum = before;
  for (std::size_t i = 0; i < pieces.size(); ++i)
    sum = ::crc32_combine(
        sum, pieces[i], static_cast<z_off_t>(i + 1 < pieces.size() ? piece : n - piece * static_cast<std::int64_t>(i)));
  return static_cast<std::uint32_t>(sum);
}

std::string hexadecimal(std::uint32_t value) {
  std::string text(8, '0');
  for (std::size_t i = 8; i-- > 0; value >>= 4) text[i] = "0123456789abcdef"[value & 15];
  return text;
}

std::uint32_t crc32_of_header(const std::string& name, const std::string& dtype, const Shape& shape) {
  const std::string text = name + '\0' + dtype + '\0' + shape.str();
  return crc32(0, text.data(), static_cast<std::int64_t>(text.size()));
}

}  // namespace attune::io
