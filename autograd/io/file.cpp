#include "autograd/io/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <utility>

#include "autograd/io/internal/temporary.h"
#include "autograd/io/replacement.h"
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
  descriptor_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
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

Input::Input(std::string name, std::span<const std::byte> bytes, Here here)
    : Input(
          std::move(name), static_cast<std::int64_t>(bytes.size()),
          [bytes](std::int64_t offset, void* to, std::int64_t n) {
            std::memcpy(to, bytes.data() + offset, static_cast<std::size_t>(n));
          },
          here) {}

Input::Input(std::string name, std::int64_t size, Reader reader, Here here)
    : path_(std::move(name)), here_(here), frame_(path_.c_str(), here), reader_(std::move(reader)), size_(size) {}

Input::~Input() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

void Input::fail(const std::string& what) const { fail_with(path_, what, here_); }

void Input::read(std::int64_t offset, void* to, std::int64_t bytes) const {
  if (bytes <= 0) return;
  if (offset < 0 || offset > size_ || bytes > size_ - offset)
    fail("ends too early: " + std::to_string(bytes) + " bytes are expected at " + std::to_string(offset) +
         ", and it has " + std::to_string(size_) + " in all");
  if (reader_) return reader_(offset, to, bytes);
  auto* at = static_cast<char*>(to);
  while (bytes > 0) {
    const ssize_t got = ::pread(descriptor_, at, static_cast<std::size_t>(std::min(bytes, most_at_once)), offset);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) fail("cannot be read: " + reason());
    if (got == 0)
      fail("ends too early: it had " + std::to_string(size_) + " bytes when it was opened, and has " +
           std::to_string(offset) + " now");
    at += got;
    offset += got;
    bytes -= got;
  }
}

std::string Input::read_all(std::int64_t most_bytes) const {
  if (size_ > most_bytes)
    fail("has " + std::to_string(size_) + " bytes; at most " + std::to_string(most_bytes) + " are read");
  std::string text(static_cast<std::size_t>(size_), '\0');
  read(0, text.data(), size_);
  return text;
}

std::string read_text(const std::string& path, std::int64_t most_bytes, Here here) {
  return Input(path, here).read_all(most_bytes);
}

namespace {

void sync_directory(const std::string& path, Here here) {
  const int d = ::open(directory_of(path).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (d < 0) return;  // one may write into a directory without the right to read it
  const int error = ::fsync(d) == 0 ? 0 : errno;
  ::close(d);
  // Some file systems cannot sync directories.
  if (error != 0 && error != EINVAL && error != ENOTSUP)
    fail_with(path, "its directory cannot be synced: " + std::string(std::strerror(error)), here);
}

}  // namespace

Replacement::Replacement(const std::string& link, Here here) : here_(here) {
  check_path(link, here);
  // A symbolic link stays one: its target is replaced.
  std::error_code unresolved;
  const std::string real = std::filesystem::canonical(link, unresolved).string();
  path_ = unresolved ? link : real;
  struct stat old {};
  replaces_ = ::stat(path_.c_str(), &old) == 0;
  if (replaces_ && !S_ISREG(old.st_mode)) fail_with(path_, "is not a regular file", here);
  old_mode_ = old.st_mode & 07777;
  remove_stale(path_);
  file_ = std::make_unique<Temporary>(path_, replaces_ ? 0600 : 0666);
  if (file_->descriptor() < 0) fail_with(path_, "cannot be written: " + reason(), here);
}

Replacement::~Replacement() = default;
Replacement::Replacement(Replacement&&) noexcept = default;

void Replacement::append(const void* data, std::int64_t bytes) {
  const auto* at = static_cast<const char*>(data);
  while (bytes > 0) {
    const ssize_t done = ::write(file_->descriptor(), at, static_cast<std::size_t>(std::min(bytes, most_at_once)));
    if (done < 0 && errno == EINTR) continue;
    if (done < 0) fail_with(path_, "cannot be written: " + reason(), here_);
    at += done;
    bytes -= done;
  }
}

void Replacement::overwrite(std::int64_t offset, const void* data, std::int64_t bytes) {
  const off_t end = ::lseek(file_->descriptor(), 0, SEEK_CUR);
  if (end < 0 || ::lseek(file_->descriptor(), offset, SEEK_SET) < 0)
    fail_with(path_, "cannot be written: " + reason(), here_);
  append(data, bytes);
  if (::lseek(file_->descriptor(), end, SEEK_SET) < 0) fail_with(path_, "cannot be written: " + reason(), here_);
}

void Replacement::finish() {
  // Whoever could not read the old file cannot read the new one; file systems without permissions refuse, rightly.
  if (replaces_) static_cast<void>(::fchmod(file_->descriptor(), old_mode_));
  if (::fsync(file_->descriptor()) != 0) fail_with(path_, "cannot be synced: " + reason(), here_);
  if (::rename(file_->name().c_str(), path_.c_str()) != 0) fail_with(path_, "cannot be replaced: " + reason(), here_);
  file_->renamed();
  sync_directory(path_, here_);
}

void write_atomically(const std::string& path, const std::function<void(const Sink&)>& write, Here here) {
  Replacement file(path, here);
  const Frame frame(path.c_str(), here);
  write([&](const void* data, std::int64_t bytes) { file.append(data, bytes); });
  file.finish();
}

void write_text(const std::string& path, const std::string& text, Here here) {
  write_atomically(
      path, [&](const Sink& sink) { sink(text.data(), static_cast<std::int64_t>(text.size())); }, here);
}

}  // namespace attune::io
