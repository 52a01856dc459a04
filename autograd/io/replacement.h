// A file that is written bit by bit, and is there when it is whole.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "autograd/runtime/here.h"

namespace attune::io {

class Temporary;

/// What will stand in the place of `path`: bytes for a temporary file, which takes the name when all are there
/// (io::write_atomically() says how) and goes if it never does. Everything that fails throws FileError.
class Replacement {
 public:
  explicit Replacement(const std::string& path, Here here = Here::current());
  ~Replacement();
  Replacement(Replacement&&) noexcept;
  void append(const void* data, std::int64_t bytes);
  /// Over what was appended before.
  void overwrite(std::int64_t offset, const void* data, std::int64_t bytes);
  /// Syncs the file and gives it its name; once, after which nothing is written.
  void finish();

 private:
  std::string path_;  ///< of the target, if it was a symbolic link
  Here here_;
  unsigned old_mode_ = 0;
  bool replaces_ = false;
  std::unique_ptr<Temporary> file_;
};

}  // namespace attune::io
