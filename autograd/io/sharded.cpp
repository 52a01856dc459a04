#include <fmt/format.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "autograd/io/internal/kind.h"
#include "autograd/io/safetensors.h"
#include "autograd/runtime/error.h"

namespace attune {

namespace {

using Json = nlohmann::json;
constexpr std::int64_t most_index = 100'000'000;

/// Takes {"metadata": {...}, "weight_map": {"NAME": "FILE", ...}} as the parser meets it; no document is built.
class IndexReader final : public Json::json_sax_t {
 public:
  explicit IndexReader(const io::Input& file) : file_(file) {}
  std::map<std::string, std::string> places, metadata;
  bool has_map = false;

  bool start_object(std::size_t) override {
    if (in_map_) value(nullptr);
    if (depth_ == 1 && key_ == "weight_map" && std::exchange(has_map, true)) file_.fail("has two weight maps");
    if (depth_ == 1) {
      in_map_ = key_ == "weight_map";
      in_metadata_ = key_ == "metadata";
    }
    return enter();
  }
  bool end_object() override {
    if (--depth_ == 1) in_map_ = in_metadata_ = false;
    return true;
  }
  bool start_array(std::size_t) override {
    value(nullptr);
    return enter();
  }
  bool end_array() override {
    --depth_;
    return true;
  }
  bool key(std::string& k) override {
    key_ = k;
    return true;
  }
  bool string(std::string& s) override { return value(&s); }
  bool number_unsigned(std::uint64_t v) override { return other(std::to_string(v)); }
  bool number_integer(std::int64_t v) override { return other(std::to_string(v)); }
  bool number_float(double, const std::string& text) override { return other(text); }
  bool boolean(bool v) override { return other(v ? "true" : "false"); }
  bool null() override { return other("null"); }
  bool binary(Json::binary_t&) override { return value(nullptr); }
  bool parse_error(std::size_t, const std::string&, const Json::exception&) override { file_.fail("is no JSON"); }

 private:
  bool enter() {
    if (++depth_ > 64) file_.fail("is nested too deeply");
    return true;
  }
  bool other(const std::string& text) { return value(in_map_ ? nullptr : &text); }
  bool value(const std::string* text) {
    if (depth_ == 1 && key_ == "weight_map") file_.fail("has a weight_map that is no object");
    if (in_map_) {
      if (!text) file_.fail("names no file for \"" + key_ + "\"");
      if (!places.emplace(key_, *text).second) file_.fail("names \"" + key_ + "\" twice");
    } else if (text && in_metadata_ && depth_ == 2) {
      metadata[key_] = *text;
    }
    return true;
  }

  const io::Input& file_;
  std::string key_;
  int depth_ = 0;
  bool in_map_ = false, in_metadata_ = false;
};

/// A file name may go down from the index's folder, not up and not elsewhere.
void check_relative(const io::Input& index, const std::string& file) {
  const std::filesystem::path path(file);
  bool inside = !file.empty() && !path.is_absolute() && path.has_filename() && file.find('\0') == std::string::npos &&
                file.find('\\') == std::string::npos;
  for (const auto& part : path) inside = inside && part != ".." && part != ".";
  if (!inside) index.fail("names a file outside of its folder: \"" + file.substr(0, 200) + "\"");
}

/// Adds what a shard holds to the whole.
void merge(const std::string& path, const std::string& file, TensorFile&& shard, TensorFile& whole) {
  const auto fail = [&](const std::string& name) {
    throw FileError(path + ": tensor \"" + name + "\" is in another file of the model, too");
  };
  for (auto& [name, tensor] : shard.tensors)
    if (whole.unreadable.count(name) != 0 || !whole.tensors.emplace(name, std::move(tensor)).second) fail(name);
  for (auto& [name, dtype] : shard.unreadable)
    if (whole.tensors.count(name) != 0 || !whole.unreadable.emplace(name, std::move(dtype)).second) fail(name);
  for (auto& [key, value] : shard.metadata) {
    const auto [at, fresh] = whole.metadata.emplace(key, value);
    if (!fresh && at->second != value) whole.metadata[fmt::format("{}: {}", file, key)] = std::move(value);
  }
}

}  // namespace

TensorFile load_sharded_safetensors(const std::string& index_path, Here here) {
  const io::Input file(index_path, here);
  io::expect_kind(file, io::Kind::shard_index, "index of safetensors files");
  const std::string text = file.read_all(most_index);
  if (text.find('\0') != std::string::npos) file.fail("is no JSON");  // the parser would stop there
  IndexReader index(file);
  Json::sax_parse(text, &index);
  if (!index.has_map) file.fail("is no index of safetensors files: it has no weight_map");
  std::set<std::string> shards;
  for (const auto& [name, shard] : index.places) shards.insert(shard);
  for (const std::string& shard : shards) check_relative(file, shard);

  TensorFile whole;
  whole.metadata = std::move(index.metadata);
  const std::filesystem::path folder = std::filesystem::path(index_path).parent_path();
  for (const std::string& shard : shards) {
    const std::string path = (folder / shard).string();
    TensorFile part = load_safetensors(path, here);
    for (const auto& [name, place] : index.places)
      if (place == shard && part.tensors.count(name) == 0 && part.unreadable.count(name) == 0)
        file.fail(fmt::format("places tensor \"{}\" in {}, which does not have it", name, shard));
    merge(path, shard, std::move(part), whole);
  }
  return whole;
}

}  // namespace attune
