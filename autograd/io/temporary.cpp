#include "autograd/io/internal/temporary.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <ctime>
#include <fstream>
#include <optional>
#include <string_view>
#include <utility>

namespace attune::io {

namespace {

double seconds(const timespec& t) { return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_nsec) * 1e-9; }

/// When a process started, as a time of day; nothing where the system does not tell.
std::optional<double> start_of(pid_t process) {
  std::ifstream in("/proc/" + std::to_string(process) + "/stat");
  std::string line;
  if (!std::getline(in, line)) return std::nullopt;
  // The name, in parentheses, may hold anything; the start in ticks since boot is the 20th field behind it.
  std::size_t at = line.rfind(')');
  for (int field = 0; field < 20 && at != std::string::npos; ++field) at = line.find(' ', at + 1);
  if (at == std::string::npos) return std::nullopt;
  std::uint64_t ticks = 0;
  const char* end = line.data() + line.size();
  if (std::from_chars(line.data() + at + 1, end, ticks).ec != std::errc()) return std::nullopt;
  timespec now{}, since_boot{};
  if (::clock_gettime(CLOCK_REALTIME, &now) != 0 || ::clock_gettime(CLOCK_BOOTTIME, &since_boot) != 0)
    return std::nullopt;
  return seconds(now) - seconds(since_boot) + static_cast<double>(ticks) / static_cast<double>(::sysconf(_SC_CLK_TCK));
}

/// Whether the process that wrote a file is gone. Its number may have gone to another one, in a container that is
/// started anew to the very same program: that one started after the file was last written.
bool gone(pid_t process, const struct stat& file) {
  if (::kill(process, 0) != 0 && errno == ESRCH) return true;
  const std::optional<double> start = start_of(process);
  return start && *start > seconds(file.st_mtim) + 1;
}

/// The process in "NAME.PID-N.tmp"; nothing for any other name.
std::optional<pid_t> writer_of(std::string_view file, std::string_view name) {
  if (file.size() <= name.size() || file.substr(0, name.size()) != name || file[name.size()] != '.')
    return std::nullopt;
  file.remove_prefix(name.size() + 1);
  const auto number = [&](auto& n, std::string_view behind) {
    if (file.empty() || file[0] < '0' || file[0] > '9') return false;
    const auto [end, error] = std::from_chars(file.data(), file.data() + file.size(), n);
    if (error != std::errc()) return false;
    file.remove_prefix(static_cast<std::size_t>(end - file.data()));
    if (file.substr(0, behind.size()) != behind) return false;
    file.remove_prefix(behind.size());
    return true;
  };
  pid_t process = 0;
  unsigned count = 0;
  if (!number(process, "-") || !number(count, ".tmp") || !file.empty() || process <= 0) return std::nullopt;
  return process;
}

void remove_if_stale(int directory, const char* name, pid_t process) {
  // Non-blocking, for what else than a file may have the name.
  const int d = ::openat(directory, name, O_WRONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
  if (d < 0) return;
  struct stat info {
  }, there{};
  const bool stale = ::fstat(d, &info) == 0 && S_ISREG(info.st_mode) && info.st_uid == ::geteuid() &&
                     info.st_nlink == 1 && gone(process, info) && ::flock(d, LOCK_EX | LOCK_NB) == 0 &&
                     ::fstatat(directory, name, &there, AT_SYMLINK_NOFOLLOW) == 0 && there.st_dev == info.st_dev &&
                     there.st_ino == info.st_ino;
  if (stale) ::unlinkat(directory, name, 0);
  ::close(d);
}

}  // namespace

Temporary::Temporary(const std::string& path, mode_t mode) {
  static std::atomic<unsigned> count{0};
  const std::string start = path + "." + std::to_string(::getpid()) + "-";
  for (;;) {
    std::string name = start + std::to_string(count++) + ".tmp";
    descriptor_ = ::open(name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode);
    if (descriptor_ < 0 && errno == EEXIST) continue;  // of another process namespace, or somebody else's
    if (descriptor_ < 0) return;
    // Locked, it is seen to be in use by whoever looks for files that are not; file systems without locks are refused
    // there, too. Between the two calls it may have been taken for such a file.
    const bool taken = ::flock(descriptor_, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK;
    struct stat info {};
    if (!taken && (::fstat(descriptor_, &info) != 0 || info.st_nlink > 0)) {
      name_ = std::move(name);
      return;
    }
    ::close(descriptor_);
    descriptor_ = -1;
  }
}

Temporary::~Temporary() {
  const int error = errno;
  if (!name_.empty()) ::unlink(name_.c_str());
  if (descriptor_ >= 0) ::close(descriptor_);
  errno = error;
}

void remove_stale(const std::string& path) noexcept try {
  const std::string directory = directory_of(path);
  const std::string name = path.substr(directory == "." ? 0 : directory.size());
  DIR* const open = ::opendir(directory.c_str());
  if (!open) return;
  while (const dirent* entry = ::readdir(open))
    if (const std::optional<pid_t> process = writer_of(entry->d_name, name))
      remove_if_stale(::dirfd(open), entry->d_name, *process);
  ::closedir(open);
} catch (...) {
  // No memory: the next write tries again.
}

std::string directory_of(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  return slash == std::string::npos ? "." : path.substr(0, slash + 1);
}

}  // namespace attune::io
