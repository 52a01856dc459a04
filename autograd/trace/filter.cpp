#include "autograd/trace/internal/filter.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <ctime>
#include <utility>

extern char** environ;

namespace attune::detail {

namespace {

using Clock = std::chrono::steady_clock;

[[noreturn]] void fail(const std::string& what, int error) {
  throw FilterError(fmt::format("{}: {}", what, std::strerror(error)));
}

class Descriptor {
 public:
  Descriptor() = default;
  /// Never 0, 1 or 2, which the other program's own take the place of.
  explicit Descriptor(int number) : number_(::fcntl(number, F_DUPFD_CLOEXEC, 3)) { ::close(number); }
  Descriptor(Descriptor&& other) noexcept : number_(std::exchange(other.number_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    std::swap(number_, other.number_);
    return *this;
  }
  ~Descriptor() { close(); }
  int number() const { return number_; }
  void close() {
    if (number_ >= 0) ::close(std::exchange(number_, -1));
  }

 private:
  int number_ = -1;
};

struct Pipe {
  Pipe() {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) fail("no pipe", errno);
    read = Descriptor(ends[0]);
    write = Descriptor(ends[1]);
    if (read.number() < 0 || write.number() < 0) fail("no pipe", EMFILE);
  }
  Descriptor read, write;
};

/// While it lives, writing to a program that has ended is an error for this thread and no signal, whatever the process
/// does with SIGPIPE.
class WithoutPipeSignal {
 public:
  WithoutPipeSignal() {
    sigemptyset(&pipe_);
    sigaddset(&pipe_, SIGPIPE);
    sigset_t pending;
    sigpending(&pending);
    pending_ = sigismember(&pending, SIGPIPE) == 1;
    pthread_sigmask(SIG_BLOCK, &pipe_, &before_);
  }
  ~WithoutPipeSignal() {
    sigset_t pending;
    sigpending(&pending);
    const timespec now{};
    if (!pending_ && sigismember(&pending, SIGPIPE) == 1)
      while (sigtimedwait(&pipe_, nullptr, &now) < 0 && errno == EINTR) continue;
    pthread_sigmask(SIG_SETMASK, &before_, nullptr);
  }
  WithoutPipeSignal(const WithoutPipeSignal&) = delete;
  WithoutPipeSignal& operator=(const WithoutPipeSignal&) = delete;
  const sigset_t& before() const { return before_; }

 private:
  sigset_t pipe_, before_;
  bool pending_;
};

/// A program that runs; killed with all that it started if nobody waited for its end.
class Child {
 public:
  Child(const std::vector<std::string>& command, const sigset_t& mask, const Pipe& in, const Pipe& out,
        const Pipe& error) {
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, in.read.number(), STDIN_FILENO);
    posix_spawn_file_actions_adddup2(&actions, out.write.number(), STDOUT_FILENO);
    posix_spawn_file_actions_adddup2(&actions, error.write.number(), STDERR_FILENO);
    posix_spawnattr_t attributes;
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK);
    posix_spawnattr_setsigmask(&attributes, &mask);
    posix_spawnattr_setpgroup(&attributes, 0);
    sigset_t defaults;
    sigemptyset(&defaults);
    sigaddset(&defaults, SIGPIPE);
    posix_spawnattr_setsigdefault(&attributes, &defaults);
    std::vector<char*> arguments;
    arguments.reserve(command.size() + 1);
    for (const std::string& word : command) arguments.push_back(const_cast<char*>(word.c_str()));
    arguments.push_back(nullptr);
    const int failed = ::posix_spawnp(&id_, arguments[0], &actions, &attributes, arguments.data(), environ);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
    if (failed != 0) {
      id_ = -1;
      fail(fmt::format("{} cannot be run (is it installed?)", command[0]), failed);
    }
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;
  ~Child() {
    if (id_ < 0) return;
    ::kill(-id_, SIGKILL);
    wait(0);
  }
  /// Its status once it has ended; nothing yet: false.
  bool ended(int& status) {
    if (!wait(WNOHANG)) return false;
    status = status_;
    id_ = -1;
    return true;
  }

 private:
  bool wait(int how) {
    pid_t got;
    do got = ::waitpid(id_, &status_, how);
    while (got < 0 && errno == EINTR);
    return got != 0;
  }
  pid_t id_ = -1;
  int status_ = 0;
};

/// Moves what is there: false at the end, or once nobody listens.
bool receive(const Descriptor& from, std::string& text) {
  std::array<char, 1 << 16> piece;
  const ssize_t got = ::read(from.number(), piece.data(), piece.size());
  if (got > 0) text.append(piece.data(), static_cast<std::size_t>(got));
  return got > 0 || (got < 0 && (errno == EAGAIN || errno == EINTR));
}
bool send(const Descriptor& to, const std::string& text, std::size_t& sent) {
  const ssize_t done = ::write(to.number(), text.data() + sent, text.size() - sent);
  if (done < 0) return errno == EAGAIN || errno == EINTR;
  sent += static_cast<std::size_t>(done);
  return sent < text.size();
}

/// What is still there.
void drain(const Descriptor& from, std::string& text) {
  for (std::size_t before = text.size() + 1; from.number() >= 0 && before != text.size();) {
    before = text.size();
    receive(from, text);
  }
}

std::string last_line(std::string text) {
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.pop_back();
  return text.substr(text.rfind('\n') + 1);
}

}  // namespace

std::string filter(const std::vector<std::string>& command, const std::string& input, std::chrono::seconds limit) {
  const auto end = Clock::now() + limit;
  const std::string& program = command[0];
  const WithoutPipeSignal guard;
  Pipe in, out, error;
  Child child(command, guard.before(), in, out, error);
  in.read.close();
  out.write.close();
  error.write.close();
  for (const Descriptor* d : {&in.write, &out.read, &error.read}) ::fcntl(d->number(), F_SETFL, O_NONBLOCK);
  std::string result, complaint;
  std::size_t sent = 0;
  int status = 0;
  for (bool running = true; running;) {
    if (Clock::now() >= end) throw FilterError(fmt::format("{} has not ended within {} s", program, limit.count()));
    std::array<pollfd, 3> each{
        {{in.write.number(), POLLOUT, 0}, {out.read.number(), POLLIN, 0}, {error.read.number(), POLLIN, 0}}};
    constexpr int milliseconds = 20;  // between looks at a program that has closed its output and runs on
    if (::poll(each.data(), each.size(), milliseconds) < 0 && errno != EINTR) fail("poll", errno);
    if (each[0].revents != 0 && !send(in.write, input, sent)) in.write.close();
    if (each[1].revents != 0 && !receive(out.read, result)) out.read.close();
    if (each[2].revents != 0 && !receive(error.read, complaint)) error.read.close();
    // Something that it started may still hold its output: what is there now is all that is waited for.
    running = !child.ended(status);
  }
  drain(out.read, result);
  drain(error.read, complaint);
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
    throw FilterError(fmt::format("{} failed{}{}", program, complaint.empty() ? "" : ": ", last_line(complaint)));
  return result;
}

}  // namespace attune::detail
