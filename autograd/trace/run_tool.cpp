#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>

#include "autograd/trace/internal/run_tool.h"

extern char** environ;

namespace attune {

namespace {

/// Both ends of a socket pair: unlike a pipe, it can be written to without a signal if the reader is gone.
struct Channel {
  int ours = -1, theirs = -1;
  Channel() {
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) return;
    ours = ends[0], theirs = ends[1];
    fcntl(ours, F_SETFL, fcntl(ours, F_GETFL) | O_NONBLOCK);
  }
  ~Channel() {
    if (ours >= 0) close(ours);
    if (theirs >= 0) close(theirs);
  }
  Channel(const Channel&) = delete;
  Channel& operator=(const Channel&) = delete;
};

pid_t start(const std::vector<std::string>& command, const Channel& channel) {
  std::vector<char*> arguments;
  for (const std::string& word : command) arguments.push_back(const_cast<char*>(word.c_str()));
  arguments.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, channel.theirs, 0);
  posix_spawn_file_actions_adddup2(&actions, channel.theirs, 1);
  posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0);
  pid_t child = -1;
  if (posix_spawnp(&child, command[0].c_str(), &actions, nullptr, arguments.data(), environ) != 0) child = -1;
  posix_spawn_file_actions_destroy(&actions);
  return child;
}

/// Writes all of the input and reads until the other side closes; false if the time is over.
bool exchange(int channel, const std::string& input, double seconds, std::string& output) {
  using Clock = std::chrono::steady_clock;
  const Clock::time_point end = Clock::now() + std::chrono::milliseconds(static_cast<int>(1000 * seconds));
  std::size_t sent = 0;
  bool writing = true;
  for (;;) {
    if (writing && sent == input.size()) {
      shutdown(channel, SHUT_WR);
      writing = false;
    }
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(end - Clock::now()).count();
    if (left <= 0) return false;
    pollfd waiting{channel, static_cast<short>(writing ? POLLIN | POLLOUT : POLLIN), 0};
    if (poll(&waiting, 1, static_cast<int>(left)) <= 0) continue;
    if (writing && (waiting.revents & POLLOUT)) {
      const ssize_t n = send(channel, input.data() + sent, input.size() - sent, MSG_NOSIGNAL);
      if (n > 0) sent += static_cast<std::size_t>(n);
    }
    if (waiting.revents & (POLLIN | POLLHUP | POLLERR)) {
      char buffer[1 << 16];
      const ssize_t n = read(channel, buffer, sizeof buffer);
      if (n > 0) output.append(buffer, static_cast<std::size_t>(n));
      if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) return true;
    }
  }
}

}  // namespace

std::optional<std::string> run_tool(const std::vector<std::string>& command, const std::string& input, double seconds) {
  Channel channel;
  if (channel.ours < 0) return std::nullopt;
  const pid_t child = start(command, channel);
  if (child < 0) return std::nullopt;
  close(channel.theirs);
  channel.theirs = -1;
  std::string output;
  const bool in_time = exchange(channel.ours, input, seconds, output);
  if (!in_time) kill(child, SIGKILL);
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  // Where SIGCHLD is ignored, nobody can say how the child ended: its output has to do.
  if (!in_time || (WIFEXITED(status) && WEXITSTATUS(status) != 0) || WIFSIGNALED(status)) return std::nullopt;
  return output;
}

}  // namespace attune
