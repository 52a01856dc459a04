#include "autograd/io/safetensors.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "autograd/io/file.h"
#include "autograd/io/internal/elements.h"
#include "autograd/runtime/error.h"

namespace attune {

namespace {

using Json = nlohmann::json;
constexpr std::uint64_t most_header = 100'000'000;

struct Entry {
  std::string name;
  const io::Element* element = nullptr;
  std::optional<Shape> shape;
  std::vector<std::int64_t> offsets;  // begin and end
};

/// Takes the header as the parser meets it and refuses whatever the format does not have at that place. No document is
/// built: nesting is bounded, and so is the memory by the header's own size.
class HeaderReader final : public Json::json_sax_t {
 public:
  HeaderReader(const io::Input& file, std::int64_t data_bytes) : file_(file), data_bytes_(data_bytes) {}
  std::vector<Entry> entries;
  std::map<std::string, std::string> metadata;

  bool start_object(std::size_t) override {
    if (place_ == Place::start) return enter(Place::names);
    if (place_ != Place::names) wrong_value();
    if (key_ == "__metadata__") return enter(Place::metadata);
    entries.push_back({key_, nullptr, {}, {}});
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
      if (k == "dtype" ? e.element != nullptr : k == "shape" ? e.shape.has_value() : !e.offsets.empty())
        fail("gives \"" + k + "\" twice");
    }
    key_ = k;
    return true;
  }
  bool string(std::string& s) override {
    if (place_ == Place::metadata) {
      metadata.emplace(key_, s);
    } else if (place_ == Place::tensor && key_ == "dtype") {
      for (const io::Element& e : io::elements())
        if (s == e.safetensors) entries.back().element = &e;
      if (!entries.back().element) fail("has an unknown dtype \"" + s + "\"");
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
    if (!e.element || !e.shape || e.offsets.empty()) fail("must have dtype, shape and data_offsets");
    const std::int64_t bytes = io::bytes_of(*e.element, *e.shape), begin = e.offsets[0], end = e.offsets[1];
    if (bytes < 0) fail("has a shape whose bytes overflow 64 bits");
    if (begin > end || end > data_bytes_) fail("lies outside of the data");
    if (end - begin != bytes)
      fail("has " + std::to_string(end - begin) + " bytes for " + e.shape->str() + " " + e.element->safetensors);
  }

  const io::Input& file_;
  std::int64_t data_bytes_;
  Place place_ = Place::start;
  std::string key_;
  std::set<std::string> names_;
};

}  // namespace

SafetensorsFile load_safetensors(const std::string& path, Here here) {
  const io::Input file(path, here);
  std::uint64_t header_bytes = 0;
  if (file.size() < 8) file.fail("is too short for a safetensors file");
  file.read(0, &header_bytes, 8);
  if (header_bytes > most_header)
    file.fail("claims a header of " + std::to_string(header_bytes) + " bytes; at most 100000000 are allowed");
  const std::int64_t data_start = 8 + static_cast<std::int64_t>(header_bytes);
  if (data_start > file.size())
    file.fail("claims a header of " + std::to_string(header_bytes) + " bytes and is only " +
              std::to_string(file.size()) + " long");
  std::string text(static_cast<std::size_t>(header_bytes), '\0');
  file.read(8, text.data(), static_cast<std::int64_t>(header_bytes));
  if (text.empty() || text[0] != '{') file.fail("is no safetensors file: the header does not begin with '{'");
  if (text.find('\0') != std::string::npos) file.fail("the header is no JSON");  // the parser would stop there
  HeaderReader header(file, file.size() - data_start);
  Json::sax_parse(text, &header);
  std::string().swap(text);

  std::vector<Entry>& entries = header.entries;
  std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) { return a.offsets < b.offsets; });
  std::int64_t covered = 0;
  for (const Entry& e : entries) {
    if (e.offsets[0] != covered)
      file.fail("tensor \"" + e.name + "\" " +
                (e.offsets[0] < covered ? "overlaps another one" : "leaves a hole before it"));
    covered = e.offsets[1];
  }
  if (covered != file.size() - data_start) file.fail("has bytes that belong to no tensor");
  SafetensorsFile result;
  result.metadata = std::move(header.metadata);
  for (const Entry& e : entries)
    result.tensors.emplace(
        e.name, io::read_elements(file, data_start + e.offsets[0], *e.element, *e.shape, "tensor \"" + e.name + "\" "));
  return result;
}

void save_safetensors(const std::string& path, const std::map<std::string, Tensor>& tensors,
                      const std::map<std::string, std::string>& metadata, Here here) {
  // Wide elements first, so that each begins at a multiple of its size; by name if equal.
  std::vector<std::pair<std::string, Tensor>> ordered;
  for (const auto& [name, t] : tensors) {
    if (!t.defined()) throw ValueError("save_safetensors: tensor \"" + name + "\" is undefined", here);
    if (name == "__metadata__") throw ValueError("save_safetensors: a tensor cannot be named __metadata__", here);
    ordered.emplace_back(name, t);
  }
  std::stable_sort(ordered.begin(), ordered.end(),
                   [](const auto& a, const auto& b) { return size_of(a.second.dtype()) > size_of(b.second.dtype()); });
  std::string text = "{";
  try {
    if (!metadata.empty()) text += "\"__metadata__\":" + Json(metadata).dump();
    std::int64_t offset = 0;
    for (const auto& [name, t] : ordered) {
      const io::Element& element = io::element_of(t.dtype());
      const std::int64_t end = offset + t.numel() * element.bytes;
      if (text.size() > 1) text += ',';
      text += Json(name).dump() + ":{\"dtype\":\"" + element.safetensors + "\",\"shape\":[";
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
        for (const auto& [name, t] : ordered) io::write_elements(sink, t);
      },
      here);
}

}  // namespace attune
