#include "autograd/trace/internal/terminal_input.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <cwchar>
#include <iostream>
#include <utility>

// C declarations of readline's form, by libedit.
#include <editline/readline.h>

namespace attune::stepping {

namespace {

/// While it lives, Ctrl-C does not end the program: it is a byte in a pipe, so that whichever thread receives the
/// signal, who waits for a line wakes up. Afterwards the program's own handler is there again.
class Interrupts {
 public:
  Interrupts() {
    if (ends_[0] < 0 && ::pipe2(ends_, O_CLOEXEC | O_NONBLOCK) != 0) ends_[0] = ends_[1] = -1;
    take();  // none is left from before
    install(before_);
  }
  ~Interrupts() { ::sigaction(SIGINT, &before_, nullptr); }
  Interrupts(const Interrupts&) = delete;
  Interrupts& operator=(const Interrupts&) = delete;

  /// Waits for input; false if Ctrl-C came first. libedit handles signals, too: here this handler stands before its.
  static bool wait(int input) {
    struct sigaction outer {};
    install(outer);
    pollfd ready[] = {{input, POLLIN, 0}, {ends_[0], POLLIN, 0}};
    while (::poll(ready, 2, -1) < 0 && errno == EINTR) {
    }
    ::sigaction(SIGINT, &outer, nullptr);
    return !(ready[1].revents & POLLIN);
  }
  /// Whether there was a Ctrl-C since it was last asked.
  static bool take() {
    bool any = false;
    for (char c = 0; ends_[0] >= 0 && ::read(ends_[0], &c, 1) == 1;) any = true;
    return any;
  }

 private:
  static void note(int) {
    const int error = errno;
    [[maybe_unused]] const auto written = ::write(ends_[1], "", 1);
    errno = error;
  }
  static void install(struct sigaction& before) {
    struct sigaction action {};
    action.sa_handler = note;
    ::sigemptyset(&action.sa_mask);
    ::sigaction(SIGINT, &action, &before);
  }

  static inline int ends_[2] = {-1, -1};
  struct sigaction before_ {};
};

class StreamInput final : public Input {
 public:
  StreamInput(std::istream& in, std::ostream& transcript) : in_(in), transcript_(transcript) {}

  std::optional<std::string> line(const std::string& prompt, const Complete&) override {
    std::string text;
    std::optional<Interrupts> interrupts;
    if (&in_ == &std::cin && ::isatty(STDIN_FILENO)) interrupts.emplace();
    while (true) {
      if (interrupts && in_.rdbuf()->in_avail() <= 0 && !Interrupts::wait(STDIN_FILENO)) {
        Interrupts::take();
        transcript_ << std::endl;
        continue;
      }
      if (!std::getline(in_, text)) break;
      if (!text.empty() && text.back() == '\r') text.pop_back();
      const std::size_t from = text.find_first_not_of(" \t");
      if (from == std::string::npos || text[from] == '#') continue;
      transcript_ << prompt << text << "\n";
      return text;
    }
    return std::nullopt;
  }

 private:
  std::istream& in_;
  std::ostream& transcript_;
};

// readline's completion has no argument to hand things on.
const Input::Complete* completer = nullptr;
std::vector<std::string> candidates;
std::size_t candidate = 0;

char* next_candidate(const char*, int state) {
  if (state == 0) candidate = 0;
  return candidate < candidates.size() ? ::strdup(candidates[candidate++].c_str()) : nullptr;
}

char** complete_word(const char* word, int, int) {
  ::rl_attempted_completion_over = 1;  // no file names
  if (!completer || !*completer) return nullptr;
  candidates = (*completer)(std::string(::rl_line_buffer, static_cast<std::size_t>(::rl_point)), word);
  return ::rl_completion_matches(word, next_candidate);
}

/// A character for libedit; none, as at the end, when Ctrl-C comes.
int next_character(std::FILE* in) {
  std::mbstate_t state{};
  while (true) {
    char byte = 0;
    if (!Interrupts::wait(::fileno(in)) || ::read(::fileno(in), &byte, 1) != 1) return -1;
    wchar_t c = 0;
    const std::size_t used = std::mbrtowc(&c, &byte, 1, &state);
    if (used == static_cast<std::size_t>(-1)) state = {};  // no character of this locale: left out
    if (used <= 1) return static_cast<int>(c);
  }
}

class TerminalInput final : public Input {
 public:
  TerminalInput() {
    static char name[] = "attune";
    ::rl_readline_name = name;
    ::rl_attempted_completion_function = complete_word;
    ::rl_getc_function = next_character;
    static char breaks[] = " \t\n";
    ::rl_basic_word_break_characters = breaks;
    ::rl_completer_word_break_characters = breaks;
    ::using_history();
    ::stifle_history(1000);
    const char* home = std::getenv("HOME");
    if (!home || !*home) return;
    history_ = std::string(home) + "/.attune_history";
    ::read_history(history_.c_str());
  }

  std::optional<std::string> line(const std::string& prompt, const Complete& complete) override {
    std::fflush(stdout);
    completer = &complete;
    const Interrupts interrupts;
    char* text = nullptr;
    do {  // Ctrl-C cancels a line
      text = ::readline(prompt.c_str());
      if (!Interrupts::take()) break;
      std::free(std::exchange(text, nullptr));
      std::puts("");
    } while (true);
    completer = nullptr;
    if (!text) {
      std::puts("");
      return std::nullopt;
    }
    std::string line = text;
    std::free(text);
    if (line.find_first_not_of(" \t") != std::string::npos && line != last_) {
      ::add_history(line.c_str());
      // Each time: a program may end at any moment. Where the file cannot be written there is none.
      if (!history_.empty()) ::write_history(history_.c_str());
      last_ = line;
    }
    return line;
  }
  bool interactive() const override { return true; }

 private:
  std::string history_, last_;
};

}  // namespace

std::unique_ptr<Input> stream_input(std::istream& in, std::ostream& transcript) {
  return std::make_unique<StreamInput>(in, transcript);
}

std::unique_ptr<Input> terminal_input() { return std::make_unique<TerminalInput>(); }

}  // namespace attune::stepping
