#include "nn/training/event_file.h"

#include <array>
#include <bit>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <optional>
#include <string_view>

#include "autograd/io/file.h"
#include "autograd/runtime/error.h"

static_assert(std::endian::native == std::endian::little);

namespace attune::nn {

namespace {

constexpr std::string_view version = "brain.Event:2";
constexpr std::size_t length_bytes = 8, checksum_bytes = 4;
constexpr std::int64_t most_bytes = std::int64_t{1} << 32;

// Fields of the messages Event, Summary and Summary.Value (tensorflow/core/framework/summary.proto, util/event.proto).
enum Field : std::uint8_t {
  wall_time = 1,
  step_number = 2,
  file_version = 3,
  summary = 5,
  value = 1,
  tag = 1,
  simple = 2
};
enum Wire : std::uint8_t { varint = 0, fixed64 = 1, counted = 2, fixed32 = 5 };

/// CRC-32C (Castagnoli), rotated and shifted as the record format has it.
std::uint32_t masked_checksum(std::string_view bytes) {
  static const std::array<std::uint32_t, 256> table = [] {
    std::array<std::uint32_t, 256> t{};
    for (std::uint32_t i = 0; i < t.size(); ++i) {
      t[i] = i;
      for (int bit = 0; bit < 8; ++bit) t[i] = t[i] >> 1 ^ (t[i] & 1 ? 0x82f63b78u : 0);
    }
    return t;
  }();
  std::uint32_t crc = ~0u;
  for (const char c : bytes) crc = crc >> 8 ^ table[(crc ^ static_cast<unsigned char>(c)) & 0xff];
  return std::rotr(~crc, 15) + 0xa282ead8u;
}

template <class T>
std::string raw(T x) {
  return {reinterpret_cast<const char*>(&x), sizeof x};
}

std::string whole_number(std::uint64_t n) {
  std::string s;
  for (; n >= 0x80; n >>= 7) s += static_cast<char>(n | 0x80);
  return s + static_cast<char>(n);
}

std::string key(Field field, Wire wire) { return {static_cast<char>(field << 3 | wire)}; }

std::string message(Field field, std::string_view bytes) {
  return key(field, counted) + whole_number(bytes.size()) + std::string(bytes);
}

double now() { return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count(); }

/// The step of an Event, whose fields this file wrote: a time, then a step or a version.
std::optional<std::int64_t> step_of(std::string_view event) {
  std::size_t at = 1 + sizeof(double);
  if (event.size() <= at || event[0] != key(wall_time, fixed64)[0]) return std::nullopt;
  if (event[at] == key(file_version, counted)[0]) return 0;
  if (event[at] != key(step_number, varint)[0]) return std::nullopt;
  std::uint64_t n = 0;
  for (int shift = 0; ++at < event.size() && shift < 64; shift += 7) {
    n |= static_cast<std::uint64_t>(event[at] & 0x7f) << shift;
    if (!(event[at] & 0x80)) return static_cast<std::int64_t>(n);
  }
  return std::nullopt;
}

/// How many bytes the whole records up to `last_step` take.
std::size_t good_bytes(std::string_view file, std::int64_t last_step) {
  std::size_t at = 0;
  while (file.size() - at > length_bytes + checksum_bytes) {
    std::uint64_t length = 0;
    std::uint32_t checksum = 0;
    std::memcpy(&length, file.data() + at, sizeof length);
    const std::size_t begin = at + length_bytes + checksum_bytes;
    if (length > file.size() - begin || file.size() - begin - length < checksum_bytes) break;
    const std::string_view event = file.substr(begin, length);
    std::memcpy(&checksum, event.data() + length, sizeof checksum);
    const std::optional<std::int64_t> step = step_of(event);
    if (checksum != masked_checksum(event) || !step || *step > last_step) break;
    at = begin + length + checksum_bytes;
  }
  return at;
}

}  // namespace

EventFile::EventFile(const std::string& path, std::int64_t last_step, Here here) : path_(path) {
  if (std::filesystem::exists(path)) {
    const std::string file = io::read_text(path, most_bytes, here);
    if (!file.empty() && file.find(version) == std::string::npos)
      throw FileError(path + ": is there and is no file of TensorBoard's events", here);
    if (last_step >= 0) size_ = static_cast<std::int64_t>(good_bytes(file, last_step));
    std::error_code error;
    std::filesystem::resize_file(path, static_cast<std::uintmax_t>(size_), error);
    if (error) throw FileError(path + ": cannot be written: " + error.message(), here);
  }
  if (size_ == 0 && !append(key(wall_time, fixed64) + raw(now()) + message(file_version, version)))
    throw FileError(path + ": cannot be written", here);
}

bool EventFile::add(std::int64_t step, const std::vector<std::pair<std::string, double>>& scalars) {
  std::string values;
  for (const auto& [name, x] : scalars)
    values += message(value, message(tag, name) + key(simple, fixed32) + raw(static_cast<float>(x)));
  return append(key(wall_time, fixed64) + raw(now()) + key(step_number, varint) +
                whole_number(static_cast<std::uint64_t>(step)) + message(summary, values));
}

bool EventFile::append(const std::string& event) {
  const std::string length = raw(static_cast<std::uint64_t>(event.size()));
  const std::string record = length + raw(masked_checksum(length)) + event + raw(masked_checksum(event));
  std::FILE* file = std::fopen(path_.c_str(), "ab");
  if (!file) return false;
  bool whole = std::fwrite(record.data(), 1, record.size(), file) == record.size();
  whole = std::fclose(file) == 0 && whole;
  std::error_code ignored;
  if (whole)
    size_ += static_cast<std::int64_t>(record.size());
  else
    std::filesystem::resize_file(path_, static_cast<std::uintmax_t>(size_), ignored);
  return whole;
}

}  // namespace attune::nn
