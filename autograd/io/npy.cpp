#include "autograd/io/npy.h"

#include <algorithm>
#include <cstring>
#include <regex>
#include <vector>

#include "autograd/io/file.h"
#include "autograd/ops/apply.h"
#include "autograd/ops/movement.h"
#include "autograd/runtime/error.h"

namespace attune {

namespace {

constexpr char magic[] = "\x93NUMPY";
constexpr std::int64_t most_header = 10'000;

struct Stored {
  const char* code;
  std::int64_t bytes;
  DType dtype;
};
constexpr Stored stored_types[] = {{"<f4", 4, DType::float32}, {"<f8", 8, DType::float64}, {"<i8", 8, DType::int64},
                                   {"<i4", 4, DType::int32},   {"|b1", 1, DType::boolean}, {"|u1", 1, DType::int32},
                                   {"|i1", 1, DType::int32},   {"<i2", 2, DType::int32},   {"<u2", 2, DType::int32}};

struct Header {
  const Stored* type = nullptr;
  bool fortran = false;
  Shape shape;
};

/// The header is a Python dictionary literal with exactly three keys, in any order.
Header parse(const io::Input& file, const std::string& text) {
  static const std::regex item(R"(\s*'(\w+)'\s*:\s*('[^']*'|True|False|\([0-9,\sL]*\))\s*(,|$))");
  Header h;
  const std::size_t open = text.find('{'), close = text.rfind('}');
  if (open == std::string::npos || close == std::string::npos || close < open ||
      text.find_first_not_of(" \t") != open || text.find_first_not_of(" \n", close + 1) != std::string::npos)
    file.fail("the header is no dictionary");
  const std::string body = text.substr(open + 1, close - open - 1);
  bool has_type = false, has_order = false, has_shape = false;
  auto at = body.cbegin();
  std::smatch m;
  while (std::regex_search(at, body.cend(), m, item, std::regex_constants::match_continuous)) {
    const std::string key = m[1], value = m[2];
    if (key == "descr" && value[0] == '\'' && !has_type) {
      has_type = true;
      const std::string code = value.substr(1, value.size() - 2);
      for (const Stored& s : stored_types)
        if (code == s.code) h.type = &s;
      if (!h.type) file.fail("has elements of type " + value + ", which cannot be read");
    } else if (key == "fortran_order" && (value == "True" || value == "False") && !has_order) {
      has_order = true;
      h.fortran = value == "True";
    } else if (key == "shape" && value[0] == '(' && !has_shape) {
      has_shape = true;
      for (const char* p = value.c_str() + 1; *p;) {
        if (*p < '0' || *p > '9') {
          ++p;
          continue;
        }
        std::int64_t size = 0;
        for (; *p >= '0' && *p <= '9'; ++p)
          if (__builtin_mul_overflow(size, 10, &size) || __builtin_add_overflow(size, *p - '0', &size))
            file.fail("has a size beyond 64 bits");
        if (h.shape.rank() == max_rank) file.fail("has more than " + std::to_string(max_rank) + " axes");
        h.shape.push_back(size);
      }
    } else {
      file.fail("has an unexpected header entry '" + key + "'");
    }
    at = m[0].second;
  }
  if (body.find_first_not_of(" \t", static_cast<std::size_t>(at - body.cbegin())) != std::string::npos || !has_type ||
      !has_order || !has_shape)
    file.fail("the header must give descr, fortran_order and shape");
  return h;
}

}  // namespace

Tensor load_npy(const std::string& path, Here here) {
  const io::Input file(path, here);
  std::uint8_t start[12] = {};
  if (file.size() < 10) file.fail("is too short for an .npy file");
  file.read(0, start, 10);
  if (std::memcmp(start, magic, 6) != 0) file.fail("is no .npy file");
  if (start[6] < 1 || start[6] > 3) file.fail("has the unknown format version " + std::to_string(start[6]));
  std::int64_t length = start[8] | start[9] << 8, data_start = 10;
  if (start[6] >= 2) {
    if (file.size() < 12) file.fail("ends inside the header");
    file.read(8, start + 8, 4);
    length |= static_cast<std::int64_t>(start[10]) << 16 | static_cast<std::int64_t>(start[11]) << 24;
    data_start = 12;
  }
  if (length > most_header)
    file.fail("claims a header of " + std::to_string(length) + " bytes; at most 10000 are allowed");
  if (data_start + length > file.size()) file.fail("ends inside the header");
  std::string text(static_cast<std::size_t>(length), '\0');
  file.read(data_start, text.data(), length);
  data_start += length;
  const Header h = parse(file, text);
  std::int64_t bytes = h.type->bytes;
  for (std::int64_t s : h.shape)
    if (__builtin_mul_overflow(bytes, s, &bytes)) file.fail("has a shape whose bytes overflow 64 bits");
  if (file.size() - data_start != bytes)
    file.fail("holds " + std::to_string(file.size() - data_start) + " bytes of data for " + h.shape.str() + " " +
              h.type->code);
  Shape stored = h.shape;
  if (h.fortran) std::reverse(stored.begin(), stored.end());
  Tensor t = empty(stored, h.type->dtype);
  if (h.type->bytes == static_cast<std::int64_t>(size_of(h.type->dtype))) {
    file.read(data_start, t.raw_mut(), bytes);
  } else {
    std::vector<std::uint8_t> raw(static_cast<std::size_t>(bytes));
    file.read(data_start, raw.data(), bytes);
    const std::string code = h.type->code;
    for (std::size_t i = 0; i < static_cast<std::size_t>(t.numel()); ++i) {
      const auto word = [&] { return static_cast<std::uint16_t>(raw[2 * i] | raw[2 * i + 1] << 8); };
      detail::elements<std::int32_t>(t)[i] = code == "|u1"   ? raw[i]
                                             : code == "|i1" ? static_cast<std::int8_t>(raw[i])
                                             : code == "<i2" ? static_cast<std::int16_t>(word())
                                                             : word();
    }
  }
  if (h.type->dtype == DType::boolean)
    for (std::int64_t i = 0; i < t.numel(); ++i)
      if (static_cast<const std::uint8_t*>(t.raw())[i] > 1) file.fail("has a bool that is neither 0 nor 1");
  if (!h.fortran || t.rank() < 2) return t;
  Dims axes;
  for (int i = t.rank() - 1; i >= 0; --i) axes.push_back(i);
  const NoGrad off;
  return contiguous(permute(t, axes));
}

void save_npy(const std::string& path, const Tensor& x, Here here) {
  if (!x.defined()) throw ValueError("save_npy: the tensor is undefined", here);
  const char* code = nullptr;
  for (const Stored& s : stored_types)
    if (!code && s.dtype == x.dtype()) code = s.code;
  std::string shape = "(";
  for (std::int64_t s : x.shape()) shape += std::to_string(s) + ", ";
  std::string text = std::string("{'descr': '") + code + "', 'fortran_order': False, 'shape': " + shape + "), }";
  text.resize((text.size() + 11 + 63) / 64 * 64 - 11, ' ');
  text += '\n';
  io::write_atomically(
      path,
      [&](const io::Sink& sink) {
        const auto length = static_cast<std::uint16_t>(text.size());
        const std::uint8_t version[] = {1, 0, static_cast<std::uint8_t>(length & 255),
                                        static_cast<std::uint8_t>(length >> 8)};
        sink(magic, 6);
        sink(version, 4);
        sink(text.data(), static_cast<std::int64_t>(text.size()));
        const Tensor dense = contiguous(x.detach());
        sink(dense.raw(), dense.numel() * static_cast<std::int64_t>(size_of(dense.dtype())));
      },
      here);
}

}  // namespace attune
