#include "autograd/trace/internal/terminal_input.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <utility>

// C declarations of readline's form, by libedit.
#include <editline/readline.h>

namespace attune::stepping {

namespace {

class StreamInput final : public Input {
 public:
  StreamInput(std::istream& in, std::ostream& transcript) : in_(in), transcript_(transcript) {}

  std::optional<std::string> line(const std::string& prompt, const Complete&) override {
    std::string text;
    while (std::getline(in_, text)) {
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

class TerminalInput final : public Input {
 public:
  TerminalInput() {
    static char name[] = "attune";
    ::rl_readline_name = name;
    ::rl_attempted_completion_function = complete_word;
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
    char* text = ::readline(prompt.c_str());
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
