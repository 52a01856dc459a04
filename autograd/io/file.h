// Whole files: read with their size checked, written all or not at all. Everything that goes wrong throws FileError
// with the path and the reason.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "autograd/runtime/frame.h"

namespace attune::io {

/// A regular file open for reading. While it is, errors from below (an exhausted memory budget) name it.
class Input {
 public:
  Input(const std::string& path, Here here);
  ~Input();
  Input(const Input&) = delete;
  Input& operator=(const Input&) = delete;
  std::int64_t size() const { return size_; }
  void read(std::int64_t offset, void* to, std::int64_t bytes) const;  ///< all of them, or FileError
  [[noreturn]] void fail(const std::string& what) const;

 private:
  std::string path_;
  Here here_;
  Frame frame_;
  int descriptor_ = -1;
  std::int64_t size_ = 0;
};

/// Calls `write` with a sink for the bytes of a temporary file beside `path`, syncs it, renames it to `path` and syncs
/// the directory. Until the rename the old file stays as it was; if anything fails (also if `write` throws), the
/// temporary file goes. The new file has the old one's permissions; a symbolic link stays, its target is replaced.
using Sink = std::function<void(const void* data, std::int64_t bytes)>;
void write_atomically(const std::string& path, const std::function<void(const Sink&)>& write,
                      Here here = Here::current());
void write_text(const std::string& path, const std::string& text, Here here = Here::current());

}  // namespace attune::io
