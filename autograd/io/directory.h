// Directories that a program writes its results into: whether it can, and whether it is alone there.
#pragma once

#include <string>

#include "autograd/runtime/here.h"

namespace attune::io {

/// Keeps other programs that ask for it out of a directory, while it lives and no longer: the system gives the lock
/// back when its process ends, however that ends, so a run that was killed keeps nobody out. The lock is on a file
/// `.attune.lock` with the process's number in it, which goes with the lock; links are not followed and nobody's file
/// is changed. A second lock, by this process too, throws FileError with the directory and the number of the process
/// that holds the first; so does a directory that is not there or cannot be written.
class DirectoryLock {
 public:
  explicit DirectoryLock(const std::string& directory, Here here = Here::current());
  ~DirectoryLock();
  DirectoryLock(DirectoryLock&& other) noexcept;
  DirectoryLock& operator=(DirectoryLock&& other) noexcept;

 private:
  std::string path_;
  int descriptor_ = -1;
  int process_ = 0;  // a child that was forked leaves the lock to its parent
};

/// Throws FileError unless a file can be made and written in `directory`. Tried with a file of a name that nobody has,
/// which is gone afterwards.
void check_writable(const std::string& directory, Here here = Here::current());

}  // namespace attune::io
