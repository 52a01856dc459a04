// Whole files: read with their size checked, written all or not at all. Everything that goes wrong throws FileError
// with the path and the reason.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>

#include "autograd/runtime/frame.h"

namespace attune::io {

/// Bytes to read: of a regular file, or in memory. While it is there, errors from below (an exhausted memory budget)
/// name it.
class Input {
 public:
  /// Opens a file. A directory, a pipe or a device is refused, and never waited for.
  explicit Input(const std::string& path, Here here = Here::current());
  /// Bytes in memory, which must stay there; `name` stands for the path in errors.
  Input(std::string name, std::span<const std::byte> bytes, Here here = Here::current());
  /// `size` bytes that `read` supplies; it is asked only for what lies inside.
  using Reader = std::function<void(std::int64_t offset, void* to, std::int64_t bytes)>;
  Input(std::string name, std::int64_t size, Reader read, Here here = Here::current());
  ~Input();
  Input(const Input&) = delete;
  Input& operator=(const Input&) = delete;
  const std::string& path() const { return path_; }
  Here here() const { return here_; }
  std::int64_t size() const { return size_; }
  void read(std::int64_t offset, void* to, std::int64_t bytes) const;  ///< all of them, or FileError
  std::string read_all(std::int64_t most_bytes) const;                 ///< or FileError, if there are more
  [[noreturn]] void fail(const std::string& what) const;

 private:
  std::string path_;
  Here here_;
  Frame frame_;
  int descriptor_ = -1;
  Reader reader_;
  std::int64_t size_ = 0;
};

/// A whole text, such as a configuration. More than `most_bytes`, a directory, a pipe: FileError.
std::string read_text(const std::string& path, std::int64_t most_bytes = std::int64_t{1} << 26,
                      Here here = Here::current());

/// Calls `write` with a sink for the bytes of a temporary file beside `path`, syncs it, renames it to `path` and syncs
/// the directory; what dead processes left of such files for `path` is deleted first. Until the rename the old file
/// stays as it was; if anything fails (also if `write` throws), the temporary file goes. The new file has the old one's
/// permissions; a symbolic link stays, its target is replaced.
using Sink = std::function<void(const void* data, std::int64_t bytes)>;
void write_atomically(const std::string& path, const std::function<void(const Sink&)>& write,
                      Here here = Here::current());
void write_text(const std::string& path, const std::string& text, Here here = Here::current());

}  // namespace attune::io
