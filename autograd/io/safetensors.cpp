#include "autograd/io/safetensors.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <nlohmann/json.hpp>
#include <set>
#include <vector>

#include "autograd/io/file.h"
#include "autograd/ops/apply.h"
#include "autograd/ops/movement.h"
#include "autograd/runtime/error.h"

static_assert(std::endian::native == std::endian::little, "safetensors and npy hold little-endian elements");

namespace attune {

namespace {

using Json = nlohmann::json;
constexpr std::int64_t most_header = 100'000'000;

struct Stored {
  const char* name;
  std::int64_t bytes;
  DType dtype;  // in memory
};
constexpr Stored stored_types[] = {{"F32", 4, DType::float32},  {"F64", 8, DType::float64},  {"I64", 8, DType::int64},
                                   {"I32", 4, DType::int32},    {"BOOL", 1, DType::boolean}, {"F16", 2, DType::float32},
                                   {"BF16", 2, DType::float32}, {"U8", 1, DType::int32},     {"I8", 1, DType::int32},
                                   {"I16", 2, DType::int32}};

struct Entry {
  std::string name;
  const Stored* type;
  Shape shape;
  std::int64_t begin, end;
};

/// nlohmann keeps the last of two equal keys; the format forbids them.
Json parse_header(const io::Input& file, const std::string& text) {
  std::vector<std::set<std::string>> keys;
  std::string repeated;
  const auto watch = [&](int depth, Json::parse_event_t event, Json& parsed) {
    if (depth > 8) return false;
    if (event == Json::parse_event_t::object_start) keys.emplace_back();
    if (event == Json::parse_event_t::object_end) keys.pop_back();
    if (event == Json::parse_event_t::key && !keys.back().insert(parsed.get<std::string>()).second)
      repeated = parsed.get<std::string>();
    return true;
  };
  Json header;
  try {
    header = Json::parse(text, watch);
  } catch (const Json::exception&) {
    file.fail("the header is no JSON");
  }
  if (!repeated.empty()) file.fail("the header names \"" + repeated + "\" twice");
  if (!header.is_object()) file.fail("the header is no JSON object");
  return header;
}

Entry parse_entry(const io::Input& file, const std::string& name, const Json& j, std::int64_t data_bytes) {
  const auto fail = [&](const std::string& what) { file.fail("tensor \"" + name + "\" " + what); };
  if (!j.is_object() || j.size() != 3 || !j.contains("dtype") || !j.contains("shape") || !j.contains("data_offsets"))
    fail("must have dtype, shape and data_offsets");
  Entry e{name, nullptr, {}, 0, 0};
  const Json &dtype = j["dtype"], &shape = j["shape"], &offsets = j["data_offsets"];
  for (const Stored& t : stored_types)
    if (dtype.is_string() && dtype.get_ref<const std::string&>() == t.name) e.type = &t;
  if (!e.type) fail("has an unknown dtype " + dtype.dump(-1, ' ', true, Json::error_handler_t::replace));
  const auto natural = [&](const Json& v) {
    if (!v.is_number_unsigned() || v.get<std::uint64_t>() > static_cast<std::uint64_t>(INT64_MAX))
      fail("has a size that is no natural number");
    return v.get<std::int64_t>();
  };
  if (!shape.is_array() || shape.size() > static_cast<std::size_t>(max_rank))
    fail("has no shape of at most " + std::to_string(max_rank) + " axes");
  std::int64_t bytes = e.type->bytes;
  for (const Json& s : shape) {
    e.shape.push_back(natural(s));
    if (__builtin_mul_overflow(bytes, e.shape.back(), &bytes)) fail("has a shape whose bytes overflow 64 bits");
  }
  if (!offsets.is_array() || offsets.size() != 2) fail("has no pair of data_offsets");
  e.begin = natural(offsets[0]);
  e.end = natural(offsets[1]);
  if (e.begin > e.end || e.end > data_bytes) fail("lies outside of the data");
  if (e.end - e.begin != bytes)
    fail("has " + std::to_string(e.end - e.begin) + " bytes for " + e.shape.str() + " " + e.type->name);
  return e;
}

float half_to_float(std::uint16_t h) {
  const int exponent = (h >> 10) & 31, fraction = h & 1023;
  const float sign = h & 0x8000 ? -1.0f : 1.0f;
  if (exponent == 31) return fraction ? std::nanf("") : sign * INFINITY;
  return sign * (exponent == 0 ? std::ldexp(static_cast<float>(fraction), -24)
                               : std::ldexp(static_cast<float>(fraction + 1024), exponent - 25));
}

Tensor read_tensor(const io::Input& file, const Entry& e, std::int64_t data_start) {
  Tensor t = empty(e.shape, e.type->dtype);
  const std::string type = e.type->name;
  if (e.type->bytes == static_cast<std::int64_t>(size_of(e.type->dtype))) {
    file.read(data_start + e.begin, t.raw_mut(), e.end - e.begin);
    if (type == "BOOL") {
      const auto* p = static_cast<const std::uint8_t*>(t.raw());
      if (std::any_of(p, p + t.numel(), [](std::uint8_t v) { return v > 1; }))
        file.fail("tensor \"" + e.name + "\" has a bool that is neither 0 nor 1");
    }
    return t;
  }
  std::vector<std::uint8_t> bytes(static_cast<std::size_t>(e.end - e.begin));
  file.read(data_start + e.begin, bytes.data(), e.end - e.begin);
  const auto word = [&](std::size_t i) { return static_cast<std::uint16_t>(bytes[2 * i] | bytes[2 * i + 1] << 8); };
  for (std::size_t i = 0; i < static_cast<std::size_t>(t.numel()); ++i) {
    if (type == "F16")
      detail::elements<float>(t)[i] = half_to_float(word(i));
    else if (type == "BF16")
      detail::elements<float>(t)[i] = std::bit_cast<float>(static_cast<std::uint32_t>(word(i)) << 16);
    else if (type == "U8")
      detail::elements<std::int32_t>(t)[i] = bytes[i];
    else if (type == "I8")
      detail::elements<std::int32_t>(t)[i] = static_cast<std::int8_t>(bytes[i]);
    else
      detail::elements<std::int32_t>(t)[i] = static_cast<std::int16_t>(word(i));
  }
  return t;
}

}  // namespace

SafetensorsFile load_safetensors(const std::string& path, Here here) {
  const io::Input file(path, here);
  std::uint64_t header_bytes = 0;
  if (file.size() < 8) file.fail("is too short for a safetensors file");
  file.read(0, &header_bytes, 8);
  if (header_bytes > static_cast<std::uint64_t>(most_header))
    file.fail("claims a header of " + std::to_string(header_bytes) + " bytes; at most 100000000 are allowed");
  const std::int64_t data_start = 8 + static_cast<std::int64_t>(header_bytes);
  if (data_start > file.size())
    file.fail("claims a header of " + std::to_string(header_bytes) + " bytes and is only " +
              std::to_string(file.size()) + " long");
  std::string text(static_cast<std::size_t>(header_bytes), '\0');
  file.read(8, text.data(), static_cast<std::int64_t>(header_bytes));
  if (text.empty() || text[0] != '{') file.fail("is no safetensors file: the header does not begin with '{'");
  const Json header = parse_header(file, text);

  SafetensorsFile result;
  std::vector<Entry> entries;
  for (const auto& [name, value] : header.items()) {
    if (name == "__metadata__") {
      if (!value.is_object()) file.fail("__metadata__ is no object");
      for (const auto& [key, item] : value.items()) {
        if (!item.is_string()) file.fail("__metadata__ holds something else than strings");
        result.metadata[key] = item.get<std::string>();
      }
      continue;
    }
    entries.push_back(parse_entry(file, name, value, file.size() - data_start));
  }
  std::sort(entries.begin(), entries.end(),
            [](const Entry& a, const Entry& b) { return std::pair(a.begin, a.end) < std::pair(b.begin, b.end); });
  std::int64_t covered = 0;
  for (const Entry& e : entries) {
    if (e.begin != covered)
      file.fail("tensor \"" + e.name + "\" " +
                (e.begin < covered ? "overlaps another one" : "leaves a hole before it"));
    covered = e.end;
  }
  if (covered != file.size() - data_start) file.fail("has bytes that belong to no tensor");
  for (const Entry& e : entries) result.tensors.emplace(e.name, read_tensor(file, e, data_start));
  return result;
}

void save_safetensors(const std::string& path, const std::map<std::string, Tensor>& tensors,
                      const std::map<std::string, std::string>& metadata, Here here) {
  Json header = Json::object();
  if (!metadata.empty()) header["__metadata__"] = metadata;
  // Wide elements first, so that each begins at a multiple of its size.
  std::vector<std::pair<std::string, Tensor>> ordered;
  for (const auto& [name, t] : tensors) {
    if (!t.defined()) throw ValueError("save_safetensors: tensor \"" + name + "\" is undefined", here);
    if (name == "__metadata__") throw ValueError("save_safetensors: a tensor cannot be named __metadata__", here);
    ordered.emplace_back(name, t);
  }
  std::stable_sort(ordered.begin(), ordered.end(),
                   [](const auto& a, const auto& b) { return size_of(a.second.dtype()) > size_of(b.second.dtype()); });
  std::int64_t offset = 0;
  for (const auto& [name, t] : ordered) {
    const char* type = nullptr;
    for (const Stored& s : stored_types)
      if (!type && s.dtype == t.dtype()) type = s.name;
    const std::int64_t bytes = t.numel() * static_cast<std::int64_t>(size_of(t.dtype()));
    header[name] = {{"dtype", type},
                    {"shape", std::vector<std::int64_t>(t.shape().begin(), t.shape().end())},
                    {"data_offsets", {offset, offset + bytes}}};
    offset += bytes;
  }
  std::string text;
  try {
    text = header.dump();
  } catch (const Json::exception& e) {
    throw ValueError("save_safetensors: a name or metadata is no UTF-8", here);
  }
  text.resize((text.size() + 7) / 8 * 8, ' ');
  const auto header_bytes = static_cast<std::uint64_t>(text.size());
  io::write_atomically(
      path,
      [&](const io::Sink& sink) {
        sink(&header_bytes, 8);
        sink(text.data(), static_cast<std::int64_t>(text.size()));
        for (const auto& [name, t] : ordered) {
          const Tensor dense = contiguous(t.detach());
          sink(dense.raw(), dense.numel() * static_cast<std::int64_t>(size_of(dense.dtype())));
        }
      },
      here);
}

}  // namespace attune
