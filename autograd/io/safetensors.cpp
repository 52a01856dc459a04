#include "autograd/io/safetensors.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <numeric>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "autograd/io/file.h"
#include "autograd/io/internal/checksum.h"
#include "autograd/io/internal/elements.h"
#include "autograd/io/internal/kind.h"
#include "autograd/ops/movement.h"
#include "autograd/runtime/error.h"
#include "autograd/tape/modes.h"

namespace attune {

namespace {

using Json = nlohmann::json;
constexpr std::uint64_t most_header = 100'000'000;

// The metadata that files of Attune have besides the user's.
const std::string checksums_key = "attune.crc32";          // eight digits a tensor, in the order of the names
const std::string metadata_key = "attune.crc32.metadata";  // eight digits, and whether the format is the file's own
const std::string format_is_added = " format";

struct Entry {
  std::string name;
  std::string dtype;
  const io::Element* element = nullptr;  // null for a dtype that no tensor has
  std::optional<Shape> shape;
  std::vector<std::int64_t> offsets;  // begin and end
};

/// Takes the header as the parser meets it and refuses whatever the format does not have at that place. No document is
/// built: nesting is bounded, and so is the memory by the header's own size.
class HeaderReader final : public Json::json_sax_t {
 public:
  explicit HeaderReader(const io::Input& file) : file_(file) {}
  std::vector<Entry> entries;
  std::map<std::string, std::string> metadata;

  bool start_object(std::size_t) override {
    if (place_ == Place::start) return enter(Place::names);
    if (place_ != Place::names) wrong_value();
    if (key_ == "__metadata__") return enter(Place::metadata);
    entries.push_back({key_, {}, nullptr, {}, {}});
    key_.clear();
    return enter(Place::tensor);
  }
  bool end_object() override {
    if (place_ == Place::tensor) finish(entries.back());
    return enter(place_ == Place::names ? Place::start : Place::names);
  }
  bool key(std::string& k) override {
    if (place_ == Place::names && !names_.insert(k).second) file_.fail("the header names \"" + k + "\" twice");
    if (place_ == Place::metadata && metadata.count(k) != 0)
      file_.fail("the header names \"" + k + "\" twice in __metadata__");
    if (place_ == Place::tensor) {
      const Entry& e = entries.back();
      if (k != "dtype" && k != "shape" && k != "data_offsets") fail("must have dtype, shape and data_offsets");
      if (k == "dtype" ? !e.dtype.empty() : k == "shape" ? e.shape.has_value() : !e.offsets.empty())
        fail("gives \"" + k + "\" twice");
    }
    key_ = k;
    return true;
  }
  bool string(std::string& s) override {
    if (place_ == Place::metadata) {
      metadata.emplace(key_, s);
    } else if (place_ == Place::tensor && key_ == "dtype") {
      if (s.empty()) wrong_value();
      entries.back().dtype = s;
      entries.back().element = io::find_element(&io::Element::safetensors, s);
    } else {
      wrong_value();
    }
    return true;
  }
  bool start_array(std::size_t) override {
    if (place_ != Place::tensor || key_ == "dtype") wrong_value();
    if (key_ == "shape") entries.back().shape.emplace();
    return enter(key_ == "shape" ? Place::shape : Place::offsets);
  }
  bool end_array() override {
    if (place_ == Place::offsets && entries.back().offsets.size() != 2) fail("has no pair of data_offsets");
    return enter(Place::tensor);
  }
  bool number_unsigned(std::uint64_t v) override {
    if (place_ != Place::shape && place_ != Place::offsets) wrong_value();
    if (v > static_cast<std::uint64_t>(INT64_MAX)) wrong_value();
    Entry& e = entries.back();
    if (place_ == Place::shape && e.shape->rank() == max_rank)
      fail("has no shape of at most " + std::to_string(max_rank) + " axes");
    if (place_ == Place::offsets && e.offsets.size() == 2) fail("has no pair of data_offsets");
    if (place_ == Place::shape)
      e.shape->push_back(static_cast<std::int64_t>(v));
    else
      e.offsets.push_back(static_cast<std::int64_t>(v));
    return true;
  }
  bool null() override { wrong_value(); }
  bool boolean(bool) override { wrong_value(); }
  bool number_integer(std::int64_t) override { wrong_value(); }
  bool number_float(double, const std::string&) override { wrong_value(); }
  bool binary(Json::binary_t&) override { wrong_value(); }
  bool parse_error(std::size_t, const std::string&, const Json::exception&) override {
    file_.fail("the header is no JSON");
  }

 private:
  enum class Place { start, names, metadata, tensor, shape, offsets };

  bool enter(Place place) {
    place_ = place;
    return true;
  }
  [[noreturn]] void fail(const std::string& what) const {
    file_.fail("tensor \"" + entries.back().name + "\" " + what);
  }
  [[noreturn]] void wrong_value() const {
    switch (place_) {
      case Place::metadata: file_.fail("__metadata__ holds something else than strings");
      case Place::shape:
      case Place::offsets: fail("has a size that is no natural number");
      case Place::tensor: fail("has an unexpected value for " + key_);
      default:
        if (key_ == "__metadata__") file_.fail("__metadata__ is no object");
        file_.fail("\"" + key_ + "\" must have dtype, shape and data_offsets");
    }
  }
  void finish(const Entry& e) const {
    if (e.dtype.empty() || !e.shape || e.offsets.empty()) fail("must have dtype, shape and data_offsets");
    const std::int64_t begin = e.offsets[0], end = e.offsets[1];
    if (begin > end) fail("ends before it begins");
    if (!e.element) return;
    const std::int64_t bytes = io::bytes_of(*e.element, *e.shape);
    if (bytes < 0) fail("has a shape whose bytes overflow 64 bits");
    if (end - begin != bytes)
      fail("has " + std::to_string(end - begin) + " bytes for " + e.shape->str() + " " + e.dtype);
  }

  const io::Input& file_;
  Place place_ = Place::start;
  std::string key_;
  std::set<std::string> names_;
};

/// The header's text, from a file that is no other known kind.
std::string header_of(const io::Input& file) {
  io::expect_kind(file, io::Kind::safetensors, "safetensors file");
  std::uint64_t bytes = 0;
  if (file.size() < 8)
    file.fail("is too short for a safetensors file: at least 8 bytes are expected, and it has " +
              std::to_string(file.size()));
  file.read(0, &bytes, 8);
  if (bytes > most_header)
    file.fail("claims a header of " + std::to_string(bytes) + " bytes; at most 100000000 are allowed");
  if (bytes > static_cast<std::uint64_t>(file.size() - 8))
    file.fail("claims a header of " + std::to_string(bytes) + " bytes and is only " + std::to_string(file.size()) +
              " long: it is cut off, or no safetensors file");
  std::string text(static_cast<std::size_t>(bytes), '\0');
  file.read(8, text.data(), static_cast<std::int64_t>(bytes));
  if (text.empty() || text[0] != '{') file.fail("is no safetensors file: the header does not begin with '{'");
  if (text.find('\0') != std::string::npos) file.fail("the header is no JSON");  // the parser would stop there
  return text;
}

/// Sorts the entries by place: they cover the data from first to last byte.
void check_places(const io::Input& file, std::vector<Entry>& entries, std::int64_t data_start) {
  std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) { return a.offsets < b.offsets; });
  std::int64_t covered = 0;
  for (const Entry& e : entries) {
    if (e.offsets[0] != covered)
      file.fail("tensor \"" + e.name + "\" " +
                (e.offsets[0] < covered ? "overlaps another one" : "leaves a hole before it"));
    covered = e.offsets[1];
  }
  const std::int64_t there = file.size() - data_start;
  if (covered == there) return;
  const std::string sizes = ": " + std::to_string(covered) + " bytes of tensors are expected behind the header, and " +
                            std::to_string(there) + " are there";
  file.fail((covered > there ? "is cut off" : "has bytes that belong to no tensor") + sizes);
}

std::uint32_t checksum_of(const std::map<std::string, std::string>& metadata, const std::string& marks) {
  std::uint32_t sum = io::crc32(0, marks.data(), static_cast<std::int64_t>(marks.size()));
  for (const auto& [key, value] : metadata)
    for (const std::string* text : {&key, &value})  // with the zero behind it
      sum = io::crc32(sum, text->c_str(), static_cast<std::int64_t>(text->size()) + 1);
  return sum;
}

/// Takes what save_safetensors() added out of the metadata, and returns the tensors' checksums in the order of their
/// names; none for a file of another program. With either key damaged, the other one tells.
std::vector<std::string> take_checksums(const io::Input& file, std::map<std::string, std::string>& metadata,
                                        std::size_t tensors) {
  const auto own = metadata.extract(metadata_key);
  const bool listed = metadata.count(checksums_key) != 0;
  if (own.empty() && !listed) return {};
  const std::string value = own.empty() ? "" : own.mapped();
  const std::string marks = value.substr(std::min<std::size_t>(value.size(), 8));
  if (!listed || value != io::hexadecimal(checksum_of(metadata, marks)) + marks)
    file.fail("is damaged: the checksum of its metadata does not fit");
  const std::string sums = metadata.extract(checksums_key).mapped();
  if (sums.size() != 8 * tensors)
    file.fail("is damaged: it has " + std::to_string(sums.size() / 8) + " checksums for " + std::to_string(tensors) +
              " tensors");
  if (marks == format_is_added) metadata.erase("format");
  std::vector<std::string> result;
  for (std::size_t i = 0; i < tensors; ++i) result.push_back(sums.substr(8 * i, 8));
  return result;
}

/// The checksum of bytes of the file, a piece at a time.
std::uint32_t checksum_of(const io::Input& file, std::int64_t offset, std::int64_t bytes, std::uint32_t sum) {
  std::vector<char> piece(static_cast<std::size_t>(std::min<std::int64_t>(bytes, 1 << 20)));
  while (bytes > 0) {
    const std::int64_t n = std::min(bytes, static_cast<std::int64_t>(piece.size()));
    file.read(offset, piece.data(), n);
    sum = io::crc32(sum, piece.data(), n);
    offset += n;
    bytes -= n;
  }
  return sum;
}

}  // namespace

SafetensorsFile load_safetensors(const std::string& path, Here here) { return load_safetensors(io::Input(path, here)); }

SafetensorsFile load_safetensors(const io::Input& file) {
  std::string text = header_of(file);
  const std::int64_t data_start = 8 + static_cast<std::int64_t>(text.size());
  HeaderReader header(file);
  Json::sax_parse(text, &header);
  std::string().swap(text);

  std::vector<Entry>& entries = header.entries;
  check_places(file, entries, data_start);
  SafetensorsFile result;
  result.metadata = std::move(header.metadata);
  const std::vector<std::string> checksums = take_checksums(file, result.metadata, entries.size());
  std::vector<std::size_t> by_name(checksums.empty() ? 0 : entries.size()), rank(by_name.size());
  std::iota(by_name.begin(), by_name.end(), std::size_t{0});
  std::sort(by_name.begin(), by_name.end(), [&](auto a, auto b) { return entries[a].name < entries[b].name; });
  for (std::size_t i = 0; i < by_name.size(); ++i) rank[by_name[i]] = i;

  for (std::size_t i = 0; i < entries.size(); ++i) {
    const Entry& e = entries[i];
    const std::int64_t offset = data_start + e.offsets[0];
    std::uint32_t sum = checksums.empty() ? 0 : io::crc32_of_header(e.name, e.dtype, *e.shape);
    io::Read read;
    if (e.element)
      read = io::read_elements(file, offset, *e.element, *e.shape, io::Order::little,
                               [&](const std::byte* bytes, std::int64_t n) {
                                 if (!checksums.empty()) sum = io::crc32(sum, bytes, n);
                               });
    else if (!checksums.empty())
      sum = checksum_of(file, offset, e.offsets[1] - e.offsets[0], sum);
    if (!checksums.empty() && io::hexadecimal(sum) != checksums[rank[i]])
      file.fail("tensor \"" + e.name + "\" is damaged: its checksum does not fit");
    if (read.tensor.defined())
      result.tensors.emplace(e.name, std::move(read.tensor));
    else if (e.element && e.element->dtype == DType::boolean)
      file.fail("tensor \"" + e.name + "\" " + read.fault);
    else
      result.unreadable.emplace(e.name, e.dtype);
  }
  return result;
}

namespace {

/// The tensors in the order of the file: wide elements first, so that each begins at a multiple of its size; by name if
/// equal.
std::vector<std::pair<std::string, Tensor>> ordered(const std::map<std::string, Tensor>& tensors, Here here) {
  std::vector<std::pair<std::string, Tensor>> result;
  for (const auto& [name, t] : tensors) {
    if (!t.defined()) throw ValueError("save_safetensors: tensor \"" + name + "\" is undefined", here);
    if (name == "__metadata__") throw ValueError("save_safetensors: a tensor cannot be named __metadata__", here);
    result.emplace_back(name, t);
  }
  std::stable_sort(result.begin(), result.end(),
                   [](const auto& a, const auto& b) { return size_of(a.second.dtype()) > size_of(b.second.dtype()); });
  return result;
}

/// The user's metadata with the format and the checksums.
std::map<std::string, std::string> whole_metadata(const std::map<std::string, Tensor>& tensors,
                                                  std::map<std::string, std::string> metadata, Here here) {
  for (const auto& [key, value] : metadata)
    if (key.starts_with(checksums_key))
      throw ValueError("save_safetensors: metadata named \"" + key + "\" are the file's own", here);
  const std::string marks = metadata.emplace("format", "pt").second ? format_is_added : "";
  std::string& sums = metadata[checksums_key];
  const NoGrad off;
  for (const auto& [name, t] : tensors) {
    const io::Element& element = io::element_of(t.dtype());
    const Tensor dense = contiguous(t, here);
    sums += io::hexadecimal(io::crc32(io::crc32_of_header(name, element.safetensors, t.shape()), dense.raw(),
                                      dense.numel() * element.bytes));
  }
  metadata[metadata_key] = io::hexadecimal(checksum_of(metadata, marks)) + marks;
  return metadata;
}

}  // namespace

void save_safetensors(const std::string& path, const std::map<std::string, Tensor>& tensors,
                      const std::map<std::string, std::string>& metadata, Here here) {
  const std::vector<std::pair<std::string, Tensor>> in_order = ordered(tensors, here);
  const Frame frame("save_safetensors", here);
  std::string text = "{";
  try {
    text += "\"__metadata__\":" + Json(whole_metadata(tensors, metadata, here)).dump();
    std::int64_t offset = 0;
    for (const auto& [name, t] : in_order) {
      const io::Element& element = io::element_of(t.dtype());
      const std::int64_t end = offset + t.numel() * element.bytes;
      text += ',' + Json(name).dump() + ":{\"dtype\":\"" + element.safetensors + "\",\"shape\":[";
      for (int i = 0; i < t.rank(); ++i) text += (i ? "," : "") + std::to_string(t.shape()[i]);
      text += "],\"data_offsets\":[" + std::to_string(offset) + "," + std::to_string(end) + "]}";
      offset = end;
    }
  } catch (const Json::exception&) {
    throw ValueError("save_safetensors: a name or metadata is no UTF-8", here);
  }
  text += '}';
  text.resize((text.size() + 7) / 8 * 8, ' ');
  const auto header_bytes = static_cast<std::uint64_t>(text.size());
  if (header_bytes > most_header)
    throw ValueError("save_safetensors: names and metadata take more than 100000000 bytes", here);
  io::write_atomically(
      path,
      [&](const io::Sink& sink) {
        sink(&header_bytes, 8);
        sink(text.data(), static_cast<std::int64_t>(text.size()));
        for (const auto& [name, t] : in_order) io::write_elements(sink, t);
      },
      here);
}

}  // namespace attune
