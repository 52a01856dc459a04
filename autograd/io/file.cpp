#include "autograd/io/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <utility>

#include "autograd/runtime/error.h"

namespace attune::io {

namespace {

[[noreturn]] void fail_with(const std::string& path, const std::string& what, Here here) {
  throw FileError(path + ": " + what, here);
}
std::string reason() { return std::strerror(errno); }

/// The system would take a path with a zero byte for a shorter one.
void check_path(const std::string& path, Here here) {
  if (path.find('\0') != std::string::npos) fail_with(path.c_str(), "the path goes on behind a zero byte", here);
}

constexpr std::int64_t most_at_once = 1 << 30;  // Linux moves at most 2 GiB in one call

}  // namespace

Input::Input(const std::string& path, Here here) : path_(path), here_(here), frame_(path_.c_str(), here) {
  check_path(path, here);
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

namespace {

/// Deleted again unless it got its final name.
struct Temporary {
  std::string name;
  int descriptor = -1;
  ~Temporary() {
    if (descriptor >= 0) ::close(descriptor);
    if (!name.empty()) ::unlink(name.c_str());
  }
};

/// A new file beside `path`; the system applies the umask to `mode`.
void create_beside(const std::string& path, mode_t mode, Temporary& file) {
  static std::atomic<unsigned> count{0};
  const std::string start = path + "." + std::to_string(::getpid()) + "-";
  do {
    std::string name = start + std::to_string(count++) + ".tmp";
    file.descriptor = ::open(name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
    if (file.descriptor >= 0) file.name = std::move(name);
  } while (file.descriptor < 0 && errno == EEXIST);  // left behind by a process of the same number
}

void sync_directory(const std::string& path, Here here) {
  const std::size_t slash = path.rfind('/');
  const std::string directory = slash == std::string::npos ? "." : path.substr(0, slash + 1);
  const int d = ::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (d < 0) return;  // one may write into a directory without the right to read it
  const int error = ::fsync(d) == 0 ? 0 : errno;
  ::close(d);
  // Some file systems cannot sync directories.
  if (error != 0 && error != EINVAL && error != ENOTSUP)
    fail_with(path, "its directory cannot be synced: " + std::string(std::strerror(error)), here);
}

}  // namespace

void write_atomically(const std::string& link, const std::function<void(const Sink&)>& write, Here here) {
  check_path(link, here);
  // A symbolic link stays one: its target is replaced.
  std::error_code unresolved;
  const std::string real = std::filesystem::canonical(link, unresolved).string();
  const std::string& path = unresolved ? link : real;
  struct stat old {};
  const bool replaces = ::stat(path.c_str(), &old) == 0;
  if (replaces && !S_ISREG(old.st_mode)) fail_with(path, "is not a regular file", here);
  Temporary file;
  create_beside(path, replaces ? 0600 : 0666, file);
  if (file.descriptor < 0) fail_with(path, "cannot be written: " + reason(), here);
  const Frame frame(path.c_str(), here);
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
  // Whoever could not read the old file cannot read the new one; file systems without permissions refuse, rightly.
  if (replaces) static_cast<void>(::fchmod(file.descriptor, old.st_mode & 07777));
  if (::fsync(file.descriptor) != 0) fail_with(path, "cannot be synced: " + reason(), here);
  if (::rename(file.name.c_str(), path.c_str()) != 0) fail_with(path, "cannot be replaced: " + reason(), here);
  file.name.clear();
  sync_directory(path, here);
}

void write_text(const std::string& path, const std::string& text, Here here) {
  write_atomically(
      path, [&](const Sink& sink) { sink(text.data(), static_cast<std::int64_t>(text.size())); }, here);
}

}  // namespace attune::io
