// Temporary files beside the file that they will replace, and what dead processes left of them.
#pragma once

#include <sys/types.h>

#include <string>

namespace attune::io {

/// A new file `PATH.PID-N.tmp`, open for writing and locked; it is deleted again unless it got its final name. Nothing
/// that was there is opened: no link is followed, no other file emptied.
class Temporary {
 public:
  /// `descriptor()` is -1, and errno says why, if there can be no such file. The system applies the umask to `mode`.
  Temporary(const std::string& path, mode_t mode);
  ~Temporary();
  Temporary(const Temporary&) = delete;
  Temporary& operator=(const Temporary&) = delete;

  int descriptor() const { return descriptor_; }
  const std::string& name() const { return name_; }
  void renamed() { name_.clear(); }  ///< it has its final name and stays

 private:
  std::string name_;
  int descriptor_ = -1;
};

/// Deletes the temporary files for `path` whose processes are gone: regular files of this user, named as above, by a
/// process number that nobody has, or that somebody got after the file was last written, and locked by nobody (a writer
/// in another process namespace, whose number means nothing here, holds its lock). Whatever fails is left as it is.
void remove_stale(const std::string& path) noexcept;

/// The directory of a path, with its slash; "." if it has none.
std::string directory_of(const std::string& path);

}  // namespace attune::io
