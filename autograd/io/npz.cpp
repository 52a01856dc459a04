#include <string_view>
#include <utility>

#include "autograd/io/internal/elements.h"
#include "autograd/io/internal/kind.h"
#include "autograd/io/internal/npy_array.h"
#include "autograd/io/internal/zip.h"
#include "autograd/io/npy.h"
#include "autograd/runtime/error.h"

namespace attune {

TensorFile load_npz(const std::string& path, Here here) { return load_npz(io::Input(path, here)); }

TensorFile load_npz(const io::Input& file) {
  const io::Kind kind = io::kind_of(file);
  // An archive of no arrays, or one that is damaged, is looked into.
  if (kind != io::Kind::other_zip && kind != io::Kind::unknown) io::expect_kind(file, io::Kind::npz, ".npz file");
  const io::ZipReader zip(file);
  TensorFile result;
  for (const io::ZipEntry& entry : zip.entries()) {
    if (entry.name.ends_with('/')) continue;  // a folder
    std::string name = entry.name;
    if (!name.ends_with(".npy")) {
      result.unreadable.emplace(std::move(name), "no array");
      continue;
    }
    name.resize(name.size() - 4);
    const io::Input member(file.path() + ": " + entry.name, entry.size, zip.reader(entry), file.here());
    io::NpyArray array = io::read_npy(member);
    if (array.tensor.defined())
      result.tensors.emplace(std::move(name), std::move(array.tensor));
    else if (array.fault && array.code.ends_with("b1"))
      member.fail(array.fault);
    else
      result.unreadable.emplace(std::move(name), std::move(array.code));
  }
  return result;
}

void save_npz(const std::string& path, const std::map<std::string, Tensor>& tensors, const NpzOptions& options,
              Here here) {
  for (const auto& [name, t] : tensors) {
    if (!t.defined()) throw ValueError("save_npz: tensor \"" + name + "\" is undefined", here);
    if (name.empty() || name.size() > 65'000 || name.find('\0') != std::string::npos)
      throw ValueError("save_npz: a name is empty, longer than 65000 bytes, or has a zero byte", here);
  }
  io::write_atomically(
      path,
      [&](const io::Sink& sink) {
        io::ZipWriter zip(sink);
        for (const auto& [name, t] : tensors) {
          const std::string header = io::npy_header(t);
          const std::int64_t bytes =
              static_cast<std::int64_t>(header.size()) + t.numel() * io::element_of(t.dtype()).bytes;
          zip.add(name + ".npy", bytes, options.compress, [&, &t = t](const io::Sink& member) {
            member(header.data(), static_cast<std::int64_t>(header.size()));
            io::write_elements(member, t);
          });
        }
        zip.finish();
      },
      here);
}

}  // namespace attune
