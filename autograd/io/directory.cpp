#include "autograd/io/directory.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>
#include <utility>

#include "autograd/io/internal/temporary.h"
#include "autograd/runtime/error.h"

namespace attune::io {

namespace {

[[noreturn]] void refuse(const std::string& directory, const std::string& what, Here here) {
  throw FileError(directory + ": " + what, here);
}
std::string reason() { return std::strerror(errno); }

void check_directory(const std::string& directory, Here here) {
  if (directory.find('\0') != std::string::npos) refuse(directory.c_str(), "the path goes on behind a zero byte", here);
  struct stat info {};
  if (::stat(directory.c_str(), &info) != 0) refuse(directory, "cannot be opened: " + reason(), here);
  if (!S_ISDIR(info.st_mode)) refuse(directory, "is no directory", here);
}

/// A file is the lock's own if it holds nothing, or a process number in a line; `number` gets it.
bool own(int descriptor, std::string& number) {
  char text[32];
  const ssize_t n = ::pread(descriptor, text, sizeof text, 0);
  if (n < 0) return false;
  number.assign(text, static_cast<std::size_t>(n));
  if (number.empty()) return true;
  if (number.back() != '\n') return false;
  number.pop_back();
  return !number.empty() && number.find_first_not_of("0123456789") == std::string::npos;
}

bool same_file(const struct stat& a, const struct stat& b) { return a.st_dev == b.st_dev && a.st_ino == b.st_ino; }

}  // namespace

DirectoryLock::DirectoryLock(const std::string& directory, Here here) : path_(directory + "/.attune.lock") {
  check_directory(directory, here);
  for (;;) {
    const int d = ::open(path_.c_str(), O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC, 0666);
    if (d < 0 && errno == ELOOP) refuse(directory, ".attune.lock there is a link, which is not followed", here);
    if (d < 0) refuse(directory, "cannot be locked: .attune.lock cannot be written: " + reason(), here);
    struct stat info {
    }, there{};
    std::string number;
    std::string fault;
    if (::fstat(d, &info) != 0 || !S_ISREG(info.st_mode) || info.st_nlink > 1 || !own(d, number))
      fault = ".attune.lock there is some other file, which is left alone";
    else if (::flock(d, LOCK_EX | LOCK_NB) != 0 && errno != ENOLCK && errno != EOPNOTSUPP && errno != ENOSYS)
      // (A file system without locks keeps nobody out, but results can be written there.)
      fault = errno == EWOULDBLOCK ? "is in use by another run" + (number.empty() ? "" : " (process " + number + ")")
                                   : "cannot be locked: " + reason();
    if (!fault.empty()) {
      ::close(d);
      refuse(directory, fault, here);
    }
    // Whoever held it before may have deleted the file since it was opened: then this is a lock that nobody sees.
    if (::lstat(path_.c_str(), &there) != 0 || ::fstat(d, &info) != 0 || !same_file(info, there)) {
      ::close(d);
      continue;
    }
    number = std::to_string(::getpid()) + "\n";
    // The number is for messages; a full disk shows in what the program writes.
    static_cast<void>(::ftruncate(d, 0) == 0 && ::pwrite(d, number.data(), number.size(), 0) > 0);
    descriptor_ = d;
    process_ = ::getpid();
    return;
  }
}

DirectoryLock::~DirectoryLock() {
  if (descriptor_ < 0) return;
  struct stat held {
  }, there{};
  if (process_ == ::getpid() && ::fstat(descriptor_, &held) == 0 && ::lstat(path_.c_str(), &there) == 0 &&
      same_file(held, there))
    ::unlink(path_.c_str());  // while it is locked, so that nobody can lock what is deleted unawares
  ::close(descriptor_);
}

DirectoryLock::DirectoryLock(DirectoryLock&& other) noexcept
    : path_(std::move(other.path_)), descriptor_(std::exchange(other.descriptor_, -1)), process_(other.process_) {}

DirectoryLock& DirectoryLock::operator=(DirectoryLock&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(descriptor_, other.descriptor_);
  std::swap(process_, other.process_);
  return *this;
}

void check_writable(const std::string& directory, Here here) {
  check_directory(directory, here);
  const std::string path = directory + "/.attune-probe";
  remove_stale(path);
  const Temporary probe(path, 0600);
  if (probe.descriptor() < 0) refuse(directory, "cannot be written: " + reason(), here);
  ssize_t written = 0;
  do written = ::write(probe.descriptor(), "?", 1);
  while (written < 0 && errno == EINTR);
  if (written != 1 || ::fsync(probe.descriptor()) != 0) refuse(directory, "cannot be written: " + reason(), here);
}

}  // namespace attune::io
