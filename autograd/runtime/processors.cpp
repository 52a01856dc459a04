#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "autograd/runtime/internal/processors.h"

namespace attune::detail {

namespace {

/// A machine may have more processors than cpu_set_t has bits: the set grows until the system accepts it.
int processors_in_mask() {
  for (std::size_t sets = 1; sets <= 64; sets *= 2) {
    std::vector<cpu_set_t> mask(sets);
    const std::size_t bytes = sets * sizeof(cpu_set_t);
    if (sched_getaffinity(0, bytes, mask.data()) == 0) return CPU_COUNT_S(bytes, mask.data());
  }
  return static_cast<int>(sysconf(_SC_NPROCESSORS_ONLN));
}

std::string first_line(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

bool lists(const std::string& controllers, const std::string& what) {
  return ("," + controllers + ",").find("," + what + ",") != std::string::npos;
}

/// The smallest bound of the group at `path` under `root` and the groups around it.
int bound_of_groups(const std::string& root, std::string path, bool second_version) {
  int least = 0;
  for (;;) {
    const std::string folder = root + (path == "/" ? "" : path) + "/";
    const int bound = second_version ? processors_in_quota(first_line(folder + "cpu.max"))
                                     : processors_in_quota(first_line(folder + "cpu.cfs_quota_us") + " " +
                                                           first_line(folder + "cpu.cfs_period_us"));
    if (bound > 0) least = least == 0 ? bound : std::min(least, bound);
    const std::size_t slash = path.rfind('/');
    if (slash == std::string::npos || path.size() <= 1) return least;
    path.resize(std::max<std::size_t>(slash, 1));
  }
}

/// 0: none. Lines of /proc/self/cgroup are "number:controllers:path"; version 2 has no controllers. Inside a container
/// the path may name the host's folders, while the container's own group lies at the root.
int processors_in_control_group() {
  int least = 0;
  const auto take = [&least](int bound) {
    if (bound > 0) least = least == 0 ? bound : std::min(least, bound);
  };
  std::ifstream file("/proc/self/cgroup");
  for (std::string line; std::getline(file, line);) {
    const std::size_t first = line.find(':'), second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1), path = line.substr(second + 1);
    if (controllers.empty()) take(bound_of_groups("/sys/fs/cgroup", path, true));
    if (!lists(controllers, "cpu")) continue;
    for (const char* root : {"/sys/fs/cgroup/cpu", "/sys/fs/cgroup/cpu,cpuacct"})
      take(bound_of_groups(root, path, false));
  }
  return least;
}

}  // namespace

int processors_in_quota(const std::string& quota_and_period) {
  std::istringstream words(quota_and_period);
  std::string quota_text, period_text, more;
  if (!(words >> quota_text >> period_text) || words >> more) return 0;
  const auto number = [](const std::string& text) {
    long value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    return error == std::errc() && end == text.data() + text.size() ? value : 0L;
  };
  const long quota = number(quota_text), period = number(period_text);
  if (quota <= 0 || period <= 0) return 0;  // "max" and -1 are no bound
  return static_cast<int>(std::min<long>(quota / period + (quota % period != 0), 1 << 20));
}

int usable_processors() {
  const int in_mask = std::max(1, processors_in_mask()), in_group = processors_in_control_group();
  return in_group > 0 ? std::min(in_mask, in_group) : in_mask;
}

}  // namespace attune::detail
