#include "autograd/io/internal/kind.h"

#include <algorithm>
#include <string>
#include <string_view>

#include "autograd/io/internal/zip.h"
#include "autograd/runtime/error.h"

namespace attune::io {

namespace {

using namespace std::string_view_literals;

constexpr std::int64_t most_index = 1 << 20;

Kind kind_of_zip(const Input& file) {
  try {
    const ZipReader zip(file);
    Kind kind = Kind::other_zip;
    for (const ZipEntry& e : zip.entries()) {
      const std::string_view name = e.name;
      if (name.ends_with("/constants.pkl")) return Kind::torchscript;
      if (name == "data.pkl" || name.ends_with("/data.pkl")) kind = Kind::pytorch;
      if (name.ends_with(".npy") && kind == Kind::other_zip) kind = Kind::npz;
    }
    return kind;
  } catch (const FileError&) {
    return Kind::other_zip;
  }
}

bool begins(std::string_view text, std::string_view lower) {
  return text.size() >= lower.size() && std::equal(lower.begin(), lower.end(), text.begin(), [](char a, char b) {
           return a == (b >= 'A' && b <= 'Z' ? b - 'A' + 'a' : b);
         });
}

Kind kind_of_text(const Input& file, std::string_view start) {
  if (start.starts_with("\xef\xbb\xbf")) start.remove_prefix(3);
  start.remove_prefix(std::min(start.find_first_not_of(" \t\r\n"), start.size()));
  if (begins(start, "<!doctype") || begins(start, "<html") || begins(start, "<?xml") || begins(start, "<head"))
    return Kind::html;
  if (!start.starts_with('{') && !start.starts_with('[')) return Kind::unknown;
  std::string text(static_cast<std::size_t>(std::min(file.size(), most_index)), '\0');
  file.read(0, text.data(), static_cast<std::int64_t>(text.size()));
  return text.find("\"weight_map\"") != std::string::npos ? Kind::shard_index : Kind::other_json;
}

}  // namespace

Kind kind_of(const Input& file) {
  char bytes[512];
  const std::string_view start(bytes, static_cast<std::size_t>(std::min<std::int64_t>(file.size(), sizeof bytes)));
  if (start.empty()) return Kind::nothing;
  file.read(0, bytes, static_cast<std::int64_t>(start.size()));
  // A header has less than 2^32 bytes, so that the upper half of its size is zero.
  if (start.size() > 8 && start.substr(4, 4) == "\0\0\0\0"sv && start[8] == '{') return Kind::safetensors;
  if (start.starts_with("\x93NUMPY")) return Kind::npy;
  if (start.starts_with("PK\3\4") || start.starts_with("PK\5\6")) return kind_of_zip(file);
  if (start.starts_with("version https://git-lfs")) return Kind::lfs_pointer;
  if (start.starts_with("GGUF") || start.starts_with("FUGG")) return Kind::gguf;
  // PyTorch's number, as the pickle it begins with has it.
  if (start.size() > 14 && start[0] == '\x80' &&
      start.substr(2, 12) == "\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19"sv)
    return Kind::old_pytorch;
  if (start.size() > 2 && start[0] == '\x80' && start[1] >= 2 && start[1] <= 5) return Kind::pickle;
  if (start.starts_with("\x1f\x8b")) return Kind::gzip;
  if (start.starts_with("\x89HDF\r\n")) return Kind::hdf5;
  return kind_of_text(file, start);
}

const char* describe(Kind kind) {
  switch (kind) {
    case Kind::unknown: return "";
    case Kind::nothing: return "empty";
    case Kind::safetensors: return "a safetensors file, which load_safetensors() reads";
    case Kind::npy: return "a numpy array (.npy), which load_npy() reads";
    case Kind::npz: return "an archive of numpy arrays (.npz), which load_npz() reads";
    case Kind::pytorch: return "a PyTorch checkpoint (a zip of a pickle and storages), which load_pytorch() reads";
    case Kind::torchscript: return "a TorchScript program, which would have to be run: save its state_dict() instead";
    case Kind::other_zip: return "a zip archive that is neither a PyTorch checkpoint nor .npz, or is damaged";
    case Kind::shard_index:
      return "the index of a model in several safetensors files, which load_sharded_safetensors() reads";
    case Kind::other_json: return "a JSON text";
    case Kind::lfs_pointer: return "a Git LFS pointer to the file, which is still to be fetched (git lfs pull)";
    case Kind::html: return "an HTML or XML page, as a server sends in a file's place";
    case Kind::gguf: return "a GGUF file (llama.cpp)";
    case Kind::old_pytorch:
      return "a PyTorch checkpoint of the form before version 1.6: load it there and save it again";
    case Kind::pickle: return "a Python pickle, which would have to be run";
    case Kind::gzip: return "compressed by gzip";
    case Kind::hdf5: return "an HDF5 file";
  }
  return "";
}

void expect_kind(const Input& file, Kind wanted, const char* expected) {
  const Kind kind = kind_of(file);
  if (kind != wanted && kind != Kind::unknown) file.fail(std::string("is no ") + expected + " but " + describe(kind));
}

}  // namespace attune::io
