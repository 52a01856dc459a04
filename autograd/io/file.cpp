#include "autograd/io/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "autograd/runtime/error.h"

namespace attune::io {

namespace {

[[noreturn]] void fail_with(const std::string& path, const std::string& what, Here here) {
  throw FileError(path + ": " + what, here);
}
std::string reason() { return std::strerror(errno); }

constexpr std::int64_t most_at_once = 1 << 30;  // Linux moves at most 2 GiB in one call

}  // namespace

Input::Input(const std::string& path, Here here) : path_(path), here_(here) {
  // Non-blocking, so that a pipe is refused instead of waited for.
  descriptor_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (descriptor_ < 0) fail("cannot be opened: " + reason());
  struct stat info {};
  const bool known = ::fstat(descriptor_, &info) == 0;
  if (!known || !S_ISREG(info.st_mode)) {
    const std::string what = known ? "is not a regular file" : "cannot be examined: " + reason();
    ::close(descriptor_);
    fail(what);
  }
  size_ = info.st_size;
}

Input::~Input() { ::close(descriptor_); }

void Input::fail(const std::string& what) const { fail_with(path_, what, here_); }

void Input::read(std::int64_t offset, void* to, std::int64_t bytes) const {
  auto* at = static_cast<char*>(to);
  while (bytes > 0) {
    const ssize_t got = ::pread(descriptor_, at, static_cast<std::size_t>(std::min(bytes, most_at_once)), offset);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) fail("cannot be read: " + reason());
    if (got == 0) fail("ends too early");
    at += got;
    offset += got;
    bytes -= got;
  }
}

void write_atomically(const std::string& path, const std::function<void(const Sink&)>& write, Here here) {
  struct Temporary {
    std::string name;
    int descriptor = -1;
    bool kept = false;
    ~Temporary() {
      if (descriptor >= 0) ::close(descriptor);
      if (!kept && !name.empty()) ::unlink(name.c_str());
    }
  } file;
  struct stat info {};
  if (::stat(path.c_str(), &info) == 0 && !S_ISREG(info.st_mode)) fail_with(path, "is not a regular file", here);
  std::string pattern = path + ".XXXXXX";
  file.descriptor = ::mkostemp(pattern.data(), O_CLOEXEC);
  if (file.descriptor < 0) fail_with(path, "cannot be written: " + reason(), here);
  file.name = pattern;
  write([&](const void* data, std::int64_t bytes) {
    const auto* at = static_cast<const char*>(data);
    while (bytes > 0) {
      const ssize_t done = ::write(file.descriptor, at, static_cast<std::size_t>(std::min(bytes, most_at_once)));
      if (done < 0 && errno == EINTR) continue;
      if (done < 0) fail_with(path, "cannot be written: " + reason(), here);
      at += done;
      bytes -= done;
    }
  });
  const mode_t mask = ::umask(0);
  ::umask(mask);
  ::fchmod(file.descriptor, 0666 & ~mask);
  if (::fsync(file.descriptor) != 0) fail_with(path, "cannot be synced: " + reason(), here);
  if (::rename(file.name.c_str(), path.c_str()) != 0) fail_with(path, "cannot be replaced: " + reason(), here);
  file.kept = true;
  const std::size_t slash = path.rfind('/');
  const std::string directory = slash == std::string::npos ? "." : path.substr(0, slash + 1);
  const int d = ::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (d < 0) return;
  ::fsync(d);  // some file systems have no directories to sync
  ::close(d);
}

void write_text(const std::string& path, const std::string& text, Here here) {
  write_atomically(
      path, [&](const Sink& sink) { sink(text.data(), static_cast<std::int64_t>(text.size())); }, here);
}

}  // namespace attune::io
